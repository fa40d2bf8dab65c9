/* zero/tier_file.c - records in a file, read by one thread and written by another.
 *
 * Every slot has a record's room in host memory, the staging, through which records pass both ways:
 *
 *     fetch   the reader is given the slot: file -> staging, CRC checked
 *     wait    the host waits for that, then staging -> slot on COPY_IN
 *     store   slot -> staging on COPY_OUT; the store is pending
 *     later   the next call that may wait a moment waits for that copy and gives the slot to the
 *             writer: staging -> file.  Only the owner of the device calls into it, so the writer
 *             cannot wait for itself.  One store is pending at most.
 *
 * A slot is given to a thread at most once at a time: `reading` and `writing` say so, under the
 * lock. The reader holds back while its slot's staging, or its record, is still being written; the
 * writer waits for nobody. */
#include "zero/tier_parts.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "zero/record_file.h"

#include <stdlib.h>
#include <string.h>

typedef struct file_slot {
    char *staging; /* a record, LT_TIER_BLOCK aligned */
    bool reading, writing;
    int read_record, write_record;
} file_slot;

/* Slots in the order they were given. */
typedef struct job_queue {
    int *slots; /* ring of [n_slots] */
    uint64_t given, taken;
} job_queue;

typedef struct file_tier {
    lt_tier base;
    lt_record_file file; /* a record is read and written by one thread at a time */
    void *memory;        /* plan.host bytes: all staging, then the desk */
    file_slot *slots;    /* [n_slots] */
    int pending;         /* the slot whose store has not been given to the writer; -1: none */
    char *desk;          /* the record whose parts are read and written */
    int desk_record;     /* -1: none */
    bool desk_dirty;
    pthread_t reader, writer;
    bool reader_runs, writer_runs;
    pthread_cond_t changed; /* with base.lock: */
    job_queue reads, writes;
    bool stop;
} file_tier;

static file_tier *file_of(lt_tier *t)
{
    return (file_tier *)t;
}

/* ---- the threads */

/* Under the lock; the ring has room, for a slot is in it at most once. */
static void give(job_queue *q, int slot, int n_slots)
{
    q->slots[q->given++ % (uint64_t)n_slots] = slot;
}

static bool is_written(const file_tier *f, int record)
{
    for (int i = 0; i < f->base.n_slots; i++)
        if (f->slots[i].writing && f->slots[i].write_record == record)
            return true;
    return false;
}

/* The slot that a queue asks for next; NULL: the thread ends.  Under the lock. */
static file_slot *take(file_tier *f, job_queue *q)
{
    while (!f->stop && q->given == q->taken)
        pthread_cond_wait(&f->changed, &f->base.lock);
    return f->stop ? NULL : &f->slots[q->slots[q->taken++ % (uint64_t)f->base.n_slots]];
}

static void *reader_main(void *arg)
{
    file_tier *f = arg;
    pthread_mutex_t *lock = &f->base.lock;
    file_slot *s;

    pthread_mutex_lock(lock);
    while ((s = take(f, &f->reads))) {
        while (!f->stop && (s->writing || is_written(f, s->read_record)))
            pthread_cond_wait(&f->changed, lock);
        if (!f->stop && f->base.fault.code == LT_OK) {
            pthread_mutex_unlock(lock);
            if (lt_record_file_read(&f->file, s->read_record, s->staging) != LT_OK)
                lt_tier_note(&f->base);
            pthread_mutex_lock(lock);
        }
        s->reading = false;
        pthread_cond_broadcast(&f->changed);
    }
    pthread_mutex_unlock(lock);
    return NULL;
}

static void *writer_main(void *arg)
{
    file_tier *f = arg;
    pthread_mutex_t *lock = &f->base.lock;
    file_slot *s;

    pthread_mutex_lock(lock);
    while ((s = take(f, &f->writes))) {
        if (f->base.fault.code == LT_OK) {
            pthread_mutex_unlock(lock);
            if (lt_record_file_write(&f->file, s->write_record, s->staging) != LT_OK)
                lt_tier_note(&f->base);
            pthread_mutex_lock(lock);
        }
        s->writing = false;
        pthread_cond_broadcast(&f->changed);
    }
    pthread_mutex_unlock(lock);
    return NULL;
}

static lt_err start_threads(file_tier *f)
{
    lt_err err;

    LT_TRY(err = lt_thread_start(&f->reader, reader_main, f, f->file.path));
    f->reader_runs = true;
    LT_TRY(err = lt_thread_start(&f->writer, writer_main, f, f->file.path));
    f->writer_runs = true;
fail:
    return err;
}

/* ---- open and close */

static void lay_out_memory(file_tier *f)
{
    uint64_t room = LT_ALIGN_UP(f->base.largest ? f->base.largest : 1, (uint64_t)LT_TIER_BLOCK);
    char *p = (char *)LT_ALIGN_UP((uintptr_t)f->memory, (uintptr_t)LT_TIER_BLOCK);

    for (int i = 0; i < f->base.n_slots; i++, p += room)
        f->slots[i].staging = p;
    f->desk = p;
}

static lt_err file_open(lt_tier *t, const lt_tier_options *o)
{
    file_tier *f = file_of(t);
    lt_err err;

    f->pending = f->desk_record = -1;
    pthread_cond_init(&f->changed, NULL);
    f->slots = lt_new_array0((size_t)t->n_slots, sizeof *f->slots);
    f->reads.slots = lt_new_array0((size_t)t->n_slots, sizeof *f->reads.slots);
    f->writes.slots = lt_new_array0((size_t)t->n_slots, sizeof *f->writes.slots);
    LT_TRY(err = lt_tier_memory_take(t, t->plan.host, &f->memory));
    lay_out_memory(f);
    LT_TRY(err = lt_record_file_open(&f->file, t, o->path, f->desk));
    LT_TRY(err = start_threads(f));
    lt_log_debug("offload %s: %llu bytes in %s, %s", t->label, (unsigned long long)t->plan.file,
                 o->path, f->file.direct ? "direct" : "through the page cache");
    return LT_OK;
fail:
    return err;
}

static void file_close(lt_tier *t)
{
    file_tier *f = file_of(t);

    pthread_mutex_lock(&t->lock);
    f->stop = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&t->lock);
    if (f->reader_runs)
        pthread_join(f->reader, NULL);
    if (f->writer_runs)
        pthread_join(f->writer, NULL);
    lt_record_file_close(&f->file);
    lt_tier_memory_give(t, t->plan.host, f->memory);
    pthread_cond_destroy(&f->changed);
    free(f->writes.slots);
    free(f->reads.slots);
    free(f->slots);
}

/* ---- records */

/* The pending store goes to the writer, once its copy has left the device. */
static void hand_over(file_tier *f)
{
    file_slot *s;
    int slot = f->pending;

    if (slot < 0)
        return;
    f->pending = -1;
    s = &f->slots[slot];
    lt_tier_event_sync(&f->base, f->base.slots[slot].left);
    pthread_mutex_lock(&f->base.lock);
    s->writing = true;
    give(&f->writes, slot, f->base.n_slots);
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->base.lock);
}

/* What file_write left on the desk goes to the file. */
static lt_err clear_desk(file_tier *f)
{
    if (!f->desk_dirty || lt_tier_failed(&f->base))
        return LT_OK;
    f->desk_dirty = false;
    return lt_record_file_write(&f->file, f->desk_record, f->desk);
}

static bool is_read(file_tier *f, int slot)
{
    bool done;

    pthread_mutex_lock(&f->base.lock);
    done = !f->slots[slot].reading;
    pthread_mutex_unlock(&f->base.lock);
    return done;
}

static void wait_for_reader(file_tier *f, int slot)
{
    pthread_mutex_lock(&f->base.lock);
    while (f->slots[slot].reading)
        pthread_cond_wait(&f->changed, &f->base.lock);
    pthread_mutex_unlock(&f->base.lock);
}

static void file_fetch(lt_tier *t, int record, int slot)
{
    file_tier *f = file_of(t);
    file_slot *s = &f->slots[slot];

    if (f->desk_record == record && clear_desk(f) != LT_OK)
        lt_tier_note(t);
    if (f->pending >= 0 && (f->pending == slot || f->slots[f->pending].write_record == record))
        hand_over(f);
    wait_for_reader(f, slot);                      /* a fetch that was dropped before its wait */
    lt_tier_event_sync(t, t->slots[slot].arrived); /* its copy out of the staging */
    s->read_record = record;
    pthread_mutex_lock(&t->lock);
    s->reading = true;
    give(&f->reads, slot, t->n_slots);
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&t->lock);
}

/* The copy is given to the device before the pending store is waited for, unless the host has to
 * wait for the file anyway. */
static void file_arrive(lt_tier *t, int slot)
{
    file_tier *f = file_of(t);

    if (!is_read(f, slot))
        hand_over(f);
    wait_for_reader(f, slot);
    lt_tier_copy_in(t, t->slots[slot].record, slot, f->slots[slot].staging);
    hand_over(f);
}

static void file_store(lt_tier *t, int slot)
{
    file_tier *f = file_of(t);
    int record = t->slots[slot].record;

    hand_over(f);
    for (int i = 0; i < t->n_slots; i++) /* fetched into another slot: as it was */
        if (f->slots[i].read_record == record)
            wait_for_reader(f, i);
    if (f->desk_record == record)
        f->desk_record = -1;
    lt_tier_copy_out(t, slot, f->slots[slot].staging);
    f->slots[slot].write_record = record;
    f->pending = slot;
}

static void file_settle(lt_tier *t)
{
    file_tier *f = file_of(t);

    hand_over(f);
    pthread_mutex_lock(&t->lock);
    for (int i = 0; i < t->n_slots; i++)
        while (f->slots[i].reading || f->slots[i].writing)
            pthread_cond_wait(&f->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

static void file_flush(lt_tier *t)
{
    if (clear_desk(file_of(t)) != LT_OK)
        lt_tier_note(t);
}

/* Puts the record on the desk; whole: all of it is about to be written. */
static lt_err take_to_desk(file_tier *f, int record, bool whole)
{
    lt_err err;

    if (f->desk_record == record)
        return LT_OK;
    LT_TRY(err = clear_desk(f));
    f->desk_record = -1;
    if (!whole)
        LT_TRY(err = lt_record_file_read(&f->file, record, f->desk));
    f->desk_record = record;
    return LT_OK;
fail:
    return err;
}

static lt_err file_read(lt_tier *t, int record, size_t offset, size_t bytes, void *dst)
{
    file_tier *f = file_of(t);
    lt_err err;

    LT_TRY(err = take_to_desk(f, record, false));
    memcpy(dst, f->desk + offset, bytes);
    return LT_OK;
fail:
    return err;
}

static lt_err file_write(lt_tier *t, int record, size_t offset, size_t bytes, const void *src)
{
    file_tier *f = file_of(t);
    lt_err err;

    LT_TRY(err = take_to_desk(f, record, bytes == t->bytes[record]));
    memcpy(f->desk + offset, src, bytes);
    f->desk_dirty = true;
    return LT_OK;
fail:
    return err;
}

const lt_tier_ops lt_tier_file_ops = {
    .bytes = sizeof(file_tier),
    .open = file_open,
    .close = file_close,
    .fetch = file_fetch,
    .arrive = file_arrive,
    .store = file_store,
    .settle = file_settle,
    .flush = file_flush,
    .read = file_read,
    .write = file_write,
};
