/* train/engine.c - joining model, plan, buffers and optimizer: sizes, life, and the model's way to
 * parameters. */
#include "train/engine_parts.h"

#include "base/clock.h"

#include <stdlib.h>

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

/* Logits that exist at once in the LM head: enough rows to keep the device's GEMM busy, and small
 * beside the activations. */
static int64_t chunk_rows(const lt_model_shape *s, const lt_backend *backend)
{
    int64_t most = backend == &lt_backend_cpu ? 512 : 8192, rows = s->n_batch * s->seq;

    return s->chunk_rows ? s->chunk_rows : rows < most ? rows : most;
}

static lt_err make_plans(const lt_engine_options *o, const lt_backend *backend,
                         lt_param_table **table, lt_model **model, lt_zero_plan **plan)
{
    lt_model_shape shape = o->shape;
    lt_zero_settings set = {
        .stage = o->stage, .world = 1, .compute = o->shape.act, .grad = o->shape.grad
    };
    lt_err err;

    shape.chunk_rows = chunk_rows(&o->shape, backend);
    *table = lt_param_table_new(o->config);
    LT_TRY(err = lt_model_new(model, o->config, *table, &shape));
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
    need.attention = o->dev.attention;
    LT_TRY(err = backend->plan(&need, &scratch));
    *b = (lt_engine_bytes){ .state = lt_zero_plan_bytes(plan),
                            .activations = lt_model_arena_bytes(model),
                            .kv_cache = lt_model_cache_bytes(model),
                            .scratch = scratch };
    if (!o->training)
        b->state.grads = b->state.moment1 = b->state.moment2 = 0;
    b->batch = rows * (2 * LT_TOKEN_ARRAYS * sizeof(int32_t) + sizeof(float)) +
               sizeof(lt_step_state) + (uint64_t)(plan->n_segments + 1) * sizeof(double) +
               (uint64_t)(rows_of_logits(&o->shape) * lt_engine_vocab(o->config)) * sizeof(float);
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
    LT_TRY(err = make_plans(o, backend, &table, &model, &plan));
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
    token_bytes = (uint64_t)e->rows * LT_TOKEN_ARRAYS * sizeof(int32_t);
    LT_TRY(err = take(e, LT_MEMORY_DEVICE, e->bytes.activations, &e->arena));
    LT_TRY(err = take(e, LT_MEMORY_DEVICE, e->bytes.kv_cache, &e->cache));
    for (int i = 0; i < 2; i++) {
        token_slot *t = &e->slots[i];

        LT_TRY(err = take(e, LT_MEMORY_DEVICE, token_bytes, &t->device));
        LT_TRY(err = take(e, LT_MEMORY_PINNED, token_bytes, &t->pinned));
        t->copied = e->dev->backend->event_new(e->dev);
        t->used = e->dev->backend->event_new(e->dev);
    }
    LT_TRY(err = take(e, LT_MEMORY_DEVICE, (uint64_t)e->rows * sizeof(float), &e->losses));
    LT_TRY(err = take(e, LT_MEMORY_DEVICE, sizeof *e->state, &e->state));
    LT_TRY(err = take(e, LT_MEMORY_PINNED, sizeof *e->mirror, &e->mirror));
    LT_TRY(err = take(e, LT_MEMORY_DEVICE, (uint64_t)(e->plan->n_segments + 1) * sizeof(double),
                      &e->sums));
    LT_TRY(err = take(e, LT_MEMORY_DEVICE,
                      (uint64_t)(e->logits_rows * lt_engine_vocab(&e->config)) * sizeof(float),
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
    LT_TRY(err = lt_dev_open(&e->dev, o->device, &o->dev));
    LT_TRY(err = make_plans(&e->options, e->dev->backend, &e->table, &e->model, &e->plan));
    LT_TRY(err = count_bytes(&e->bytes, o, e->model, e->plan, e->dev->backend));
    need = lt_model_need(e->model);
    need.n_threads = o->dev.n_threads;
    need.attention = o->dev.attention;
    LT_TRY(err = lt_dev_reserve(e->dev, &need));
    e->comm = lt_comm_self_new(e->dev);
    LT_TRY(err = lt_zero_store_open(&e->store, e->dev, e->comm, e->plan, e->table, o->training));
    if (o->training)
        make_slices(e);
    LT_TRY(err = take_buffers(e));
    LT_TRY(err = lt_engine_first_state(e));
    lt_model_bind(e->model, e->dev, &e->access, e->arena, e->cache);
    *out = e;
    return LT_OK;
fail:
    lt_engine_close(e);
    return err;
}

static void give_buffers(lt_engine *e)
{
    void *device[] = { e->arena, e->cache, e->losses, e->state, e->sums, e->logits };

    for (size_t i = 0; i < LT_COUNT(device); i++)
        lt_dev_free(e->dev, LT_MEMORY_DEVICE, device[i]);
    lt_dev_free(e->dev, LT_MEMORY_PINNED, e->mirror);
    for (int i = 0; i < 2; i++) {
        token_slot *t = &e->slots[i];

        lt_dev_free(e->dev, LT_MEMORY_DEVICE, t->device);
        lt_dev_free(e->dev, LT_MEMORY_PINNED, t->pinned);
        if (t->copied)
            e->dev->backend->event_free(e->dev, t->copied);
        if (t->used)
            e->dev->backend->event_free(e->dev, t->used);
    }
}

void lt_engine_close(lt_engine *e)
{
    if (!e)
        return;
    if (e->dev)
        give_buffers(e);
    free(e->slices);
    lt_zero_store_close(e->store);
    lt_comm_close(e->comm);
    lt_model_free(e->model);
    lt_dev_close(e->dev);
    lt_zero_plan_free(e->plan);
    lt_param_table_free(e->table);
    free(e);
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
    return lt_engine_vocab(&e->config);
}
