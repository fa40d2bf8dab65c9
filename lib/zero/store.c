/* zero/store.c - flat buffers, owned slices, gather and reduce. */
#include "zero/store.h"

#include <stdlib.h>

struct lt_zero_store {
    lt_dev *dev;
    lt_comm *comm;
    const lt_zero_plan *plan;
    const lt_param_table *table;
    bool training;
    void *params, *grads;              /* the flat space */
    float *master, *moment1, *moment2; /* owned; master may be params */
    int *slices;                       /* segments that train */
    int n_slices;
};

static lt_err check_built(const lt_zero_plan *plan)
{
    if (plan->set.stage != 0)
        return lt_fail(LT_ENOTSUP,
                       "zero: stage %d is planned but not trained by this build; use stage 0",
                       plan->set.stage);
    if (plan->set.world != 1)
        return lt_fail(LT_ENOTSUP,
                       "zero: %d ranks are planned but not trained by this build; use one",
                       plan->set.world);
    return LT_OK;
}

static lt_err take(lt_zero_store *z, uint64_t bytes, void *out)
{
    return lt_dev_alloc(z->dev, LT_MEMORY_DEVICE, bytes, out);
}

lt_err lt_zero_store_open(lt_zero_store **out, lt_dev *dev, lt_comm *comm, const lt_zero_plan *plan,
                          const lt_param_table *table, bool training)
{
    lt_zero_store *z = lt_new0(sizeof *z);
    lt_zero_bytes bytes = lt_zero_plan_bytes(plan);
    lt_err err;

    z->dev = dev;
    z->comm = comm;
    z->plan = plan;
    z->table = table;
    z->training = training;
    LT_TRY(err = check_built(plan));
    LT_TRY(err = take(z, bytes.params, &z->params));
    if (plan->master_is_compute)
        z->master = z->params;
    else
        LT_TRY(err = take(z, bytes.master, &z->master));
    if (training) {
        LT_TRY(err = take(z, bytes.grads, &z->grads));
        LT_TRY(err = take(z, bytes.moment1, &z->moment1));
        LT_TRY(err = take(z, bytes.moment2, &z->moment2));
    }
    z->slices = lt_new_array0((size_t)plan->n_segments, sizeof *z->slices);
    for (int s = 0; s < plan->n_segments; s++)
        if (plan->segments[s].trainable)
            z->slices[z->n_slices++] = s;
    *out = z;
    return LT_OK;
fail:
    lt_zero_store_close(z);
    return err;
}

void lt_zero_store_close(lt_zero_store *z)
{
    if (!z)
        return;
    if (z->master != z->params)
        lt_dev_free(z->dev, LT_MEMORY_DEVICE, z->master);
    lt_dev_free(z->dev, LT_MEMORY_DEVICE, z->params);
    lt_dev_free(z->dev, LT_MEMORY_DEVICE, z->grads);
    lt_dev_free(z->dev, LT_MEMORY_DEVICE, z->moment1);
    lt_dev_free(z->dev, LT_MEMORY_DEVICE, z->moment2);
    free(z->slices);
    free(z);
}

static lt_tensor flat_view(void *base, lt_dtype dtype, int64_t offset, int64_t n)
{
    return lt_vector((char *)base + (size_t)offset * lt_dtype_bytes(dtype), dtype, n);
}

static lt_tensor matrix_at(const lt_zero_store *z, void *base, lt_dtype dtype, int index)
{
    const lt_param *p = &z->table->params[index];
    lt_tensor t = flat_view(base, dtype, z->plan->places[index].offset, p->phys_count);

    return lt_matrix(t.data, dtype, p->phys_rows, p->cols);
}

lt_tensor lt_zero_param(lt_zero_store *z, int index)
{
    return matrix_at(z, z->params, z->plan->set.compute, index);
}

lt_tensor lt_zero_grad(lt_zero_store *z, int index)
{
    LT_BUG_ON(!z->grads);
    return matrix_at(z, z->grads, z->plan->set.grad, index);
}

static lt_tensor owned_grad(const lt_zero_store *z, const lt_zero_segment *s)
{
    return flat_view(z->grads, z->plan->set.grad, s->offset / z->plan->set.world, s->slice);
}

/* Stage 0 keeps every parameter gathered. */
void lt_zero_gather(lt_zero_store *z, int unit)
{
    LT_BUG_ON(unit < 0 || unit >= z->plan->n_units);
}

void lt_zero_release(lt_zero_store *z, int unit)
{
    LT_BUG_ON(unit < 0 || unit >= z->plan->n_units);
}

lt_err lt_zero_reduce(lt_zero_store *z, int unit)
{
    const lt_zero_unit *u = &z->plan->units[unit];
    lt_err err = LT_OK;

    for (int s = u->first_segment; s < u->first_segment + u->n_segments && err == LT_OK; s++) {
        const lt_zero_segment *g = &z->plan->segments[s];
        lt_tensor full = flat_view(z->grads, z->plan->set.grad, g->offset, g->count);

        if (g->trainable)
            err = z->comm->ops->reduce_scatter(z->comm, owned_grad(z, g), full);
    }
    return err;
}

int lt_zero_n_slices(const lt_zero_store *z)
{
    return z->n_slices;
}

lt_zero_slice lt_zero_slice_at(lt_zero_store *z, int i)
{
    const lt_zero_plan *p = z->plan;
    const lt_zero_segment *s = &p->segments[z->slices[i]];
    int64_t owned = s->offset / p->set.world;
    lt_zero_slice slice = { .master = flat_view(z->master, LT_F32, owned, s->slice),
                            .moment1 = flat_view(z->moment1, LT_F32, owned, s->slice),
                            .moment2 = flat_view(z->moment2, LT_F32, owned, s->slice),
                            .grad = owned_grad(z, s),
                            .copy = lt_absent(),
                            .decay = s->decay };

    if (!p->master_is_compute)
        slice.copy = flat_view(z->params, p->set.compute, owned, s->slice);
    return slice;
}

lt_err lt_zero_publish(lt_zero_store *z)
{
    lt_err err = LT_OK;

    for (int s = 0; s < z->plan->n_segments && err == LT_OK; s++) {
        const lt_zero_segment *g = &z->plan->segments[s];
        lt_dtype t = z->plan->set.compute;
        lt_tensor mine = flat_view(z->params, t, g->offset + g->slice * z->comm->rank, g->slice);

        err = z->comm->ops->all_gather(z->comm, flat_view(z->params, t, g->offset, g->count), mine);
    }
    return err;
}

static float *class_base(const lt_zero_store *z, lt_zero_class which)
{
    return which == LT_ZERO_MASTER ? z->master : which == LT_ZERO_MOMENT1 ? z->moment1 : z->moment2;
}

const float *lt_zero_host_view(const lt_zero_store *z, lt_zero_class which,
                               const lt_zero_piece *piece)
{
    return z->dev->backend == &lt_backend_cpu ? class_base(z, which) + piece->owned : NULL;
}

lt_err lt_zero_read(lt_zero_store *z, lt_zero_class which, const lt_zero_piece *piece, float *dst)
{
    float *base = class_base(z, which);

    LT_BUG_ON(!base);
    lt_dev_copy(z->dev, LT_STREAM_COMPUTE, dst, base + piece->owned,
                (size_t)piece->count * sizeof *dst);
    return lt_dev_sync(z->dev);
}

lt_err lt_zero_write(lt_zero_store *z, lt_zero_class which, const lt_zero_piece *piece,
                     const float *src)
{
    float *base = class_base(z, which);

    LT_BUG_ON(!base);
    lt_dev_copy(z->dev, LT_STREAM_COMPUTE, base + piece->owned, src,
                (size_t)piece->count * sizeof *src);
    return lt_dev_sync(z->dev);
}

lt_err lt_zero_refresh(lt_zero_store *z)
{
    const lt_zero_plan *p = z->plan;

    if (!p->master_is_compute)
        z->dev->ops->copy(z->dev, flat_view(z->params, p->set.compute, 0, p->n_owned),
                          flat_view(z->master, LT_F32, 0, p->n_owned));
    return lt_zero_publish(z);
}
