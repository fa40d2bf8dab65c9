/* zero/gather.c - parameters: brought together before a unit is used, let go after, published after
 * an update.
 *
 * When units come and go (params_cut), a unit is gathered into its slot from everybody's slices,
 * and stays there until the slot is wanted or an update makes it stale.  The pass says in advance
 * what it will use; each gather looks ahead in that list and fills slots whose unit is neither in
 * use nor wanted earlier.  Slices that live in a tier are first brought to the tier's staging
 * slots, record r to slot r mod n, one look ahead before they are gathered. */
#include "zero/store_parts.h"

/* ---- staging of the parameter tier */

static int stage_slot(const lt_zero_store *z, int unit)
{
    return z->plan->units[unit].param_record % z->plan->param_tier.n_slots;
}

bool lt_zero_stage_is_free(const lt_zero_store *z, int unit)
{
    return z->staged_unit[stage_slot(z, unit)] < 0;
}

void lt_zero_stage(lt_zero_store *z, int unit)
{
    LT_BUG_ON(!lt_zero_stage_is_free(z, unit));
    lt_tier_fetch(z->param_tier, z->plan->units[unit].param_record, stage_slot(z, unit));
    z->staged_unit[stage_slot(z, unit)] = unit;
    z->units[unit].staged = true;
}

char *lt_zero_staged(lt_zero_store *z, int unit, lt_stream stream)
{
    LT_BUG_ON(!z->units[unit].staged);
    return lt_tier_wait(z->param_tier, stage_slot(z, unit), stream);
}

void lt_zero_unstage(lt_zero_store *z, int unit, bool store)
{
    if (store)
        lt_tier_store(z->param_tier, stage_slot(z, unit));
    else
        lt_tier_drop(z->param_tier, stage_slot(z, unit));
    z->staged_unit[stage_slot(z, unit)] = -1;
    z->units[unit].staged = false;
}

/* ---- slots */

static zero_param_slot *slot_of(const lt_zero_store *z, int unit)
{
    return &z->param_slots[z->plan->units[unit].param_slot];
}

static bool is_gathered(const lt_zero_store *z, int unit)
{
    return z->units[unit].coming == 0 || slot_of(z, unit)->unit == unit;
}

/* Compute waits until the unit is there; nobody reads its staging slot any more. */
static void await_unit(lt_zero_store *z, int unit)
{
    zero_unit *u = &z->units[unit];

    if (u->arriving)
        z->dev->backend->stream_wait(z->dev, LT_STREAM_COMPUTE, u->ready);
    u->arriving = false;
    if (u->staged && is_gathered(z, unit))
        lt_zero_unstage(z, unit, false);
}

/* The staging slot that `unit` needs is given up by whoever has it. */
static void clear_stage(lt_zero_store *z, int unit)
{
    int holder = z->staged_unit[stage_slot(z, unit)];

    if (holder < 0)
        return;
    await_unit(z, holder);
    if (z->units[holder].staged) /* fetched for nothing */
        lt_zero_unstage(z, holder, false);
}

static void forget(lt_zero_store *z, int unit)
{
    LT_BUG_ON(z->units[unit].uses > 0); /* would be overwritten under its user */
    if (z->units[unit].staged)
        await_unit(z, unit);
    z->units[unit].ahead = false;
    slot_of(z, unit)->unit = -1;
}

/* Gathers the unit into its slot, whoever was there. */
static void fill_slot(lt_zero_store *z, int unit)
{
    const lt_zero_plan *p = z->plan;
    const lt_zero_unit *u = &p->units[unit];
    zero_param_slot *slot = slot_of(z, unit);
    char *staged = NULL;

    if (slot->unit >= 0)
        forget(z, slot->unit);
    if (u->param_record >= 0) {
        if (!z->units[unit].staged) {
            clear_stage(z, unit);
            lt_zero_stage(z, unit);
        }
        staged = lt_zero_staged(z, unit, LT_STREAM_COMM);
    }
    z->dev->backend->stream_wait(z->dev, LT_STREAM_COMM, slot->used);
    z->comm->ops->group_begin(z->comm);
    for (int i = u->first_segment; i < u->first_segment + u->n_segments; i++) {
        const lt_zero_segment *s = &p->segments[i];
        int64_t own = staged ? s->in_record : s->own_weights;

        if (!s->persistent)
            z->comm->ops->all_gather(
                z->comm, lt_zero_view(slot->data, p->set.compute, s->in_param_slot, s->count),
                lt_zero_view(staged ? staged : z->weights, p->set.compute, own, s->slice));
    }
    z->comm->ops->group_end(z->comm);
    lt_zero_collected(z, z->units[unit].ready);
    z->units[unit].arriving = true;
    slot->unit = unit;
}

/* What is still being gathered for nobody reads slices that are about to be written. */
void lt_zero_forget_gathered(lt_zero_store *z)
{
    if (!lt_zero_is_alone(z) || z->plan->params_cut)
        lt_zero_await_comm(z);
    for (int unit = 0; z->plan->params_cut && unit < z->plan->n_units; unit++) {
        if (z->units[unit].coming && slot_of(z, unit)->unit == unit)
            forget(z, unit);
        if (z->units[unit].staged)
            clear_stage(z, unit);
    }
}

/* ---- looking ahead */

/* May the slot be filled for a unit that comes later in the pass?  `ahead` elements are on their
 * way for units that come before it. */
static bool may_fill(const lt_zero_store *z, int unit, int64_t ahead)
{
    const zero_param_slot *slot = slot_of(z, unit);

    return slot->claimed != z->look && (slot->unit < 0 || z->units[slot->unit].uses == 0) &&
           (ahead == 0 || ahead + z->units[unit].coming <= z->plan->set.prefetch);
}

/* Brings the record near; true: it was on its way before. */
static bool bring_near(lt_zero_store *z, int unit)
{
    if (z->plan->units[unit].param_record < 0 || z->units[unit].staged)
        return true;
    if (lt_zero_stage_is_free(z, unit))
        lt_zero_stage(z, unit);
    return false;
}

/* Walks the rest of the pass in the order of use.  What is there keeps its slot; what is not is
 * gathered as long as the order can be kept, and brought near in the tier beyond that. */
static void look_ahead(lt_zero_store *z)
{
    int64_t ahead = 0;
    bool fill = true;

    z->look++;
    for (int i = z->cursor; i < z->n_sequence; i++) {
        int unit = z->sequence[i];
        zero_unit *u = &z->units[unit];

        if (u->coming == 0 || u->seen == z->look)
            continue;
        u->seen = z->look;
        if (!is_gathered(z, unit)) {
            bool near = bring_near(z, unit);

            fill = fill && near && may_fill(z, unit, ahead);
            if (fill) {
                fill_slot(z, unit);
                u->ahead = true;
            } else if (near && !u->staged) {
                return;
            }
        }
        slot_of(z, unit)->claimed = z->look;
        ahead += u->ahead ? u->coming : 0;
    }
}

void lt_zero_pass_begin(lt_zero_store *z, const int *units, int n)
{
    z->sequence = units;
    z->n_sequence = n;
    z->backward = false;
    lt_zero_pass_expect(z);
}

void lt_zero_pass_expect(lt_zero_store *z)
{
    z->cursor = 0;
    if (z->plan->params_cut)
        look_ahead(z);
}

void lt_zero_gather(lt_zero_store *z, int unit)
{
    zero_unit *u;

    LT_BUG_ON(unit < 0 || unit >= z->plan->n_units);
    u = &z->units[unit];
    u->uses++;
    if (z->cursor < z->n_sequence && z->sequence[z->cursor] == unit)
        z->cursor++;
    else
        z->n_sequence = 0; /* not what was announced: no more guessing */
    if (z->plan->params_cut) {
        if (!is_gathered(z, unit))
            fill_slot(z, unit);
        u->ahead = false;
        if (u->staged) /* its staging slot is for a unit that comes later */
            await_unit(z, unit);
        look_ahead(z);
    }
    await_unit(z, unit);
    lt_zero_free_grad_slot(z, unit);
}

void lt_zero_release(lt_zero_store *z, int unit)
{
    zero_unit *u;

    LT_BUG_ON(unit < 0 || unit >= z->plan->n_units || z->units[unit].uses == 0);
    u = &z->units[unit];
    if (--u->uses == 0 && u->coming)
        z->dev->backend->event_record(z->dev, slot_of(z, unit)->used, LT_STREAM_COMPUTE);
}

/* ---- after an update */

/* Stage 0 has computed everything everywhere.  Owned slices lie inside what is kept whole. */
void lt_zero_publish(lt_zero_store *z, int unit, bool all)
{
    const lt_zero_plan *p = z->plan;
    const lt_zero_unit *u = &p->units[unit];

    if (lt_zero_is_alone(z) || p->set.stage == 0)
        return;
    if (z->units[unit].coming == u->count)
        return; /* nothing is kept whole */
    lt_zero_hand_over(z);
    z->comm->ops->group_begin(z->comm);
    for (int i = u->first_segment; i < u->first_segment + u->n_segments; i++) {
        const lt_zero_segment *s = &p->segments[i];

        if ((!p->params_cut || s->persistent) && (all || s->trainable))
            z->comm->ops->all_gather(
                z->comm, lt_zero_view(z->weights, p->set.compute, s->weights, s->count),
                lt_zero_view(z->weights, p->set.compute, s->own_weights, s->slice));
    }
    z->comm->ops->group_end(z->comm);
    lt_zero_collected(z, z->units[unit].ready);
    z->units[unit].arriving = true;
}
