/* zero/tier.c - what both kinds of tier share: the arithmetic of their bytes, the slots in device
 * memory with their events, and the first failure.
 *
 * A slot goes  free -> fetch -> held -> wait -> held and waited -> store or drop -> free.  `left`
 * says when its device memory may be overwritten; an event that was never recorded stands for
 * now. */
#include "zero/tier_parts.h"

#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- bytes */

/* An empty record takes room too, so that nobody has to ask for no bytes. */
static uint64_t padded(uint64_t bytes, uint64_t align)
{
    return LT_ALIGN_UP(bytes ? bytes : 1, align);
}

static uint64_t record_align(lt_tier_kind kind)
{
    return kind == LT_TIER_FILE ? LT_TIER_BLOCK : LT_TIER_ALIGN;
}

static uint64_t largest_record(const lt_tier_options *o)
{
    uint64_t most = 0;

    for (int i = 0; i < o->n_records; i++)
        most = o->bytes[i] > most ? o->bytes[i] : most;
    return most;
}

lt_tier_bytes lt_tier_plan(const lt_tier_options *o)
{
    uint64_t n_slots = (uint64_t)o->n_slots, largest = largest_record(o), all = 0;
    lt_tier_bytes b = { 0 };

    if (o->kind == LT_TIER_NONE || o->n_records == 0)
        return b;
    for (int i = 0; i < o->n_records; i++)
        all += padded(o->bytes[i], record_align(o->kind));
    b.device = n_slots * padded(largest, LT_TIER_ALIGN);
    if (o->kind == LT_TIER_HOST) {
        b.host = all;
        return b;
    }
    /* A record a slot and one at hand for parts; a block to align them all, for memory of a device
     * promises LT_TIER_ALIGN only. */
    b.host = (n_slots + 1) * padded(largest, LT_TIER_BLOCK) + LT_TIER_BLOCK;
    b.file = all;
    return b;
}

/* ---- host memory */

/* Refused here rather than by a kill in the first step: plain memory is promised long before it is
 * touched. */
lt_err lt_tier_memory_take(lt_tier *t, uint64_t bytes, void **out)
{
    uint64_t there = lt_memory_available();
    void *p;

    if (there && bytes > there)
        return lt_fail(LT_ENOMEM, "%llu bytes of host memory wanted, %llu available",
                       (unsigned long long)bytes, (unsigned long long)there);
    if (t->pinned)
        return lt_dev_alloc(t->dev, LT_MEMORY_PINNED, bytes, out);
    p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return lt_fail(LT_ENOMEM, "%llu bytes of host memory wanted, %llu available: %s",
                       (unsigned long long)bytes, (unsigned long long)there, strerror(errno));
    madvise(p, bytes, MADV_HUGEPAGE);
    *out = p;
    return LT_OK;
}

void lt_tier_memory_give(lt_tier *t, uint64_t bytes, void *memory)
{
    if (t->pinned)
        lt_dev_free(t->dev, LT_MEMORY_PINNED, memory);
    else if (memory)
        munmap(memory, bytes);
}

/* ---- the first failure */

void lt_tier_note(lt_tier *t)
{
    lt_err_record now;

    lt_err_take(&now);
    pthread_mutex_lock(&t->lock);
    if (t->fault.code == LT_OK)
        t->fault = now;
    pthread_mutex_unlock(&t->lock);
}

bool lt_tier_failed(lt_tier *t)
{
    bool failed;

    pthread_mutex_lock(&t->lock);
    failed = t->fault.code != LT_OK;
    pthread_mutex_unlock(&t->lock);
    return failed;
}

lt_err lt_tier_check(lt_tier *t)
{
    /* Once set it does not change, so it is read without the lock. */
    return lt_tier_failed(t) ? lt_err_give(&t->fault) : LT_OK;
}

/* ---- open and close */

static void open_slots(lt_tier *t)
{
    const lt_backend *b = t->dev->backend;
    uint64_t stride = padded(t->largest, LT_TIER_ALIGN);

    t->computed = b->event_new(t->dev);
    for (int i = 0; i < t->n_slots; i++) {
        t->slots[i] = (lt_tier_slot){ .device = (char *)t->staging + (uint64_t)i * stride,
                                      .record = -1,
                                      .arrived = b->event_new(t->dev),
                                      .left = b->event_new(t->dev) };
    }
}

lt_err lt_tier_open(lt_tier **out, lt_dev *dev, const lt_tier_options *o)
{
    const lt_tier_ops *ops = o->kind == LT_TIER_FILE ? &lt_tier_file_ops : &lt_tier_host_ops;
    uint64_t end = 0;
    lt_err err;
    lt_tier *t;

    LT_BUG_ON(o->kind == LT_TIER_NONE || o->n_slots < 1 || o->n_records < 1 || !o->label);
    t = lt_new0(ops->bytes);
    t->ops = ops;
    t->dev = dev;
    t->label = lt_strdup(o->label);
    t->pinned = o->pinned;
    t->n_slots = o->n_slots;
    t->n_records = o->n_records;
    t->slots = lt_new_array0((size_t)o->n_slots, sizeof *t->slots);
    t->bytes = lt_new_array0((size_t)o->n_records, sizeof *t->bytes);
    t->offset = lt_new_array0((size_t)o->n_records, sizeof *t->offset);
    t->largest = largest_record(o);
    t->plan = lt_tier_plan(o);
    pthread_mutex_init(&t->lock, NULL);
    for (int i = 0; i < o->n_records; i++) {
        t->bytes[i] = o->bytes[i];
        t->offset[i] = end;
        end += padded(o->bytes[i], record_align(o->kind));
    }
    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_DEVICE, t->plan.device, &t->staging));
    open_slots(t);
    LT_TRY(err = ops->open(t, o));
    *out = t;
    return LT_OK;
fail:
    err = lt_fail_in("offload %s", t->label);
    lt_tier_close(t);
    return err;
}

void lt_tier_close(lt_tier *t)
{
    if (!t)
        return;
    if (t->staging) { /* the slots are there */
        const lt_backend *b = t->dev->backend;

        b->event_record(t->dev, t->computed, LT_STREAM_COMPUTE);
        lt_tier_event_sync(t, t->computed);
        for (int i = 0; i < t->n_slots; i++) {
            lt_tier_event_sync(t, t->slots[i].arrived);
            lt_tier_event_sync(t, t->slots[i].left);
        }
        t->ops->close(t);
        for (int i = 0; i < t->n_slots; i++) {
            b->event_free(t->dev, t->slots[i].arrived);
            b->event_free(t->dev, t->slots[i].left);
        }
        b->event_free(t->dev, t->computed);
    }
    lt_dev_free(t->dev, LT_MEMORY_DEVICE, t->staging);
    pthread_mutex_destroy(&t->lock);
    free(t->offset);
    free(t->bytes);
    free(t->slots);
    free(t->label);
    free(t);
}

/* ---- copies */

void lt_tier_copy_in(lt_tier *t, int record, int slot, const void *src)
{
    const lt_backend *b = t->dev->backend;
    lt_tier_slot *s = &t->slots[slot];

    b->stream_wait(t->dev, LT_STREAM_COPY_IN, s->left);
    lt_dev_copy(t->dev, LT_STREAM_COPY_IN, s->device, src, t->bytes[record]);
    b->event_record(t->dev, s->arrived, LT_STREAM_COPY_IN);
}

void lt_tier_copy_out(lt_tier *t, int slot, void *dst)
{
    const lt_backend *b = t->dev->backend;
    lt_tier_slot *s = &t->slots[slot];

    b->event_record(t->dev, t->computed, LT_STREAM_COMPUTE);
    b->stream_wait(t->dev, LT_STREAM_COPY_OUT, t->computed);
    lt_dev_copy(t->dev, LT_STREAM_COPY_OUT, dst, s->device, t->bytes[s->record]);
    b->event_record(t->dev, s->left, LT_STREAM_COPY_OUT);
}

void lt_tier_event_sync(lt_tier *t, lt_event *event)
{
    if (t->dev->backend->event_sync(t->dev, event) != LT_OK)
        lt_tier_note(t);
}

/* ---- slots */

static lt_tier_slot *slot_of(lt_tier *t, int slot, bool held)
{
    LT_BUG_ON(slot < 0 || slot >= t->n_slots || t->slots[slot].held != held);
    return &t->slots[slot];
}

void lt_tier_fetch(lt_tier *t, int record, int slot)
{
    lt_tier_slot *s = slot_of(t, slot, false);

    LT_BUG_ON(record < 0 || record >= t->n_records);
    t->ops->fetch(t, record, slot);
    s->record = record;
    s->held = true;
    s->waited = 0;
}

void *lt_tier_wait(lt_tier *t, int slot, lt_stream stream)
{
    lt_tier_slot *s = slot_of(t, slot, true);

    if (!s->waited && t->ops->arrive)
        t->ops->arrive(t, slot);
    if (!(s->waited & 1u << stream))
        t->dev->backend->stream_wait(t->dev, stream, s->arrived);
    s->waited |= 1u << stream;
    return s->device;
}

void lt_tier_store(lt_tier *t, int slot)
{
    lt_tier_slot *s = slot_of(t, slot, true);

    LT_BUG_ON(!(s->waited & 1u << LT_STREAM_COMPUTE));
    t->ops->store(t, slot);
    s->held = false;
}

void lt_tier_drop(lt_tier *t, int slot)
{
    lt_tier_slot *s = slot_of(t, slot, true);

    if (s->waited) /* else nobody has seen it, and COPY_IN is in order with itself */
        t->dev->backend->event_record(t->dev, s->left, LT_STREAM_COMPUTE);
    s->held = false;
}

/* ---- the host's side */

lt_err lt_tier_flush(lt_tier *t)
{
    t->ops->settle(t);
    if (t->ops->flush)
        t->ops->flush(t);
    return lt_tier_check(t);
}

static void check_part(const lt_tier *t, int record, size_t offset, size_t bytes)
{
    LT_BUG_ON(record < 0 || record >= t->n_records);
    LT_BUG_ON(offset > t->bytes[record] || bytes > t->bytes[record] - offset);
}

lt_err lt_tier_read(lt_tier *t, int record, size_t offset, size_t bytes, void *dst)
{
    check_part(t, record, offset, bytes);
    t->ops->settle(t);
    if (!lt_tier_failed(t) && t->ops->read(t, record, offset, bytes, dst) != LT_OK)
        lt_tier_note(t);
    return lt_tier_check(t);
}

lt_err lt_tier_write(lt_tier *t, int record, size_t offset, size_t bytes, const void *src)
{
    check_part(t, record, offset, bytes);
    for (int i = 0; i < t->n_slots; i++)
        LT_BUG_ON(t->slots[i].held && t->slots[i].record == record);
    t->ops->settle(t);
    if (!lt_tier_failed(t) && t->ops->write(t, record, offset, bytes, src) != LT_OK)
        lt_tier_note(t);
    return lt_tier_check(t);
}
