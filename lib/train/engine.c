/* train/engine.c - joining model, plan, buffers and optimizer: sizes, life, and the model's way to
 * parameters. */
#include "train/engine_parts.h"

#include "base/clock.h"
#include "train/ranks.h"

#include <inttypes.h>
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

/* What a use acquires is learnt once: the order never changes. */
static void learn(unit_sequence *s, int unit)
{
    if (s->known)
        return;
    LT_BUG_ON(s->n == s->room);
    s->units[s->n++] = unit;
}

static void access_acquire(lt_unit_access *a, int unit)
{
    learn(engine_of(a)->pass, unit);
    lt_zero_gather(engine_of(a)->store, unit);
}

static void access_release(lt_unit_access *a, int unit)
{
    lt_zero_release(engine_of(a)->store, unit);
}

static void access_grads_done(lt_unit_access *a, int unit)
{
    lt_engine *e = engine_of(a);

    if (unit == e->table->n_units - 1) {
        e->forward_done = lt_now();
        lt_watch_phase(e->options.watch, e->at_step, LT_PHASE_BACKWARD);
    }
    lt_zero_grads_done(e->store, unit, e->first_micro, e->last_micro);
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

int64_t lt_engine_chunk_rows(const lt_model_shape *s, const lt_backend *backend)
{
    int64_t most = backend == &lt_backend_cpu ? 512 : 8192, rows = s->n_batch * s->seq;

    return s->chunk_rows ? s->chunk_rows : rows < most ? rows : most;
}

static int world_of(const lt_engine_options *o)
{
    return o->world ? o->world : o->group ? o->group->world : 1;
}

static lt_err make_plans(const lt_engine_options *o, const lt_backend *backend,
                         lt_param_table **table, lt_model **model, lt_zero_plan **plan)
{
    lt_model_shape shape = o->shape;
    lt_zero_settings set = o->zero;
    lt_err err;

    set.world = world_of(o);
    set.rank = o->group ? o->group->rank : 0;
    set.compute = o->shape.act;
    set.grad = o->shape.grad;
    set.training = o->training;

    shape.chunk_rows = lt_engine_chunk_rows(&o->shape, backend);
    *table = lt_param_table_new(o->config);
    LT_TRY(err = lt_model_new(model, o->config, *table, &shape));
    LT_TRY(err = lt_zero_plan_new(plan, *table, &set));
fail:
    return err;
}

/* A rank's row of sums: one a trainable segment, its loss, its word. */
static int row_length(const lt_zero_plan *plan)
{
    int n = 2;

    for (int s = 0; s < plan->n_segments; s++)
        n += plan->segments[s].trainable;
    return n;
}

/* The elements of this rank's pieces; *n_trained of these pieces have gradients. */
static uint64_t count_owned(const lt_zero_plan *plan, const lt_param_table *table, int *n_trained)
{
    int n;
    lt_zero_piece *pieces = lt_zero_plan_pieces(plan, table, &n);
    uint64_t owned = 0;

    *n_trained = 0;
    for (int i = 0; i < n; i++) {
        owned += (uint64_t)pieces[i].count;
        *n_trained += plan->set.training && table->params[pieces[i].param].trainable;
    }
    free(pieces);
    return owned;
}

static lt_err count_bytes(lt_engine_bytes *b, const lt_engine_options *o,
                          const lt_param_table *table, const lt_model *model,
                          const lt_zero_plan *plan, const lt_backend *backend)
{
    lt_dev_need need = lt_model_need(model);
    uint64_t rows = (uint64_t)largest_rows(&o->shape);
    uint64_t n_rows = (uint64_t)row_length(plan) * (uint64_t)plan->set.world;
    size_t scratch = 0;
    int n_trained;
    lt_err err;

    need.n_threads = o->dev.n_threads;
    need.attention = o->dev.attention;
    LT_TRY(err = backend->plan(&need, &scratch));
    *b = (lt_engine_bytes){ .state = lt_zero_plan_bytes(plan),
                            .activations = lt_model_arena_bytes(model),
                            .kv_cache = lt_model_cache_bytes(model),
                            .scratch = scratch,
                            .owned = count_owned(plan, table, &n_trained) };
    b->batch = rows * (2 * LT_TOKEN_ARRAYS * sizeof(int32_t) + sizeof(float)) +
               sizeof(lt_step_state) + n_rows * sizeof(double) +
               (uint64_t)n_trained * sizeof(lt_range) +
               (uint64_t)(rows_of_logits(&o->shape) * lt_engine_vocab(o->config)) * sizeof(float);
    b->total =
        lt_zero_bytes_device(&b->state) + b->activations + b->kv_cache + b->batch + b->scratch;
    b->host = b->state.host + rows * 2 * LT_TOKEN_ARRAYS * sizeof(int32_t) +
              LT_STEPS_AHEAD * (2 * sizeof(lt_step_state) + (n_rows + 1) * sizeof(double));
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
    LT_TRY(err = count_bytes(out, o, table, model, plan, backend));
fail:
    lt_zero_plan_free(plan);
    lt_model_free(model);
    lt_param_table_free(table);
    return err;
}

static lt_err take_token_slot(lt_dev *dev, token_slot *t, uint64_t bytes)
{
    lt_err err;

    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_DEVICE, bytes, &t->device));
    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_PINNED, bytes, &t->pinned));
    t->copied = dev->backend->event_new(dev);
    t->used = dev->backend->event_new(dev);
fail:
    return err;
}

static lt_err take_step_slot(lt_dev *dev, step_slot *t, uint64_t rows_bytes)
{
    lt_err err;

    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_PINNED, sizeof *t->begin, &t->begin));
    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_PINNED, sizeof *t->end, &t->end));
    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_PINNED, sizeof *t->row, &t->row));
    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_PINNED, rows_bytes, &t->rows));
    t->done = dev->backend->event_new(dev);
fail:
    return err;
}

static lt_err take_buffers(lt_engine *e)
{
    const lt_model_shape *s = &e->options.shape;
    uint64_t token_bytes, rows_bytes, loss_bytes, logits_bytes;
    lt_dev *dev = e->dev;
    lt_err err;

    e->row_length = row_length(e->plan);
    e->n_sums = e->row_length - 2;
    e->rows = largest_rows(s);
    token_bytes = (uint64_t)e->rows * LT_TOKEN_ARRAYS * sizeof(int32_t);
    rows_bytes = (uint64_t)e->row_length * (uint64_t)e->group->world * sizeof(double);
    loss_bytes = (uint64_t)e->rows * sizeof *e->losses;
    logits_bytes = (uint64_t)(rows_of_logits(s) * lt_engine_vocab(&e->config)) * sizeof *e->logits;
    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_DEVICE, e->bytes.activations, &e->arena));
    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_DEVICE, e->bytes.kv_cache, &e->cache));
    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_DEVICE, loss_bytes, &e->losses));
    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_DEVICE, logits_bytes, &e->logits));
    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_DEVICE, sizeof *e->state, &e->state));
    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_DEVICE, rows_bytes, &e->sums));
    for (size_t i = 0; i < LT_COUNT(e->slots); i++)
        LT_TRY(err = take_token_slot(dev, &e->slots[i], token_bytes));
    for (size_t i = 0; i < LT_COUNT(e->steps); i++)
        LT_TRY(err = take_step_slot(dev, &e->steps[i], rows_bytes));
    e->sums_ready = dev->backend->event_new(dev);
    e->sums_gathered = dev->backend->event_new(dev);
    e->words = lt_new_array0((size_t)e->group->world, sizeof *e->words);
    for (int u = 0; u < LT_N_USES; u++) {
        unit_sequence *q = &e->sequences[u];

        q->room = 4 * e->table->n_units + 8; /* forward and backward, and the ends twice */
        q->units = lt_new_array0((size_t)q->room, sizeof *q->units);
    }
fail:
    return err;
}

/* The owned gradients parameter by parameter, for the search for what is not finite. */
static lt_err make_ranges(lt_engine *e)
{
    int n = 0;
    lt_zero_piece *pieces = lt_zero_plan_pieces(e->plan, e->table, &n);
    lt_range *ranges = lt_new_array0((size_t)n + 1, sizeof *ranges);
    lt_err err = LT_OK;

    e->range_params = lt_new_array0((size_t)n + 1, sizeof *e->range_params);
    for (int i = 0; i < n; i++) {
        lt_tensor g;

        if (!e->table->params[pieces[i].param].trainable)
            continue;
        g = lt_zero_owned_grad_piece(e->store, &pieces[i]);
        e->range_type = g.dtype;
        e->range_params[e->n_ranges] = pieces[i].param;
        ranges[e->n_ranges++] = (lt_range){ g.data, g.cols };
    }
    LT_TRY(err = lt_dev_alloc(e->dev, LT_MEMORY_DEVICE, (uint64_t)e->n_ranges * sizeof *ranges,
                              &e->ranges));
    lt_engine_copy(e, e->ranges, ranges, (size_t)e->n_ranges * sizeof *ranges);
    err = lt_dev_sync(e->dev);
fail:
    free(ranges);
    free(pieces);
    return err;
}

/* Memory is promised long before it is touched, so what all ranks of this host will take is held
 * against what is there while none has taken any: refused here rather than killed later. */
static lt_err fit_in_host(const lt_engine *e)
{
    uint64_t each = e->bytes.host, there = lt_memory_available();

    if (there && each > there / (uint64_t)e->group->local_world)
        return lt_fail(LT_ENOMEM,
                       "%d rank%s on %s: offloading takes %" PRIu64
                       " bytes of host memory for each, %" PRIu64 " are available together",
                       e->group->local_world, e->group->local_world > 1 ? "s" : "", e->group->host,
                       each, there);
    return LT_OK;
}

/* What this rank can do for itself, before ranks do anything together. */
static lt_err open_own(lt_engine *e, const lt_engine_options *o)
{
    lt_dev_need need;
    lt_err err;

    LT_TRY(err = lt_dev_open(&e->dev, o->device, &o->dev));
    LT_TRY(err = make_plans(&e->options, e->dev->backend, &e->table, &e->model, &e->plan));
    LT_TRY(err = count_bytes(&e->bytes, o, e->table, e->model, e->plan, e->dev->backend));
    need = lt_model_need(e->model);
    need.n_threads = o->dev.n_threads;
    need.attention = o->dev.attention;
    LT_TRY(err = lt_dev_reserve(e->dev, &need));
    err = fit_in_host(e);
fail:
    return err;
}

static lt_err take_own(lt_engine *e)
{
    lt_err err;

    LT_TRY(err = lt_zero_store_open(&e->store, e->dev, e->comm, e->plan, e->table));
    LT_TRY(err = take_buffers(e));
    if (e->options.training)
        LT_TRY(err = make_ranges(e));
    err = lt_engine_first_state(e);
fail:
    return err;
}

lt_err lt_engine_open(lt_engine **out, const lt_engine_options *o)
{
    lt_engine *e = lt_new0(sizeof *e);
    lt_err err;

    e->options = *o;
    if (!o->group)
        e->options.group = e->own_group = lt_group_self_new();
    e->group = e->options.group;
    e->options.world = e->group->world;
    e->config = *o->config;
    e->options.config = &e->config;
    e->access = (lt_unit_access){ access_param, access_grad, access_acquire, access_release,
                                  access_grads_done };
    LT_TRY(err = lt_ranks_agree(e->group, open_own(e, &e->options)));
    LT_TRY(err = lt_ranks_agree(e->group, lt_comm_open(&e->comm, e->dev, e->group, false)));
    LT_TRY(err = lt_ranks_agree(e->group, take_own(e)));
    lt_model_bind(e->model, e->dev, &e->access, e->arena, e->cache);
    *out = e;
    return LT_OK;
fail:
    lt_engine_close(e);
    return err;
}

static void give_token_slot(lt_dev *dev, token_slot *t)
{
    lt_dev_free(dev, LT_MEMORY_DEVICE, t->device);
    lt_dev_free(dev, LT_MEMORY_PINNED, t->pinned);
    dev->backend->event_free(dev, t->copied);
    dev->backend->event_free(dev, t->used);
}

static void give_step_slot(lt_dev *dev, step_slot *t)
{
    lt_dev_free(dev, LT_MEMORY_PINNED, t->begin);
    lt_dev_free(dev, LT_MEMORY_PINNED, t->end);
    lt_dev_free(dev, LT_MEMORY_PINNED, t->row);
    lt_dev_free(dev, LT_MEMORY_PINNED, t->rows);
    dev->backend->event_free(dev, t->done);
}

static void give_buffers(lt_engine *e)
{
    void *device[] = { e->arena, e->cache, e->losses, e->logits, e->state, e->sums, e->ranges };

    for (size_t i = 0; i < LT_COUNT(device); i++)
        lt_dev_free(e->dev, LT_MEMORY_DEVICE, device[i]);
    for (size_t i = 0; i < LT_COUNT(e->slots); i++)
        give_token_slot(e->dev, &e->slots[i]);
    for (size_t i = 0; i < LT_COUNT(e->steps); i++)
        give_step_slot(e->dev, &e->steps[i]);
    e->dev->backend->event_free(e->dev, e->sums_ready);
    e->dev->backend->event_free(e->dev, e->sums_gathered);
}

void lt_engine_close(lt_engine *e)
{
    if (!e)
        return;
    lt_comm_close(e->comm); /* ends collectives that nobody else will; the rest can be waited for */
    lt_zero_store_close(e->store);
    if (e->dev)
        give_buffers(e);
    lt_model_free(e->model);
    lt_dev_close(e->dev);
    lt_group_close(e->own_group);
    for (int u = 0; u < LT_N_USES; u++)
        free(e->sequences[u].units);
    free(e->words);
    free(e->range_params);
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

lt_group *lt_engine_group(lt_engine *e)
{
    return e->group;
}

lt_model *lt_engine_model(lt_engine *e)
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
