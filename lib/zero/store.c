/* zero/store.c - the store's life: buffers, slots, events and tiers as the plan has them; views
 * into them; and what went wrong. */
#include "zero/store_parts.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- life */

static lt_err take_buffers(lt_zero_store *z)
{
    lt_zero_bytes b = lt_zero_plan_bytes(z->plan);
    lt_err err;

    LT_TRY(err = lt_dev_alloc(z->dev, LT_MEMORY_DEVICE, b.params, &z->weights));
    LT_TRY(err = lt_dev_alloc(z->dev, LT_MEMORY_DEVICE, b.gathered, &z->gathered));
    LT_TRY(err = lt_dev_alloc(z->dev, LT_MEMORY_DEVICE, b.grads, &z->grads));
    LT_TRY(err = lt_dev_alloc(z->dev, LT_MEMORY_DEVICE, b.buckets, &z->buckets));
    LT_TRY(err = lt_dev_alloc(z->dev, LT_MEMORY_DEVICE, b.master, &z->master));
    LT_TRY(err = lt_dev_alloc(z->dev, LT_MEMORY_DEVICE, b.moment1, &z->moment1));
    LT_TRY(err = lt_dev_alloc(z->dev, LT_MEMORY_DEVICE, b.moment2, &z->moment2));
    if (z->plan->master_is_compute)
        z->master = (float *)z->weights;
fail:
    return err;
}

static lt_err open_tier(lt_zero_store *z, lt_tier **out, const lt_tier_options *planned,
                        const char *what)
{
    lt_tier_options o = *planned;
    char label[32];

    if (o.kind == LT_TIER_NONE)
        return LT_OK;
    snprintf(label, sizeof label, "%s-%05d", what, z->plan->set.rank);
    o.label = label;
    return lt_tier_open(out, z->dev, &o);
}

static void make_units(lt_zero_store *z)
{
    const lt_zero_plan *p = z->plan;

    z->units = lt_new_array0((size_t)p->n_units, sizeof *z->units);
    for (int u = 0; u < p->n_units; u++)
        z->units[u].ready = z->dev->backend->event_new(z->dev);
    z->trained = lt_new_array0((size_t)p->n_segments, sizeof *z->trained);
    z->untiled = lt_new_array0((size_t)p->n_segments, sizeof *z->untiled);
    for (int i = 0; i < p->n_segments; i++) {
        const lt_zero_segment *s = &p->segments[i];

        if (s->trainable && p->set.training)
            z->trained[z->n_trained++] = i;
        if (s->n_tiles == 0)
            z->untiled[z->n_untiled++] = i;
        if (p->params_cut && !s->persistent)
            z->units[s->unit].coming += s->count;
    }
}

/* Where the gradient of a parameter lies in its slot; -1: nowhere. */
static int64_t in_grad_slot(const lt_zero_store *z, int index)
{
    const lt_zero_place *place = &z->plan->places[index];
    const lt_zero_segment *s = &z->plan->segments[place->segment];

    return s->in_grad_slot < 0 ? -1 : s->in_grad_slot + place->offset - s->offset;
}

static int first_param(const lt_zero_store *z, int unit)
{
    int i = 0;

    while (i < z->table->n_params && z->table->params[i].unit != unit)
        i++;
    return i;
}

/* Have two units gradients in the same places of a slot? */
static bool same_layout(const lt_zero_store *z, int a, int b)
{
    const lt_param *p = z->table->params;
    int i = first_param(z, a), k = first_param(z, b), n = z->table->n_params;

    for (; i < n && p[i].unit == a; i++, k++)
        if (k >= n || p[k].unit != b || p[i].phys_count != p[k].phys_count ||
            in_grad_slot(z, i) != in_grad_slot(z, k))
            return false;
    return k >= n || p[k].unit != b;
}

static void make_slots(lt_zero_store *z)
{
    const lt_zero_plan *p = z->plan;
    int64_t at = 0;

    z->param_slots = lt_new_array0((size_t)p->n_param_slots, sizeof *z->param_slots);
    for (int i = 0; i < p->n_param_slots; at += p->param_slot_count[i++])
        z->param_slots[i] =
            (zero_param_slot){ .data = lt_zero_view(z->gathered, p->set.compute, at, 0).data,
                               .unit = -1,
                               .used = z->dev->backend->event_new(z->dev) };
    at = 0;
    z->grad_slots = lt_new_array0((size_t)p->n_grad_slots, sizeof *z->grad_slots);
    for (int i = 0; i < p->n_grad_slots; at += p->grad_slot_count[i++])
        z->grad_slots[i] =
            (zero_grad_slot){ .data = lt_zero_view(z->buckets, p->set.grad, at, 0).data,
                              .unit = -1,
                              .reduced = z->dev->backend->event_new(z->dev) };
    for (int a = 0, b; p->grads_cut && a < p->n_units; a++) {
        for (b = 0; p->units[b].grad_slot != p->units[a].grad_slot;)
            b++;
        if (!same_layout(z, a, b))
            z->grad_slots[p->units[a].grad_slot].shared = true;
    }
    z->staged_unit = lt_new_array0((size_t)p->param_tier.n_slots, sizeof *z->staged_unit);
    for (int i = 0; i < p->param_tier.n_slots; i++)
        z->staged_unit[i] = -1;
}

lt_err lt_zero_store_open(lt_zero_store **out, lt_dev *dev, lt_comm *comm, const lt_zero_plan *plan,
                          const lt_param_table *table)
{
    lt_zero_store *z = lt_new0(sizeof *z);
    lt_err err;

    LT_BUG_ON(comm->rank != plan->set.rank || comm->world != plan->set.world);
    z->dev = dev;
    z->comm = comm;
    z->plan = plan;
    z->table = table;
    z->computed = dev->backend->event_new(dev);
    z->communicated = dev->backend->event_new(dev);
    LT_TRY(err = take_buffers(z));
    LT_TRY(err = open_tier(z, &z->optimizer_tier, &plan->optimizer_tier, "optimizer"));
    LT_TRY(err = open_tier(z, &z->param_tier, &plan->param_tier, "param"));
    make_units(z);
    make_slots(z);
    *out = z;
    return LT_OK;
fail:
    lt_zero_store_close(z);
    return err;
}

static void free_events(lt_zero_store *z)
{
    const lt_backend *b = z->dev->backend;

    for (int u = 0; z->units && u < z->plan->n_units; u++)
        b->event_free(z->dev, z->units[u].ready);
    for (int i = 0; z->param_slots && i < z->plan->n_param_slots; i++)
        b->event_free(z->dev, z->param_slots[i].used);
    for (int i = 0; z->grad_slots && i < z->plan->n_grad_slots; i++)
        b->event_free(z->dev, z->grad_slots[i].reduced);
    b->event_free(z->dev, z->computed);
    b->event_free(z->dev, z->communicated);
}

void lt_zero_store_close(lt_zero_store *z)
{
    lt_err_record before;

    if (!z)
        return;
    lt_err_take(&before); /* closing after a failure must not replace its sentence */
    (void)lt_dev_sync(z->dev);
    lt_tier_close(z->optimizer_tier);
    lt_tier_close(z->param_tier);
    (void)lt_err_give(&before);
    free_events(z);
    if (z->plan->master_is_compute)
        z->master = NULL;
    void *buffers[] = { z->weights, z->gathered, z->grads,  z->buckets,
                        z->master,  z->moment1,  z->moment2 };
    for (size_t i = 0; i < LT_COUNT(buffers); i++)
        lt_dev_free(z->dev, LT_MEMORY_DEVICE, buffers[i]);
    free(z->units);
    free(z->param_slots);
    free(z->grad_slots);
    free(z->staged_unit);
    free(z->trained);
    free(z->untiled);
    free(z);
}

/* ---- streams */

/* Keeps the first fault that a wait came back with. */
static void note(lt_zero_store *z, lt_err err)
{
    if (err != LT_OK && z->fault.code == LT_OK)
        lt_err_take(&z->fault);
}

void lt_zero_hand_over(lt_zero_store *z)
{
    z->dev->backend->event_record(z->dev, z->computed, LT_STREAM_COMPUTE);
    z->dev->backend->stream_wait(z->dev, LT_STREAM_COMM, z->computed);
}

void lt_zero_await_comm(lt_zero_store *z)
{
    z->dev->backend->event_record(z->dev, z->communicated, LT_STREAM_COMM);
    z->dev->backend->stream_wait(z->dev, LT_STREAM_COMPUTE, z->communicated);
}

void lt_zero_collected(lt_zero_store *z, lt_event *done)
{
    z->dev->backend->event_record(z->dev, done, LT_STREAM_COMM);
    if (!z->plan->set.overlap)
        note(z, z->dev->backend->event_sync(z->dev, done));
}

/* The first failure is handed out again and again: nothing that was computed since can be used. */
lt_err lt_zero_check(lt_zero_store *z)
{
    lt_err err;

    LT_TRY(err = z->comm->ops->check(z->comm));
    if (z->optimizer_tier)
        LT_TRY(err = lt_tier_check(z->optimizer_tier));
    if (z->param_tier)
        LT_TRY(err = lt_tier_check(z->param_tier));
    if (z->fault.code != LT_OK)
        err = lt_err_give(&z->fault);
fail:
    return err;
}

lt_err lt_zero_sync(lt_zero_store *z)
{
    lt_err err;

    LT_TRY(err = lt_dev_sync(z->dev));
    if (z->optimizer_tier)
        LT_TRY(err = lt_tier_flush(z->optimizer_tier));
    if (z->param_tier)
        LT_TRY(err = lt_tier_flush(z->param_tier));
    err = lt_zero_check(z);
fail:
    return err;
}

/* ---- views */

lt_tensor lt_zero_view(const void *base, lt_dtype dtype, int64_t offset, int64_t n)
{
    return lt_vector((char *)(uintptr_t)base + (size_t)offset * lt_dtype_bytes(dtype), dtype, n);
}

lt_tensor lt_zero_own_part(const lt_zero_store *z, lt_tensor whole)
{
    int64_t n = whole.cols / z->plan->set.world;

    return lt_block(whole, 0, 1, z->plan->set.rank * n, n);
}

static lt_tensor matrix_at(const lt_param *p, const void *base, lt_dtype dtype, int64_t offset)
{
    lt_tensor t = lt_zero_view(base, dtype, offset, p->phys_count);

    return lt_matrix(t.data, dtype, p->phys_rows, p->cols);
}

lt_tensor lt_zero_param(lt_zero_store *z, int index)
{
    const lt_zero_plan *p = z->plan;
    const lt_zero_segment *s = &p->segments[p->places[index].segment];
    const lt_param *q = &z->table->params[index];
    int64_t in_segment = p->places[index].offset - s->offset;

    if (!p->params_cut || s->persistent)
        return matrix_at(q, z->weights, p->set.compute, s->weights + in_segment);
    LT_BUG_ON(z->units[s->unit].uses == 0);
    return matrix_at(q, z->param_slots[p->units[s->unit].param_slot].data, p->set.compute,
                     s->in_param_slot + in_segment);
}

lt_tensor lt_zero_grad(lt_zero_store *z, int index)
{
    const lt_zero_plan *p = z->plan;
    const lt_zero_segment *s = &p->segments[p->places[index].segment];
    const lt_param *q = &z->table->params[index];
    int64_t in_segment = p->places[index].offset - s->offset;

    LT_BUG_ON(!z->grads);
    if (!s->trainable)
        return lt_absent();
    if (!p->grads_cut)
        return matrix_at(q, z->grads, p->set.grad, s->grads + in_segment);
    return matrix_at(q, z->grad_slots[p->units[s->unit].grad_slot].data, p->set.grad,
                     s->in_grad_slot + in_segment);
}
