/* replica.c - one device's model, weights, gradients and buffers. */
#include "replica.h"

#include "base/mem.h"
#include "train/engine.h"

#include <stddef.h>
#include <stdlib.h>

enum { ALIGN = 64 }; /* elements, so that every parameter begins where a vector does */

/* ---- layout */

static int64_t place(flat_layout *l, bool decay, int64_t at)
{
    for (int i = 0; i < l->table->n_params; i++) {
        const lt_param *p = &l->table->params[i];

        if (p->decay != decay)
            continue;
        l->offsets[i] = at;
        at += LT_ALIGN_UP(p->phys_count, ALIGN);
    }
    return at;
}

void flat_layout_init(flat_layout *l, const lt_param_table *table)
{
    l->table = table;
    l->offsets = lt_new_array0((size_t)table->n_params, sizeof *l->offsets);
    l->n_decay = place(l, true, 0);
    l->n = place(l, false, l->n_decay);
}

void flat_layout_release(flat_layout *l)
{
    free(l->offsets);
}

/* ---- the model's way to parameters: everything is always here */

static replica *replica_of(lt_unit_access *a)
{
    return (replica *)a;
}

static lt_tensor access_param(lt_unit_access *a, int index)
{
    const replica *r = replica_of(a);
    const lt_param *p = &r->layout->table->params[index];
    int64_t at = r->layout->offsets[index];

    return lt_matrix(r->weights + (size_t)at * lt_dtype_bytes(r->type), r->type, p->phys_rows,
                     p->cols);
}

static lt_tensor access_grad(lt_unit_access *a, int index)
{
    const replica *r = replica_of(a);
    const lt_param *p = &r->layout->table->params[index];

    return lt_matrix(r->grads + r->layout->offsets[index], LT_F32, p->phys_rows, p->cols);
}

static void nothing(lt_unit_access *a, int unit)
{
    (void)a, (void)unit;
}

/* ---- life */

lt_err replica_take(replica *r, uint64_t bytes, void *out)
{
    lt_err err;

    LT_TRY(err = lt_dev_alloc(r->dev, LT_MEMORY_DEVICE, (size_t)bytes, out));
    r->bytes += bytes;
fail:
    return err;
}

static lt_err take_all(replica *r)
{
    uint64_t n = (uint64_t)r->layout->n, rows = (uint64_t)r->rows;
    lt_err err;

    LT_TRY(err = replica_take(r, n * lt_dtype_bytes(r->type), &r->weights));
    LT_TRY(err = replica_take(r, n * sizeof *r->grads, &r->grads));
    LT_TRY(err = replica_take(r, lt_model_arena_bytes(r->model), &r->arena));
    LT_TRY(err = replica_take(r, rows * sizeof *r->losses, &r->losses));
    LT_TRY(err = replica_take(r, rows * REPLICA_TOKEN_ARRAYS * sizeof *r->tokens, &r->tokens));
    err = replica_take(r, sizeof *r->state, &r->state);
fail:
    return err;
}

lt_err replica_open(replica *r, const char *device, const lt_dev_options *options,
                    const lt_model_config *config, const lt_model_shape *shape,
                    const flat_layout *layout)
{
    lt_model_shape s = *shape;
    lt_dev_need need;
    lt_err err;

    *r = (replica){ .access = { access_param, access_grad, nothing, nothing, nothing },
                    .layout = layout,
                    .type = shape->act,
                    .rows = shape->n_batch * shape->seq };
    LT_TRY(err = lt_dev_open(&r->dev, device, options));
    s.chunk_rows = lt_engine_chunk_rows(&s, r->dev->backend);
    LT_TRY(err = lt_model_new(&r->model, config, layout->table, &s));
    need = lt_model_need(r->model);
    need.n_threads = options->n_threads;
    LT_TRY(err = lt_dev_reserve(r->dev, &need));
    LT_TRY(err = take_all(r));
    lt_model_bind(r->model, r->dev, &r->access, r->arena, NULL);
fail:
    return err;
}

void replica_close(replica *r)
{
    void *all[] = { r->weights, r->grads, r->arena, r->losses, r->tokens, r->state };

    if (!r->dev)
        return;
    (void)lt_dev_sync(r->dev);
    for (size_t i = 0; i < LT_COUNT(all); i++)
        lt_dev_free(r->dev, LT_MEMORY_DEVICE, all[i]);
    lt_model_free(r->model);
    lt_dev_close(r->dev);
    r->dev = NULL;
}

void replica_pass(replica *r, const lt_step_state *begin)
{
    lt_model_batch batch = { .ids = lt_vector(r->tokens, LT_I32, r->rows),
                             .targets = lt_vector(r->tokens + r->rows, LT_I32, r->rows),
                             .positions = lt_vector(r->tokens + 2 * r->rows, LT_I32, r->rows),
                             .doc_start = lt_absent() };

    lt_dev_copy(r->dev, LT_STREAM_COMPUTE, r->state, begin, offsetof(lt_step_state, grad_scale));
    r->dev->ops->step_begin(r->dev, r->state);
    lt_model_train(r->model, &batch, lt_vector(r->losses, LT_F32, r->rows), r->state, false);
}
