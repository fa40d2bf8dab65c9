/* zero/reduce.c - gradients: summed over the ranks, and what a rank owns of the sums.
 *
 * Stages 0 and 1 keep all gradients and reduce them in place, once a step.  Stages 2 and 3 have a
 * few slots: a unit's gradients are written into its slot, reduced in place after every micro-step,
 * and added to the owned ones in fp32 when somebody is about to write into the slot again, so that
 * the reduction runs beside the backward pass of the units between. */
#include "zero/store_parts.h"

bool lt_zero_grads_fresh(const lt_zero_store *z)
{
    return z->plan->grads_cut;
}

lt_dtype lt_zero_owned_grad_type(const lt_zero_store *z)
{
    return z->plan->grads_cut ? LT_F32 : z->plan->set.grad;
}

static lt_tensor owned_grad(const lt_zero_store *z, const lt_zero_segment *s)
{
    return lt_zero_view(z->grads, lt_zero_owned_grad_type(z), s->own_grads, s->slice);
}

lt_tensor lt_zero_owned_grad(lt_zero_store *z, int i)
{
    LT_BUG_ON(i < 0 || i >= z->n_trained);
    return owned_grad(z, &z->plan->segments[z->trained[i]]);
}

lt_tensor lt_zero_owned_grad_piece(lt_zero_store *z, const lt_zero_piece *piece)
{
    const lt_zero_plan *p = z->plan;
    const lt_zero_place *place = &p->places[piece->param];
    const lt_zero_segment *s = &p->segments[place->segment];
    int64_t mine = s->offset + p->set.rank * s->slice;

    if (!s->trainable || !z->grads)
        return lt_absent();
    return lt_block(owned_grad(z, s), 0, 1, place->offset + piece->first - mine, piece->count);
}

/* Where a trainable segment's gradients are written. */
static lt_tensor whole_grad(const lt_zero_store *z, const lt_zero_segment *s)
{
    const lt_zero_plan *p = z->plan;

    if (!p->grads_cut)
        return lt_zero_view(z->grads, p->set.grad, s->grads, s->count);
    return lt_zero_view(z->grad_slots[p->units[s->unit].grad_slot].data, p->set.grad,
                        s->in_grad_slot, s->count);
}

/* Sums of the unit over the ranks, each rank's part in place; at stage 0 all parts everywhere. */
static void reduce(lt_zero_store *z, int unit, lt_event *done)
{
    const lt_comm_ops *ops = z->comm->ops;
    const lt_zero_unit *u = &z->plan->units[unit];

    lt_zero_hand_over(z);
    for (int pass = 0; pass < (z->plan->set.stage == 0 ? 2 : 1); pass++) {
        ops->group_begin(z->comm);
        for (int i = u->first_segment; i < u->first_segment + u->n_segments; i++) {
            lt_tensor whole;

            if (!z->plan->segments[i].trainable)
                continue;
            whole = whole_grad(z, &z->plan->segments[i]);
            if (pass == 0)
                ops->reduce_scatter(z->comm, lt_zero_own_part(z, whole), whole);
            else
                ops->all_gather(z->comm, whole, lt_zero_own_part(z, whole));
        }
        ops->group_end(z->comm);
    }
    lt_zero_collected(z, done);
}

/* The owned gradients of the slot's unit (+)= what was reduced there. */
static void add_up(lt_zero_store *z, zero_grad_slot *slot)
{
    const lt_zero_unit *u = &z->plan->units[slot->unit];

    if (!lt_zero_is_alone(z))
        z->dev->backend->stream_wait(z->dev, LT_STREAM_COMPUTE, slot->reduced);
    for (int i = u->first_segment; i < u->first_segment + u->n_segments; i++) {
        const lt_zero_segment *s = &z->plan->segments[i];

        if (s->trainable)
            z->dev->ops->accumulate(z->dev, owned_grad(z, s), lt_zero_own_part(z, whole_grad(z, s)),
                                    slot->add);
    }
    slot->unit = -1;
}

void lt_zero_free_grad_slot(lt_zero_store *z, int unit)
{
    zero_grad_slot *slot;

    if (unit == z->plan->n_units - 1)
        z->backward = true;
    if (!z->plan->grads_cut || !z->backward)
        return;
    slot = &z->grad_slots[z->plan->units[unit].grad_slot];
    if (slot->unit >= 0)
        add_up(z, slot);
}

/* Between the parameters of a unit lies padding, which takes part in sums and norms.  It stays zero
 * unless a unit with another layout has written there. */
static void clear_padding(lt_zero_store *z, int unit)
{
    const lt_zero_plan *p = z->plan;
    const lt_zero_unit *u = &p->units[unit];

    for (int i = u->first_segment; i < u->first_segment + u->n_segments; i++) {
        const lt_zero_segment *s = &p->segments[i];
        lt_tensor whole;
        int64_t at = 0;

        if (!s->trainable)
            continue;
        whole = whole_grad(z, s);
        for (int k = 0; k <= z->table->n_params; k++) {
            bool end = k == z->table->n_params;
            int64_t first = end ? s->count : p->places[k].offset - s->offset;

            if (!end && p->places[k].segment != i)
                continue;
            if (first > at)
                z->dev->ops->zero(z->dev, lt_at(whole, 0, at),
                                  (size_t)(first - at) * lt_dtype_bytes(whole.dtype));
            at = end ? at : first + z->table->params[k].phys_count;
        }
    }
}

void lt_zero_grads_done(lt_zero_store *z, int unit, bool first, bool last)
{
    LT_BUG_ON(unit < 0 || unit >= z->plan->n_units || !z->grads);
    if (unit == 0)
        z->backward = false;
    if (z->plan->grads_cut) {
        zero_grad_slot *slot = &z->grad_slots[z->plan->units[unit].grad_slot];

        LT_BUG_ON(slot->unit >= 0); /* written before its last reduction was added up */
        slot->unit = unit;
        slot->add = !first;
        if (slot->shared)
            clear_padding(z, unit);
        if (lt_zero_is_alone(z))
            add_up(z, slot);
        else
            reduce(z, unit, slot->reduced);
    } else if (last && !lt_zero_is_alone(z)) {
        reduce(z, unit, z->communicated);
    }
}

void lt_zero_grads_finish(lt_zero_store *z)
{
    if (lt_zero_is_alone(z))
        return;
    lt_zero_await_comm(z);
    for (int i = 0; i < z->plan->n_grad_slots; i++)
        if (z->grad_slots[i].unit >= 0)
            add_up(z, &z->grad_slots[i]);
}
