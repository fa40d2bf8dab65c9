/* async_device.h - a CPU device whose copies are as late as those of a GPU may be.
 *
 * Computation and both copy directions run on a thread each, held up at random, and only events
 * order them: what forgets to wait for one gets the wrong bytes here, and a race under TSan.
 * Counts the bytes that are allocated.  Operations of dev->ops stay inline; give work to
 * async_compute. */
#ifndef LT_TESTS_ASYNC_DEVICE_H
#define LT_TESTS_ASYNC_DEVICE_H

#include "base/mem.h"
#include "base/rng.h"
#include "device/cpu_stream.h"
#include "device/device.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct async_event {
    struct lt_event base; /* ticket */
    lt_cpu_stream *stream;
} async_event;

typedef struct async_copy {
    void *dst;
    const void *src;
    size_t bytes;
    unsigned delay_us;
} async_copy;

static struct {
    lt_backend backend;
    lt_cpu_stream *streams[LT_N_STREAMS]; /* NULL: copies run inline, as lt_backend_cpu does */
    uint64_t n_copies;
    uint64_t allocated[2]; /* by lt_memory */
} async_state;

static inline lt_err async_alloc(lt_dev *dev, lt_memory kind, size_t bytes, void **out)
{
    async_state.allocated[kind] += bytes;
    return lt_backend_cpu.alloc(dev, kind, bytes, out);
}

static inline void async_run_copy(void *context)
{
    const async_copy *c = context;

    if (c->delay_us)
        usleep(c->delay_us);
    memcpy(c->dst, c->src, c->bytes);
}

static inline void async_copy_bytes(lt_dev *dev, lt_stream stream, void *dst, const void *src,
                                    size_t bytes)
{
    uint64_t r = lt_mix64(async_state.n_copies++);
    async_copy c = { dst, src, bytes, r % 4 ? 0 : (unsigned)(r >> 32) % 200 };

    (void)dev;
    lt_cpu_stream_put(async_state.streams[stream], async_run_copy, &c, sizeof c);
}

static inline lt_event *async_event_new(lt_dev *dev)
{
    async_event *e = lt_new0(sizeof *e);

    (void)dev;
    return &e->base;
}

static inline void async_event_record(lt_dev *dev, lt_event *event, lt_stream stream)
{
    async_event *e = (async_event *)event;

    (void)dev;
    e->stream = async_state.streams[stream];
    e->base.ticket = lt_cpu_stream_ticket(e->stream);
}

static inline void async_wait_for(void *context)
{
    const async_event *e = context;

    lt_cpu_stream_wait(e->stream, e->base.ticket);
}

static inline void async_stream_wait(lt_dev *dev, lt_stream stream, lt_event *event)
{
    async_event *e = (async_event *)event;

    (void)dev;
    if (e->base.ticket && e->stream != async_state.streams[stream])
        lt_cpu_stream_put(async_state.streams[stream], async_wait_for, e, sizeof *e);
}

static inline lt_err async_event_sync(lt_dev *dev, lt_event *event)
{
    (void)dev;
    async_wait_for(event);
    return LT_OK;
}

/* Work of the computation, in its order. */
static inline void async_compute(void (*run)(void *context), void *context, size_t bytes)
{
    if (async_state.streams[LT_STREAM_COMPUTE])
        lt_cpu_stream_put(async_state.streams[LT_STREAM_COMPUTE], run, context, bytes);
    else
        run(context);
}

/* late: copies and computation on threads; else only the count is ours. */
static inline lt_err async_device_open(lt_dev **out, bool late)
{
    lt_err err = lt_dev_open(out, "cpu", &(lt_dev_options){ .n_threads = 1 });

    if (err != LT_OK)
        return err;
    memset(&async_state, 0, sizeof async_state);
    async_state.backend = lt_backend_cpu;
    async_state.backend.alloc = async_alloc;
    if (late) {
        async_state.streams[LT_STREAM_COMPUTE] = lt_cpu_stream_new();
        async_state.streams[LT_STREAM_COPY_IN] = lt_cpu_stream_new();
        async_state.streams[LT_STREAM_COPY_OUT] = lt_cpu_stream_new();
        async_state.backend.copy = async_copy_bytes;
        async_state.backend.event_new = async_event_new;
        async_state.backend.event_record = async_event_record;
        async_state.backend.stream_wait = async_stream_wait;
        async_state.backend.event_sync = async_event_sync;
    }
    (*out)->backend = &async_state.backend;
    return LT_OK;
}

static inline void async_device_close(lt_dev *dev)
{
    for (int i = 0; i < LT_N_STREAMS; i++)
        lt_cpu_stream_free(async_state.streams[i]);
    lt_dev_close(dev);
}

#endif
