/* tests/zero/lazy_device.h - a CPU device whose streams do nothing until somebody waits, and then
 * in any order that their events allow.
 *
 * On a CPU all streams but one run inline, so an order that nobody asked for is there anyway; on a
 * GPU it is not.  Here every stream is a queue.  When the host waits, queues are run task by task,
 * the next one drawn at random, or always from the stream that comes first in an order of the
 * seed's, so that work is done as early or as late as it ever could be. */
#ifndef LAZY_DEVICE_H
#define LAZY_DEVICE_H

#include "base/rng.h"
#include "thread_ranks.h"

enum { N_LAZY_ORDERS = 24 };

typedef struct lazy_event {
    uint64_t recorded, reached; /* times it was enqueued; times it was run */
    lt_stream on;               /* where it was enqueued last */
} lazy_event;

typedef struct lazy_task {
    void (*run)(void *context); /* NULL: about the event */
    lazy_event *event;
    bool wait;       /* else it is recorded */
    uint64_t number; /* which recording */
    _Alignas(16) char context[LT_HOST_TASK_BYTES];
} lazy_task;

typedef struct lazy_queue {
    lazy_task *tasks;
    size_t n, next, capacity;
} lazy_queue;

typedef struct lazy_device {
    lt_dev base;
    lt_dev *real;
    uint64_t seed, draws;
    uint64_t n_copies_awaited; /* by the compute stream, of those that come in */
    lazy_event *last_of_comm;  /* recorded last on the communication stream */
    uint64_t n_last_awaited;   /* times that the compute stream then waited for it */
    lazy_queue queues[LT_N_STREAMS];
} lazy_device;

static inline lazy_device *lazy_of(lt_dev *dev)
{
    return (lazy_device *)dev;
}

/* ---- running */

static inline bool lazy_is_ready(const lazy_queue *q)
{
    const lazy_task *t = &q->tasks[q->next];

    return q->next < q->n && (t->run || !t->wait || t->event->reached >= t->number);
}

static inline void lazy_run_one(lazy_queue *q)
{
    lazy_task t = q->tasks[q->next++];

    if (t.run)
        t.run(t.context);
    else if (!t.wait)
        t.event->reached = t.number;
    if (q->next == q->n)
        q->next = q->n = 0;
}

/* Place k of the order in which streams are preferred: one of the 24, or drawn anew. */
static inline int lazy_choice(lazy_device *d, int k)
{
    int left[LT_N_STREAMS] = { 0, 1, 2, 3 }, order[LT_N_STREAMS];
    uint64_t which = d->seed < N_LAZY_ORDERS ? d->seed : lt_random_u64(d->seed, 1, d->draws);

    for (int n = LT_N_STREAMS, i = 0; n > 0; which /= (uint64_t)n--, i++) {
        int taken = (int)(which % (uint64_t)n);

        order[i] = left[taken];
        left[taken] = left[n - 1];
    }
    return order[k];
}

/* One task of some stream; false: all queues are empty. */
static inline bool lazy_step(lazy_device *d)
{
    bool empty = true;

    d->draws++;
    for (int k = 0; k < LT_N_STREAMS; k++) {
        lazy_queue *q = &d->queues[lazy_choice(d, k)];

        empty = empty && q->next == q->n;
        if (lazy_is_ready(q)) {
            lazy_run_one(q);
            return true;
        }
    }
    LT_BUG_ON(!empty); /* streams that wait for one another */
    return false;
}

static inline lt_err lazy_sync(lt_dev *dev)
{
    while (lazy_step(lazy_of(dev)))
        ;
    return LT_OK;
}

/* ---- the backend */

static inline lazy_task *lazy_put(lt_dev *dev, lt_stream stream)
{
    lazy_queue *q = &lazy_of(dev)->queues[stream];

    lt_array_reserve(&q->tasks, &q->capacity, q->n + 1, sizeof *q->tasks);
    q->tasks[q->n] = (lazy_task){ 0 };
    return &q->tasks[q->n++];
}

static inline void lazy_host_task(lt_dev *dev, lt_stream stream, void (*run)(void *context),
                                  const void *context, size_t bytes)
{
    lazy_task *t = lazy_put(dev, stream);

    LT_BUG_ON(bytes > LT_HOST_TASK_BYTES);
    t->run = run;
    memcpy(t->context, context, bytes);
}

static inline lt_event *lazy_event_new(lt_dev *dev)
{
    (void)dev;
    return lt_new0(sizeof(lazy_event));
}

static inline void lazy_event_record(lt_dev *dev, lt_event *event, lt_stream stream)
{
    lazy_task *t = lazy_put(dev, stream);

    t->event = (lazy_event *)event;
    t->number = ++t->event->recorded;
    t->event->on = stream;
    if (stream == LT_STREAM_COMM)
        lazy_of(dev)->last_of_comm = t->event;
}

static inline void lazy_stream_wait(lt_dev *dev, lt_stream stream, lt_event *event)
{
    lazy_task *t = lazy_put(dev, stream);

    t->event = (lazy_event *)event;
    t->number = t->event->recorded;
    t->wait = true;
    lazy_of(dev)->n_copies_awaited +=
        stream == LT_STREAM_COMPUTE && t->number > 0 && t->event->on == LT_STREAM_COPY_IN;
    lazy_of(dev)->n_last_awaited +=
        stream == LT_STREAM_COMPUTE && t->event == lazy_of(dev)->last_of_comm;
}

static inline lt_err lazy_event_sync(lt_dev *dev, lt_event *event)
{
    lazy_event *e = (lazy_event *)event;

    while (e->reached < e->recorded)
        LT_BUG_ON(!lazy_step(lazy_of(dev)));
    return LT_OK;
}

typedef struct lazy_bytes {
    void *dst;
    const void *src;
    size_t bytes;
} lazy_bytes;

static inline void lazy_run_bytes(void *context)
{
    const lazy_bytes *c = context;

    memcpy(c->dst, c->src, c->bytes);
}

static inline void lazy_copy_bytes(lt_dev *dev, lt_stream stream, void *dst, const void *src,
                                   size_t bytes)
{
    lazy_bytes c = { dst, src, bytes };

    lazy_host_task(dev, stream, lazy_run_bytes, &c, sizeof c);
}

/* ---- the operations that a store and an optimizer use */

typedef struct lazy_op {
    lt_dev *real;
    lt_tensor t[5];
    bool add;
    lt_step_state state;
    lt_adamw run;
} lazy_op;

static inline void lazy_put_op(lt_dev *dev, void (*run)(void *context), const lazy_op *op)
{
    lazy_op *own = lt_new0(sizeof *own);

    *own = *op;
    own->real = lazy_of(dev)->real;
    lazy_host_task(dev, LT_STREAM_COMPUTE, run, &own, sizeof own);
}

static inline void lazy_run_zero(void *context)
{
    lazy_op *op = *(lazy_op **)context;

    op->real->ops->zero(op->real, op->t[0].data, (size_t)op->t[0].cols);
    free(op);
}

static inline void lazy_zero(lt_dev *dev, void *data, size_t bytes)
{
    lazy_put_op(dev, lazy_run_zero, &(lazy_op){ .t = { lt_vector(data, LT_U8, (int64_t)bytes) } });
}

static inline void lazy_run_copy(void *context)
{
    lazy_op *op = *(lazy_op **)context;

    op->real->ops->copy(op->real, op->t[0], op->t[1]);
    free(op);
}

static inline void lazy_copy(lt_dev *dev, lt_tensor dst, lt_tensor src)
{
    lazy_put_op(dev, lazy_run_copy, &(lazy_op){ .t = { dst, src } });
}

static inline void lazy_run_accumulate(void *context)
{
    lazy_op *op = *(lazy_op **)context;

    op->real->ops->accumulate(op->real, op->t[0], op->t[1], op->add);
    free(op);
}

static inline void lazy_accumulate(lt_dev *dev, lt_tensor dst, lt_tensor src, bool add)
{
    lazy_put_op(dev, lazy_run_accumulate, &(lazy_op){ .t = { dst, src }, .add = add });
}

static inline void lazy_run_adamw(void *context)
{
    lazy_op *op = *(lazy_op **)context;

    op->real->ops->adamw(op->real, op->t[0], op->t[1], op->t[2], op->t[3], op->t[4], &op->state,
                         &op->run);
    free(op);
}

static inline void lazy_adamw(lt_dev *dev, lt_tensor p, lt_tensor copy, lt_tensor m, lt_tensor v,
                              lt_tensor g, const lt_step_state *state, const lt_adamw *run)
{
    lazy_put_op(dev, lazy_run_adamw,
                &(lazy_op){ .t = { p, copy, m, v, g }, .state = *state, .run = *run });
}

static const lt_ops lazy_ops = {
    .zero = lazy_zero, .copy = lazy_copy, .accumulate = lazy_accumulate, .adamw = lazy_adamw
};

/* ---- a rank on it */

static lt_backend lazy_backend;

/* Before the ranks start. */
static inline void lazy_init(void)
{
    lazy_backend = lt_backend_cpu;
    lazy_backend.name = "lazy";
    lazy_backend.copy = lazy_copy_bytes;
    lazy_backend.event_new = lazy_event_new;
    lazy_backend.event_record = lazy_event_record;
    lazy_backend.stream_wait = lazy_stream_wait;
    lazy_backend.event_sync = lazy_event_sync;
    lazy_backend.sync = lazy_sync;
    lazy_backend.host_task = lazy_host_task;
}

/* The rank's device becomes a lazy one over the device that it has.  Seeds below N_LAZY_ORDERS
 * prefer streams in that order, others draw. */
static inline void lazy_attach(lazy_device *d, thread_rank *me, uint64_t seed)
{
    *d = (lazy_device){ .base = *me->dev, .real = me->dev, .seed = seed };
    d->base.backend = &lazy_backend;
    d->base.ops = &lazy_ops;
    me->dev = me->comm->dev = &d->base;
}

static inline void lazy_detach(lazy_device *d, thread_rank *me)
{
    (void)lazy_sync(&d->base);
    me->dev = me->comm->dev = d->real;
    for (int s = 0; s < LT_N_STREAMS; s++)
        free(d->queues[s].tasks);
}

#endif
