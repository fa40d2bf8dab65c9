/* train/engine.c - joining model, plan, buffers and optimizer into one step. */
#include "train/engine.h"

#include "base/clock.h"

#include <math.h>
#include <stdlib.h>

struct lt_engine {
    lt_unit_access access; /* first: the model's hooks lead back here */
    lt_engine_options options;
    lt_model_config config;
    lt_param_table *table;
    lt_model *model;
    lt_zero_plan *plan;
    lt_zero_store *store;
    lt_dev *dev;
    lt_comm *comm;
    lt_optim_slice *slices;
    int n_slices;
    void *arena, *cache;
    float *logits; /* device, rows of lt_engine_logits or _generate */
    int64_t logits_rows;
    int32_t *tokens;       /* device: ids, targets, positions, doc_start of one micro-batch */
    int32_t *staging;      /* pinned, the same */
    int64_t rows;          /* of a micro-batch, the largest use */
    float *losses;         /* device */
    double *sums;          /* device, n_slices */
    lt_step_state *state;  /* device */
    lt_step_state *mirror; /* pinned */
    lt_engine_bytes bytes;
    bool last_micro;     /* gradients of this pass are complete: reduce */
    lt_err reduce_err;   /* first failure of a reduction inside a pass */
    double forward_done; /* host clock when the head's gradient was enqueued */
};

/* ---- the model's way to parameters */

static lt_engine *engine_of(lt_unit_access *a)
{
    return (lt_engine *)a;
}

static lt_tensor access_param(lt_unit_access *a, int index)
{
    return lt_zero_param(engine_of(a)->store, index);
}

static lt_tensor access_grad(lt_unit_access *a, int index)
{
    return lt_zero_grad(engine_of(a)->store, index);
}

static void access_acquire(lt_unit_access *a, int unit)
{
    lt_zero_gather(engine_of(a)->store, unit);
}

static void access_release(lt_unit_access *a, int unit)
{
    lt_zero_release(engine_of(a)->store, unit);
}

static void access_grads_done(lt_unit_access *a, int unit)
{
    lt_engine *e = engine_of(a);

    if (unit == e->table->n_units - 1)
        e->forward_done = lt_now();
    if (e->last_micro && e->reduce_err == LT_OK)
        e->reduce_err = lt_zero_reduce(e->store, unit);
}

/* ---- life */

enum { TOKEN_ARRAYS = 4 };

static int64_t largest_rows(const lt_model_shape *s)
{
    int64_t train = s->n_batch * s->seq, generate = s->generate_batch * s->generate_prompt;

    return train > generate ? train : generate;
}

static int64_t rows_of_logits(const lt_model_shape *s)
{
    int64_t all = s->uses[LT_USE_LOGITS] ? s->n_batch * s->seq : 0;
    int64_t last = s->uses[LT_USE_GENERATE] ? s->generate_batch : 0;

    return all > last ? all : last;
}

static int64_t vocab_rows(const lt_model_config *c)
{
    return (int64_t)LT_ALIGN_UP(c->vocab_size, LT_VOCAB_PAD);
}

static lt_err make_plans(const lt_engine_options *o, lt_param_table **table, lt_model **model,
                         lt_zero_plan **plan)
{
    lt_zero_settings set = {
        .stage = o->stage, .world = 1, .compute = o->shape.act, .grad = o->shape.grad
    };
    lt_err err;

    *table = lt_param_table_new(o->config);
    LT_TRY(err = lt_model_new(model, o->config, *table, &o->shape));
    LT_TRY(err = lt_zero_plan_new(plan, *table, &set));
fail:
    return err;
}

static lt_err count_bytes(lt_engine_bytes *b, const lt_engine_options *o, const lt_model *model,
                          const lt_zero_plan *plan, const lt_backend *backend)
{
    lt_dev_need need = lt_model_need(model);
    uint64_t rows = (uint64_t)largest_rows(&o->shape);
    size_t scratch = 0;
    lt_err err;

    need.n_threads = o->dev.n_threads;
    LT_TRY(err = backend->plan(&need, &scratch));
    *b = (lt_engine_bytes){ .state = lt_zero_plan_bytes(plan),
                            .activations = lt_model_arena_bytes(model),
                            .kv_cache = lt_model_cache_bytes(model),
                            .scratch = scratch };
    if (!o->training)
        b->state.grads = b->state.moment1 = b->state.moment2 = 0;
    b->batch = rows * (TOKEN_ARRAYS * sizeof(int32_t) + sizeof(float)) + sizeof(lt_step_state) +
               (uint64_t)plan->n_segments * sizeof(double) +
               (uint64_t)(rows_of_logits(&o->shape) * vocab_rows(o->config)) * sizeof(float);
    b->total = b->state.params + b->state.grads + b->state.master + b->state.moment1 +
               b->state.moment2 + b->activations + b->kv_cache + b->batch + b->scratch;
fail:
    return err;
}

lt_err lt_engine_plan(lt_engine_bytes *out, const lt_engine_options *o)
{
    const lt_backend *backend = lt_backend_find(o->device);
    lt_param_table *table = NULL;
    lt_model *model = NULL;
    lt_zero_plan *plan = NULL;
    lt_err err;

    if (!backend)
        return lt_fail(LT_EUSAGE, "device: expected cpu or cuda, found \"%s\"", o->device);
    LT_TRY(err = make_plans(o, &table, &model, &plan));
    LT_TRY(err = count_bytes(out, o, model, plan, backend));
fail:
    lt_zero_plan_free(plan);
    lt_model_free(model);
    lt_param_table_free(table);
    return err;
}

static lt_err take(lt_engine *e, lt_memory kind, uint64_t bytes, void *out)
{
    *(void **)out = NULL;
    return bytes ? lt_dev_alloc(e->dev, kind, bytes, out) : LT_OK;
}

static lt_err take_buffers(lt_engine *e)
{
    const lt_model_shape *s = &e->options.shape;
    uint64_t token_bytes;
    lt_err err;

    e->rows = largest_rows(s);
    e->logits_rows = rows_of_logits(s);
    token_bytes = (uint64_t)e->rows * TOKEN_ARRAYS * sizeof(int32_t);
    LT_TRY(err = take(e, LT_MEMORY_DEVICE, e->bytes.activations, &e->arena));
    LT_TRY(err = take(e, LT_MEMORY_DEVICE, e->bytes.kv_cache, &e->cache));
    LT_TRY(err = take(e, LT_MEMORY_DEVICE, token_bytes, &e->tokens));
    LT_TRY(err = take(e, LT_MEMORY_PINNED, token_bytes, &e->staging));
    LT_TRY(err = take(e, LT_MEMORY_DEVICE, (uint64_t)e->rows * sizeof(float), &e->losses));
    LT_TRY(err = take(e, LT_MEMORY_DEVICE, sizeof *e->state, &e->state));
    LT_TRY(err = take(e, LT_MEMORY_PINNED, sizeof *e->mirror, &e->mirror));
    LT_TRY(err =
               take(e, LT_MEMORY_DEVICE, (uint64_t)e->plan->n_segments * sizeof(double), &e->sums));
    LT_TRY(err = take(e, LT_MEMORY_DEVICE,
                      (uint64_t)(e->logits_rows * vocab_rows(&e->config)) * sizeof(float),
                      &e->logits));
fail:
    return err;
}

static void make_slices(lt_engine *e)
{
    e->n_slices = lt_zero_n_slices(e->store);
    e->slices = lt_new_array0((size_t)e->n_slices, sizeof *e->slices);
    for (int i = 0; i < e->n_slices; i++) {
        lt_zero_slice z = lt_zero_slice_at(e->store, i);

        e->slices[i] = (lt_optim_slice){ .p = z.master,
                                         .copy = z.copy,
                                         .m = z.moment1,
                                         .v = z.moment2,
                                         .g = z.grad,
                                         .decay = z.decay };
    }
}

static lt_err first_state(lt_engine *e);

lt_err lt_engine_open(lt_engine **out, const lt_engine_options *o)
{
    lt_engine *e = lt_new0(sizeof *e);
    lt_dev_need need;
    lt_err err;

    e->options = *o;
    e->config = *o->config;
    e->options.config = &e->config;
    e->access = (lt_unit_access){ access_param, access_grad, access_acquire, access_release,
                                  access_grads_done };
    LT_TRY(err = make_plans(&e->options, &e->table, &e->model, &e->plan));
    LT_TRY(err = lt_dev_open(&e->dev, o->device, &o->dev));
    LT_TRY(err = count_bytes(&e->bytes, o, e->model, e->plan, e->dev->backend));
    need = lt_model_need(e->model);
    need.n_threads = o->dev.n_threads;
    LT_TRY(err = lt_dev_reserve(e->dev, &need));
    e->comm = lt_comm_self_new(e->dev);
    LT_TRY(err = lt_zero_store_open(&e->store, e->dev, e->comm, e->plan, e->table, o->training));
    if (o->training)
        make_slices(e);
    LT_TRY(err = take_buffers(e));
    LT_TRY(err = first_state(e));
    lt_model_bind(e->model, e->dev, &e->access, e->arena, e->cache);
    *out = e;
    return LT_OK;
fail:
    lt_engine_close(e);
    return err;
}

void lt_engine_close(lt_engine *e)
{
    if (!e)
        return;
    if (e->dev) {
        void *device[] = { e->arena, e->cache, e->tokens, e->losses, e->state, e->sums, e->logits };

        for (size_t i = 0; i < LT_COUNT(device); i++)
            lt_dev_free(e->dev, LT_MEMORY_DEVICE, device[i]);
        lt_dev_free(e->dev, LT_MEMORY_PINNED, e->staging);
        lt_dev_free(e->dev, LT_MEMORY_PINNED, e->mirror);
    }
    free(e->slices);
    lt_zero_store_close(e->store);
    lt_comm_close(e->comm);
    lt_dev_close(e->dev);
    lt_zero_plan_free(e->plan);
    lt_model_free(e->model);
    lt_param_table_free(e->table);
    free(e);
}

/* ---- the step */

static void copy_in(lt_engine *e, void *dst, const void *src, size_t bytes)
{
    lt_dev_copy(e->dev, LT_STREAM_COMPUTE, dst, src, bytes);
}

/* Brings a micro-batch of n rows to the device. */
static lt_model_batch load_batch(lt_engine *e, const lt_engine_batch *b, int64_t n)
{
    const int32_t *from[TOKEN_ARRAYS] = { b->ids, b->targets, b->positions, b->doc_start };
    lt_tensor t[TOKEN_ARRAYS];

    LT_BUG_ON(n > e->rows);
    for (int i = 0; i < TOKEN_ARRAYS; i++) {
        int64_t at = i * e->rows;

        t[i] = from[i] ? lt_vector(e->tokens + at, LT_I32, n) : lt_absent();
        if (!from[i])
            continue;
        memcpy(e->staging + at, from[i], (size_t)n * sizeof(int32_t));
        copy_in(e, e->tokens + at, e->staging + at, (size_t)n * sizeof(int32_t));
    }
    return (lt_model_batch){ t[0], t[1], t[2], t[3] };
}

static void begin_step(lt_engine *e, double lr, int64_t n_tokens)
{
    lt_step_state *s = e->mirror;

    s->lr = (float)lr;
    s->inv_tokens = (float)(1.0 / (double)n_tokens);
    copy_in(e, e->state, s, offsetof(lt_step_state, grad_scale));
    e->dev->ops->step_begin(e->dev, e->state);
}

static lt_err fetch_state(lt_engine *e)
{
    copy_in(e, e->mirror, e->state, sizeof *e->state);
    return lt_dev_sync(e->dev);
}

static lt_err run_micro(lt_engine *e, const lt_engine_batch *b, bool add, bool last)
{
    int64_t n = e->options.shape.n_batch * e->options.shape.seq;
    lt_model_batch batch = load_batch(e, b, n);
    lt_tensor losses = lt_vector(e->losses, LT_F32, n);

    e->last_micro = last;
    e->reduce_err = LT_OK;
    lt_model_train(e->model, &batch, losses, e->state, add);
    e->dev->ops->sum_losses(e->dev, e->state, losses);
    /* The staging buffer is written again for the next micro-batch. */
    return e->reduce_err == LT_OK ? lt_dev_sync(e->dev) : e->reduce_err;
}

lt_err lt_engine_step(lt_engine *e, const lt_engine_batch *micro, int n_micro, int64_t n_tokens,
                      double lr, lt_engine_result *result)
{
    double start;
    lt_err err;

    *result = (lt_engine_result){ 0 };
    begin_step(e, lr, n_tokens);
    for (int i = 0; i < n_micro; i++) {
        start = lt_now();
        LT_TRY(err = run_micro(e, &micro[i], i > 0, i == n_micro - 1));
        result->forward_ms += (e->forward_done - start) * 1e3;
        result->backward_ms += (lt_now() - e->forward_done) * 1e3;
    }
    start = lt_now();
    lt_optim_norms(e->dev, e->slices, e->n_slices, e->sums);
    lt_optim_update(e->dev, &e->options.optim, e->slices, e->n_slices, e->sums, e->n_slices,
                    e->state);
    LT_TRY(err = lt_zero_publish(e->store));
    LT_TRY(err = fetch_state(e));
    result->optimizer_ms = (lt_now() - start) * 1e3;
    result->loss = e->mirror->loss_sum / (double)n_tokens;
    result->grad_norm = (double)e->mirror->grad_norm;
    result->skipped = e->mirror->skip != 0;
    result->loss_scale = 1.0 / (double)e->mirror->inv_scale;
    result->scale_stuck = e->mirror->scale_stuck != 0;
fail:
    return err;
}

void lt_engine_set_betas(lt_engine *e, double beta1, double beta2)
{
    e->options.optim.beta1 = (float)beta1;
    e->options.optim.beta2 = (float)beta2;
}

lt_err lt_engine_gradients(lt_engine *e, const lt_engine_batch *micro, int64_t n_tokens,
                           double *loss)
{
    lt_err err;

    begin_step(e, 0, n_tokens);
    LT_TRY(err = run_micro(e, micro, false, true));
    LT_TRY(err = fetch_state(e));
    *loss = e->mirror->loss_sum / (double)n_tokens;
fail:
    return err;
}

lt_err lt_engine_evaluate(lt_engine *e, const lt_engine_batch *b, double *loss_sum)
{
    int64_t n = e->options.shape.n_batch * e->options.shape.seq;
    lt_model_batch batch = load_batch(e, b, n);
    lt_tensor losses = lt_vector(e->losses, LT_F32, n);
    lt_err err;

    begin_step(e, 0, 1);
    lt_model_evaluate(e->model, &batch, losses);
    e->dev->ops->sum_losses(e->dev, e->state, losses);
    LT_TRY(err = fetch_state(e));
    *loss_sum = e->mirror->loss_sum;
fail:
    return err;
}

static lt_err fetch_logits(lt_engine *e, float *logits, int64_t rows)
{
    copy_in(e, logits, e->logits, (size_t)(rows * vocab_rows(&e->config)) * sizeof *logits);
    return lt_dev_sync(e->dev);
}

lt_err lt_engine_logits(lt_engine *e, const lt_engine_batch *b, float *logits)
{
    int64_t n = e->options.shape.n_batch * e->options.shape.seq;
    lt_model_batch batch = load_batch(e, b, n);

    lt_model_logits(e->model, &batch, lt_matrix(e->logits, LT_F32, n, vocab_rows(&e->config)));
    return fetch_logits(e, logits, n);
}

lt_err lt_engine_generate(lt_engine *e, const lt_engine_batch *b, int64_t past, int64_t n,
                          float *logits)
{
    int64_t n_batch = e->options.shape.generate_batch;
    lt_model_batch batch = load_batch(e, b, n_batch * n);

    lt_model_generate(e->model, &batch, past, n,
                      lt_matrix(e->logits, LT_F32, n_batch, vocab_rows(&e->config)));
    return fetch_logits(e, logits, n_batch);
}

/* ---- weights and counters */

typedef struct init_task {
    lt_task task;
    lt_engine *e;
    const lt_zero_piece *piece;
    uint64_t seed;
    float *values;
} init_task;

enum { INIT_BLOCK = 1 << 16 };

static void init_block(lt_task *task, int64_t index, int worker)
{
    init_task *t = (init_task *)task;
    int64_t first = index * INIT_BLOCK, left = t->piece->count - first;

    (void)worker;
    lt_param_init_slice(t->e->table, &t->e->config, t->piece->param, t->seed,
                        t->piece->first + first, left < INIT_BLOCK ? left : INIT_BLOCK,
                        t->values + first);
}

lt_err lt_engine_init_weights(lt_engine *e, uint64_t seed)
{
    int n = 0;
    lt_zero_piece *pieces = lt_zero_plan_pieces(e->plan, e->table, &n);
    init_task t = { .task = { init_block }, .e = e, .seed = seed };
    lt_err err = LT_OK;

    for (int i = 0; i < n; i++) {
        t.piece = &pieces[i];
        LT_TRY(err = lt_alloc_array(&t.values, (uint64_t)pieces[i].count, sizeof(float),
                                    "initial weights"));
        lt_pool_run(e->dev->pool, &t.task, (pieces[i].count + INIT_BLOCK - 1) / INIT_BLOCK);
        LT_TRY(err = lt_zero_write(e->store, LT_ZERO_MASTER, &pieces[i], t.values));
        free(t.values);
        t.values = NULL;
    }
    LT_TRY(err = lt_zero_refresh(e->store));
fail:
    free(t.values);
    free(pieces);
    return err;
}

lt_err lt_engine_state(lt_engine *e, lt_step_state *out)
{
    lt_err err = fetch_state(e);

    *out = *e->mirror;
    return err;
}

lt_err lt_engine_set_state(lt_engine *e, const lt_step_state *state)
{
    *e->mirror = (lt_step_state){ .adam_t = state->adam_t,
                                  .n_skipped = state->n_skipped,
                                  .loss_scale = state->loss_scale,
                                  .hysteresis_left = state->hysteresis_left,
                                  .scale_step = state->scale_step,
                                  .last_overflow = state->last_overflow };
    copy_in(e, e->state, e->mirror, sizeof *e->state);
    return lt_dev_sync(e->dev);
}

static lt_err first_state(lt_engine *e)
{
    const lt_engine_options *o = &e->options;
    lt_step_state first = { .loss_scale = o->loss_scale > 0 ? (float)o->loss_scale : 1.0f,
                            .hysteresis_left = o->optim.scaling.hysteresis,
                            .last_overflow = -1 };

    return lt_engine_set_state(e, &first);
}

lt_err lt_engine_first_nonfinite(lt_engine *e, const lt_param **out)
{
    lt_err err = LT_OK;

    *out = NULL;
    for (int i = 0; i < e->table->n_params && !*out; i++) {
        lt_tensor g = lt_zero_grad(e->store, i);
        double sum;

        e->dev->ops->sum_squares(e->dev, e->sums, lt_vector(g.data, g.dtype, g.rows * g.cols));
        copy_in(e, &sum, e->sums, sizeof sum);
        LT_TRY(err = lt_dev_sync(e->dev));
        if (!isfinite(sum))
            *out = &e->table->params[i];
    }
fail:
    return err;
}

lt_dev *lt_engine_device(lt_engine *e)
{
    return e->dev;
}

lt_zero_store *lt_engine_store(lt_engine *e)
{
    return e->store;
}

const lt_zero_plan *lt_engine_zero_plan(const lt_engine *e)
{
    return e->plan;
}

const lt_param_table *lt_engine_table(const lt_engine *e)
{
    return e->table;
}

const lt_model *lt_engine_model(const lt_engine *e)
{
    return e->model;
}

lt_engine_bytes lt_engine_bytes_used(const lt_engine *e)
{
    return e->bytes;
}

int64_t lt_engine_prompt_rows(const lt_engine *e)
{
    return e->options.shape.generate_prompt;
}

int64_t lt_engine_vocab_rows(const lt_engine *e)
{
    return vocab_rows(&e->config);
}
