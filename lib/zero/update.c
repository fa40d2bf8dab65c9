/* zero/update.c - the walk over the optimizer state, part by part: the optimizer's update, and the
 * refresh of compute weights, are loops over it.
 *
 * Parts in the tier arrive ahead in its staging slots, record r in slot r mod n, and leave behind.
 * When the last part of a unit is done its weights are published, in the background, and a unit
 * whose weights are in the parameter tier goes back there. */
#include "zero/store_parts.h"

static int segment_at(const lt_zero_store *z, int at)
{
    int n_tiles = z->plan->n_tiles;

    return at < n_tiles ? z->plan->tiles[at].segment : z->untiled[at - n_tiles];
}

static int tile_slot(const lt_zero_store *z, int record)
{
    return record % z->plan->optimizer_tier.n_slots;
}

static void end_part(lt_zero_store *z, int at)
{
    int record = at >= 0 && at < z->plan->n_tiles ? z->plan->tiles[at].record : -1;
    int ahead;

    if (record < 0)
        return;
    lt_tier_store(z->optimizer_tier, tile_slot(z, record));
    ahead = record + z->plan->optimizer_tier.n_slots;
    if (ahead < z->plan->n_records)
        lt_tier_fetch(z->optimizer_tier, ahead, tile_slot(z, ahead));
}

static int n_parts(const lt_zero_store *z)
{
    return z->plan->n_tiles + (z->walk.all ? z->n_untiled : 0);
}

/* The unit whose record the walk comes to next; of its parts, persistent ones are not there. */
static int next_in_tier(const lt_zero_store *z)
{
    for (int at = z->walk.at + 1; at < n_parts(z); at++) {
        const lt_zero_segment *s = &z->plan->segments[segment_at(z, at)];

        if (s->unit != z->walk.unit && s->in_record >= 0)
            return s->unit;
    }
    return -1;
}

/* The record is fetched although the update overwrites it: frozen segments are in it too, and a
 * step that is skipped writes nothing. */
static void bring_record(lt_zero_store *z)
{
    int ahead;

    if (z->walk.staged)
        return;
    z->walk.staged = true;
    if (!z->units[z->walk.unit].staged)
        lt_zero_stage(z, z->walk.unit);
    ahead = next_in_tier(z);
    if (ahead >= 0 && lt_zero_stage_is_free(z, ahead))
        lt_zero_stage(z, ahead);
}

/* What has no tiles, frozen segments, is written after all tiles: until then it is not read. */
static void end_unit(lt_zero_store *z)
{
    int unit = z->walk.unit;

    if (unit < 0)
        return;
    lt_zero_publish(z, unit, z->walk.at > z->plan->n_tiles);
    if (z->walk.staged)
        lt_zero_unstage(z, unit, true);
    z->walk.unit = -1;
    z->walk.staged = false;
}

void lt_zero_walk_begin(lt_zero_store *z, bool all)
{
    lt_zero_forget_gathered(z);
    z->walk = (zero_walk){ .all = all, .at = -1, .unit = -1 };
    for (int r = 0; r < z->plan->n_records && r < z->plan->optimizer_tier.n_slots; r++)
        lt_tier_fetch(z->optimizer_tier, r, tile_slot(z, r));
}

/* Compute weights of the part: this rank's slice, at stage 0 all. */
static lt_tensor weights_of(lt_zero_store *z, const lt_zero_segment *s, int64_t place,
                            int64_t in_segment, int64_t n)
{
    lt_dtype type = z->plan->set.compute;

    if (z->plan->master_is_compute)
        return lt_absent();
    if (place >= 0)
        return lt_zero_view(z->weights, type, place, n);
    return lt_zero_view(lt_zero_staged(z, s->unit, LT_STREAM_COMPUTE), type,
                        s->in_record + in_segment, n);
}

static void tile_part(lt_zero_store *z, int tile, zero_part *out)
{
    const lt_zero_tile *t = &z->plan->tiles[tile];
    const lt_zero_segment *s = &z->plan->segments[t->segment];

    *out = (zero_part){ .segment = t->segment, .tile = tile, .in_segment = t->in_segment };
    if (t->record >= 0) {
        void *staged = lt_tier_wait(z->optimizer_tier, tile_slot(z, t->record), LT_STREAM_COMPUTE);

        out->master = lt_zero_view(staged, LT_F32, 0, t->count);
        out->moment1 = lt_zero_view(staged, LT_F32, t->count, t->count);
        out->moment2 = lt_zero_view(staged, LT_F32, 2 * t->count, t->count);
    } else {
        out->master = lt_zero_view(z->master, LT_F32, t->master, t->count);
        out->moment1 = lt_zero_view(z->moment1, LT_F32, t->moment, t->count);
        out->moment2 = lt_zero_view(z->moment2, LT_F32, t->moment, t->count);
    }
    out->weights = weights_of(z, s, t->weights, t->in_segment, t->count);
}

static void untiled_part(lt_zero_store *z, int segment, zero_part *out)
{
    const lt_zero_segment *s = &z->plan->segments[segment];
    bool whole = z->plan->set.stage == 0;
    int64_t n = whole ? s->count : s->slice;

    *out = (zero_part){ .segment = segment,
                        .tile = -1,
                        .master = lt_zero_view(z->master, LT_F32, s->master, n),
                        .moment1 = lt_absent(),
                        .moment2 = lt_absent(),
                        .weights = weights_of(z, s, whole ? s->weights : s->own_weights, 0, n) };
}

bool lt_zero_walk_next(lt_zero_store *z, zero_part *out)
{
    const lt_zero_segment *s;

    end_part(z, z->walk.at);
    if (++z->walk.at >= n_parts(z)) {
        end_unit(z);
        lt_zero_hand_over(z); /* gathering reads what compute wrote */
        return false;
    }
    s = &z->plan->segments[segment_at(z, z->walk.at)];
    if (s->unit != z->walk.unit)
        end_unit(z);
    z->walk.unit = s->unit;
    if (s->in_record >= 0)
        bring_record(z);
    if (z->walk.at < z->plan->n_tiles)
        tile_part(z, z->walk.at, out);
    else
        untiled_part(z, segment_at(z, z->walk.at), out);
    return true;
}

void lt_zero_update_begin(lt_zero_store *z)
{
    LT_BUG_ON(!z->grads);
    lt_zero_walk_begin(z, false);
}

bool lt_zero_update_next(lt_zero_store *z, lt_zero_update *out)
{
    const lt_zero_plan *p = z->plan;
    const lt_zero_tile *t;
    zero_part part;

    if (!lt_zero_walk_next(z, &part)) {
        lt_zero_pass_expect(z);
        return false;
    }
    t = &p->tiles[part.tile];
    *out = (lt_zero_update){ .master = part.master,
                             .moment1 = part.moment1,
                             .moment2 = part.moment2,
                             .grad = lt_zero_view(z->grads, lt_zero_owned_grad_type(z), t->grad,
                                                  t->count),
                             .copy = part.weights,
                             .decay = p->segments[part.segment].decay };
    return true;
}
