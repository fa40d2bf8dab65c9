/* zero/tier_host.c - records in host memory: one allocation, copies straight to and from the slots.
 *
 * The host waits for nothing; the order of the copies is the streams' and the events'.  A record
 * that is on its way out is known by its slot: the next fetch of the slot, or of the record into
 * another slot, puts that store before everything later on COPY_IN, and so it is forgotten. */
#include "zero/tier_parts.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

typedef struct host_tier {
    lt_tier base;
    char *memory;  /* plan.host bytes */
    bool *leaving; /* [n_slots] COPY_IN has not waited for the store from this slot */
} host_tier;

static host_tier *host_of(lt_tier *t)
{
    return (host_tier *)t;
}

static char *memory_of(lt_tier *t, int record)
{
    return host_of(t)->memory + t->offset[record];
}

static lt_err host_open(lt_tier *t, const lt_tier_options *o)
{
    host_tier *h = host_of(t);
    void *memory;
    lt_err err;

    (void)o;
    h->leaving = lt_new_array0((size_t)t->n_slots, sizeof *h->leaving);
    LT_TRY(err = lt_tier_memory_take(t, t->plan.host, &memory));
    h->memory = memory;
    return LT_OK;
fail:
    return err;
}

static void host_close(lt_tier *t)
{
    lt_tier_memory_give(t, t->plan.host, host_of(t)->memory);
    free(host_of(t)->leaving);
}

static void host_fetch(lt_tier *t, int record, int slot)
{
    host_tier *h = host_of(t);

    h->leaving[slot] = false; /* lt_tier_copy_in waits for it */
    for (int i = 0; i < t->n_slots; i++) {
        if (!h->leaving[i] || t->slots[i].record != record)
            continue;
        t->dev->backend->stream_wait(t->dev, LT_STREAM_COPY_IN, t->slots[i].left);
        h->leaving[i] = false;
    }
    lt_tier_copy_in(t, record, slot, memory_of(t, record));
}

/* After fetches of the record into other slots, which are to see it as it was. */
static void host_store(lt_tier *t, int slot)
{
    int record = t->slots[slot].record;

    for (int i = 0; i < t->n_slots; i++)
        if (i != slot && t->slots[i].record == record)
            t->dev->backend->stream_wait(t->dev, LT_STREAM_COPY_OUT, t->slots[i].arrived);
    lt_tier_copy_out(t, slot, memory_of(t, record));
    host_of(t)->leaving[slot] = true;
}

static void host_settle(lt_tier *t)
{
    for (int i = 0; i < t->n_slots; i++) {
        lt_tier_event_sync(t, t->slots[i].arrived);
        lt_tier_event_sync(t, t->slots[i].left);
    }
}

static lt_err host_read(lt_tier *t, int record, size_t offset, size_t bytes, void *dst)
{
    memcpy(dst, memory_of(t, record) + offset, bytes);
    return LT_OK;
}

static lt_err host_write(lt_tier *t, int record, size_t offset, size_t bytes, const void *src)
{
    memcpy(memory_of(t, record) + offset, src, bytes);
    return LT_OK;
}

const lt_tier_ops lt_tier_host_ops = {
    .bytes = sizeof(host_tier),
    .open = host_open,
    .close = host_close,
    .fetch = host_fetch,
    .store = host_store,
    .settle = host_settle,
    .read = host_read,
    .write = host_write,
};
