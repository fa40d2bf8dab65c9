/* data_parallel.c - scatter, replicate, compute, gather, update. */
#include "data_parallel.h"

#include "base/mem.h"
#include "bench_step.h"
#include "replica.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_SUMS = 2,           /* squares of gradients that decay, and of others */
    FETCH_MOST = 16 << 20 /* elements of another one's gradients at a time */
};

struct data_parallel {
    data_parallel_options options;
    lt_model_config config;
    lt_param_table *table;
    flat_layout layout;
    replica *replicas; /* n; the first one's device has what follows, too */
    int n;
    lt_pool *pool; /* a thread a device */
    int64_t rows;  /* of one device */
    int64_t n_fetch;
    int32_t *host_tokens, *tokens;
    float *master; /* the first one's weights themselves, when they are fp32 */
    float *moment1, *moment2, *fetched;
    float *losses; /* (1, n * rows) */
    double *sums;  /* N_SUMS squares, the loss, a word: as lt_ops.grad_norm_finish has them */
    lt_step_state begin;
};

/* Work for every device, each by one thread at a time. */
typedef struct each_task {
    lt_task task;
    data_parallel *p;
    lt_err (*run)(data_parallel *p, int index);
    lt_err_record *faults; /* one a device */
} each_task;

static void run_one(lt_task *task, int64_t index, int worker)
{
    each_task *t = (each_task *)task;

    (void)worker;
    if (t->run(t->p, (int)index) != LT_OK)
        lt_err_take(&t->faults[index]);
}

static lt_err on_each(data_parallel *p, bool apart, lt_err (*run)(data_parallel *p, int index))
{
    each_task t = { .task = { run_one }, .p = p, .run = run };
    lt_err err = LT_OK;

    t.faults = lt_new_array0((size_t)p->n, sizeof *t.faults);
    lt_pool_run(apart ? p->pool : NULL, &t.task, p->n);
    for (int i = 0; i < p->n && err == LT_OK; i++)
        if (t.faults[i].code != LT_OK)
            err = lt_err_give(&t.faults[i]);
    free(t.faults);
    return err;
}

/* ---- life */

static lt_err open_replica(data_parallel *p, int index)
{
    const data_parallel_options *o = &p->options;
    lt_dev_options dev = { .n_threads = o->n_threads, .ordinal = index, .deterministic = true };

    return replica_open(&p->replicas[index], o->device, &dev, &p->config, &o->shape, &p->layout);
}

/* As PyTorch does: every pair copies straight. */
static lt_err connect_all(data_parallel *p)
{
    lt_err err = LT_OK;

    for (int i = 0; i < p->n && err == LT_OK; i++)
        for (int k = 0; k < p->n && err == LT_OK; k++)
            if (i != k && p->replicas[i].dev->backend->connect)
                err = p->replicas[i].dev->backend->connect(p->replicas[i].dev, p->replicas[k].dev);
    return err;
}

static lt_err take_first(data_parallel *p)
{
    replica *first = &p->replicas[0];
    uint64_t n = (uint64_t)p->layout.n * sizeof(float), rows = (uint64_t)(p->rows * p->n);
    lt_err err;

    if (first->type == LT_F32)
        p->master = (float *)(void *)first->weights;
    else
        LT_TRY(err = replica_take(first, n, &p->master));
    LT_TRY(err = replica_take(first, n, &p->moment1));
    LT_TRY(err = replica_take(first, n, &p->moment2));
    p->n_fetch = p->layout.n < FETCH_MOST ? p->layout.n : FETCH_MOST;
    LT_TRY(err = replica_take(first, (uint64_t)p->n_fetch * sizeof(float), &p->fetched));
    LT_TRY(err = replica_take(first, rows * sizeof *p->losses, &p->losses));
    LT_TRY(err = replica_take(first, rows * REPLICA_TOKEN_ARRAYS * sizeof *p->tokens, &p->tokens));
    err = replica_take(first, (N_SUMS + 2) * sizeof *p->sums, &p->sums);
fail:
    return err;
}

typedef struct init_task {
    lt_task task;
    const data_parallel *p;
    float *values; /* the flat space */
} init_task;

static void init_param(lt_task *task, int64_t index, int worker)
{
    const init_task *t = (const init_task *)task;
    const lt_param_table *table = t->p->table;

    (void)worker;
    lt_param_init_slice(table, &t->p->config, (int)index, 1, 0, table->params[index].count,
                        t->values + t->p->layout.offsets[index]);
}

/* The weights that lt-bench train begins with. */
static lt_err init_weights(data_parallel *p)
{
    replica *first = &p->replicas[0];
    init_task t = { .task = { init_param }, .p = p };
    lt_pool *pool = lt_pool_new(0);
    lt_err err;

    LT_TRY(err = lt_alloc_array(&t.values, (uint64_t)p->layout.n, sizeof(float), "weights"));
    lt_pool_run(pool, &t.task, p->table->n_params);
    lt_dev_copy(first->dev, LT_STREAM_COMPUTE, p->master, t.values,
                (size_t)p->layout.n * sizeof(float));
    if (first->type != LT_F32)
        first->dev->ops->copy(first->dev, lt_vector(first->weights, first->type, p->layout.n),
                              lt_vector(p->master, LT_F32, p->layout.n));
    err = lt_dev_sync(first->dev);
fail:
    lt_pool_free(pool);
    free(t.values);
    return err;
}

static void make_tokens(data_parallel *p)
{
    int64_t rows = p->rows;

    p->host_tokens =
        lt_new_array0((size_t)(p->n * rows * REPLICA_TOKEN_ARRAYS), sizeof *p->host_tokens);
    for (int r = 0; r < p->n; r++) {
        int32_t *ids = p->host_tokens + r * rows * REPLICA_TOKEN_ARRAYS;

        bench_step_tokens(ids, ids + rows, rows, p->config.vocab_size, r, 0);
        for (int64_t i = 0; i < rows; i++)
            ids[2 * rows + i] = (int32_t)(i % p->options.shape.seq);
    }
}

/* Scalars that outlive a step, on every device. */
static lt_err first_state(data_parallel *p, int index)
{
    replica *r = &p->replicas[index];
    lt_step_state first = { .loss_scale = 1, .last_overflow = -1 };

    lt_dev_copy(r->dev, LT_STREAM_COMPUTE, r->state, &first, sizeof first);
    return lt_dev_sync(r->dev);
}

lt_err data_parallel_open(data_parallel **out, const data_parallel_options *o)
{
    data_parallel *p = lt_new0(sizeof *p);
    lt_err err;

    p->options = *o;
    p->options.shape.grad = LT_F32;
    p->options.shape.uses[LT_USE_TRAIN] = true;
    p->config = *o->config;
    p->n = o->n_devices;
    p->rows = o->shape.n_batch * o->shape.seq;
    p->table = lt_param_table_new(&p->config);
    flat_layout_init(&p->layout, p->table);
    p->replicas = lt_new_array0((size_t)p->n, sizeof *p->replicas);
    p->pool = lt_pool_new(p->n);
    LT_TRY(err = on_each(p, false, open_replica));
    LT_TRY(err = connect_all(p));
    LT_TRY(err = take_first(p));
    LT_TRY(err = on_each(p, false, first_state));
    LT_TRY(err = init_weights(p));
    make_tokens(p);
    p->begin =
        (lt_step_state){ .lr = (float)BENCH_LR, .inv_tokens = 1.0f / (float)(p->rows * p->n) };
    *out = p;
    return LT_OK;
fail:
    data_parallel_close(p);
    return err;
}

static void give_first(data_parallel *p)
{
    const replica *first = &p->replicas[0];
    void *own_master = first->type == LT_F32 ? NULL : p->master;
    void *all[] = { own_master, p->moment1, p->moment2, p->fetched, p->losses, p->tokens, p->sums };

    for (size_t i = 0; i < LT_COUNT(all); i++)
        if (all[i])
            lt_dev_free(first->dev, LT_MEMORY_DEVICE, all[i]);
}

void data_parallel_close(data_parallel *p)
{
    if (!p)
        return;
    give_first(p);
    for (int r = 0; r < p->n; r++)
        replica_close(&p->replicas[r]);
    lt_pool_free(p->pool);
    flat_layout_release(&p->layout);
    lt_param_table_free(p->table);
    free(p->replicas);
    free(p->host_tokens);
    free(p);
}

/* ---- a step */

/* The first device has read everything that others fetch from it. */
static lt_err scatter(data_parallel *p)
{
    lt_dev *dev = p->replicas[0].dev;

    lt_dev_copy(dev, LT_STREAM_COMPUTE, p->tokens, p->host_tokens,
                (size_t)(p->rows * p->n * REPLICA_TOKEN_ARRAYS) * sizeof *p->tokens);
    return lt_dev_sync(dev);
}

static lt_err replicate(data_parallel *p, int index)
{
    replica *r = &p->replicas[index];
    size_t n_tokens = (size_t)p->rows * REPLICA_TOKEN_ARRAYS;

    if (index > 0)
        lt_dev_copy(r->dev, LT_STREAM_COMPUTE, r->weights, p->replicas[0].weights,
                    (size_t)p->layout.n * lt_dtype_bytes(r->type));
    lt_dev_copy(r->dev, LT_STREAM_COMPUTE, r->tokens, p->tokens + (size_t)index * n_tokens,
                n_tokens * sizeof *r->tokens);
    return lt_dev_sync(r->dev);
}

static lt_err compute(data_parallel *p, int index)
{
    replica *r = &p->replicas[index];

    replica_pass(r, &p->begin);
    return lt_dev_sync(r->dev);
}

static void add_gradients(data_parallel *p, const replica *from)
{
    const replica *first = &p->replicas[0];
    lt_dev *dev = first->dev;

    for (int64_t at = 0; at < p->layout.n; at += p->n_fetch) {
        int64_t left = p->layout.n - at, n = left < p->n_fetch ? left : p->n_fetch;

        lt_dev_copy(dev, LT_STREAM_COMPUTE, p->fetched, from->grads + at,
                    (size_t)n * sizeof *p->fetched);
        dev->ops->accumulate(dev, lt_vector(first->grads + at, LT_F32, n),
                             lt_vector(p->fetched, LT_F32, n), true);
    }
}

/* Losses and gradients of all on the first device; sums of its gradients. */
static void gather(data_parallel *p)
{
    replica *first = &p->replicas[0];
    lt_dev *dev = first->dev;
    int64_t n = p->layout.n, n_decay = p->layout.n_decay;

    for (int i = 0; i < p->n; i++)
        lt_dev_copy(dev, LT_STREAM_COMPUTE, p->losses + i * p->rows, p->replicas[i].losses,
                    (size_t)p->rows * sizeof *p->losses);
    for (int i = 1; i < p->n; i++)
        add_gradients(p, &p->replicas[i]);
    dev->ops->sum_losses(dev, first->state, lt_vector(p->losses, LT_F32, p->rows * p->n));
    dev->ops->sum_squares(dev, &p->sums[0], lt_vector(first->grads, LT_F32, n_decay));
    dev->ops->sum_squares(dev, &p->sums[1], lt_vector(first->grads + n_decay, LT_F32, n - n_decay));
    lt_dev_copy(dev, LT_STREAM_COMPUTE, &p->sums[N_SUMS], &first->state->loss_sum, sizeof *p->sums);
}

static void update(data_parallel *p)
{
    replica *first = &p->replicas[0];
    lt_optim optim = bench_step_optim();
    int64_t cut[] = { 0, p->layout.n_decay, p->layout.n };

    lt_optim_decide(first->dev, &optim, p->sums, 1, N_SUMS, first->state);
    for (int i = 0; i < 2; i++) {
        int64_t at = cut[i], n = cut[i + 1] - at;
        char *weights = first->weights + (size_t)at * lt_dtype_bytes(first->type);
        lt_optim_slice slice = { .p = lt_vector(p->master + at, LT_F32, n),
                                 .copy = first->type == LT_F32 ? lt_absent()
                                                               : lt_vector(weights, first->type, n),
                                 .m = lt_vector(p->moment1 + at, LT_F32, n),
                                 .v = lt_vector(p->moment2 + at, LT_F32, n),
                                 .g = lt_vector(first->grads + at, LT_F32, n),
                                 .decay = i == 0 };

        lt_optim_update(first->dev, &optim, &slice, first->state);
    }
}

lt_err data_parallel_step(data_parallel *p, bool apart, double *loss)
{
    replica *first = &p->replicas[0];
    double sum;
    lt_err err;

    LT_TRY(err = scatter(p));
    LT_TRY(err = on_each(p, apart, replicate));
    LT_TRY(err = on_each(p, apart, compute));
    gather(p);
    update(p);
    lt_dev_copy(first->dev, LT_STREAM_COMPUTE, &sum, &first->state->loss_sum, sizeof sum);
    LT_TRY(err = lt_dev_sync(first->dev));
    *loss = sum / (double)(p->rows * p->n);
fail:
    return err;
}

/* ---- figures */

uint64_t data_parallel_bytes(const data_parallel *p)
{
    uint64_t most = 0;

    for (int i = 0; i < p->n; i++) {
        uint64_t bytes = p->replicas[i].bytes + p->replicas[i].dev->scratch_bytes;

        most = bytes > most ? bytes : most;
    }
    return most;
}

uint64_t data_parallel_used(const data_parallel *p)
{
    uint64_t most = 0;

    for (int i = 0; i < p->n; i++) {
        lt_dev_health health = { 0 };

        if (p->replicas[i].dev->backend->health)
            p->replicas[i].dev->backend->health(p->replicas[i].dev, &health);
        most = health.memory_used > most ? health.memory_used : most;
    }
    return most;
}

void data_parallel_describe(const data_parallel *p, char *text, size_t size)
{
    lt_dev *dev = p->replicas[0].dev;

    dev->backend->describe(dev, text, size);
}
