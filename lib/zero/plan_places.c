/* zero/plan_places.c - what a rank keeps of a cut model, and where: slots, buffers, tiles, tiers.
 *
 * Each function below lays out one class of memory by walking the segments once, in their order. */
#include "zero/plan_places.h"

#include "base/mem.h"

#include <limits.h>
#include <stdlib.h>

enum { DEFAULT_TILE = 8 << 20, GRAD_BLOCK_SLOTS = 2, STATE_FLOATS = 3 };

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* What of a segment has optimizer state here, and where it lies: the slice, at stage 0 all. */
typedef struct state_part {
    int64_t first, count; /* of the space that tiles count */
    int64_t weights, grads;
} state_part;

static state_part state_of(const lt_zero_plan *p, const lt_zero_segment *s)
{
    if (p->set.stage == 0)
        return (state_part){ s->offset, s->count, s->weights, s->grads };
    return (state_part){ s->offset / p->set.world, s->slice, s->own_weights, s->own_grads };
}

static int n_blocks(const lt_zero_plan *p)
{
    return p->n_units - 2;
}

static int slot_of(const lt_zero_plan *p, int unit, int n_block_slots)
{
    if (unit == 0)
        return n_block_slots;
    if (unit == p->n_units - 1)
        return n_block_slots + 1;
    return (unit - 1) % n_block_slots;
}

static lt_err place_params(lt_zero_plan *p)
{
    int64_t *need, largest = 0, n = 1;

    if (!p->params_cut)
        return LT_OK;
    need = lt_new_array0((size_t)p->n_units, sizeof *need);
    for (int k = 0; k < p->n_segments; k++) {
        lt_zero_segment *s = &p->segments[k];

        if (s->persistent)
            continue;
        s->in_param_slot = need[s->unit];
        need[s->unit] += s->count;
    }
    for (int u = 1; u < p->n_units - 1; u++)
        largest = larger(largest, need[u]);
    if (largest > p->set.max_live) {
        free(need);
        return lt_fail(LT_EUSAGE,
                       "deepspeed.zero_optimization.stage3_max_live_parameters is %lld: one block "
                       "of this model gathers %lld elements",
                       (long long)p->set.max_live, (long long)largest);
    }
    if (largest > 0)
        n = smaller(1 + larger(1, p->set.prefetch / largest), p->set.max_live / largest);
    n = smaller(n, n_blocks(p));
    p->n_param_slots = (int)n + 2;
    p->param_slot_count = lt_new_array0((size_t)p->n_param_slots, sizeof *p->param_slot_count);
    for (int u = 0; u < p->n_units; u++) {
        int slot = slot_of(p, u, (int)n);

        p->units[u].param_slot = slot;
        p->param_slot_count[slot] = larger(p->param_slot_count[slot], need[u]);
    }
    free(need);
    return LT_OK;
}

static void place_grads(lt_zero_plan *p)
{
    if (!p->set.training)
        return;
    for (int k = 0; k < p->n_segments; k++) {
        lt_zero_segment *s = &p->segments[k];

        if (!s->trainable)
            continue;
        s->grads = p->n_grads;
        s->own_grads = p->n_grads + (p->grads_cut ? 0 : s->slice * p->set.rank);
        p->n_grads += p->grads_cut ? s->slice : s->count;
    }
}

static void place_grad_slots(lt_zero_plan *p)
{
    int n = (int)smaller(GRAD_BLOCK_SLOTS, n_blocks(p));
    int64_t at = 0;

    if (!p->grads_cut)
        return;
    p->n_grad_slots = n + 2;
    p->grad_slot_count = lt_new_array0((size_t)p->n_grad_slots, sizeof *p->grad_slot_count);
    for (int u = 0; u < p->n_units; u++)
        p->units[u].grad_slot = slot_of(p, u, n);
    for (int k = 0; k < p->n_segments; k++) {
        lt_zero_segment *s = &p->segments[k];
        int64_t *room = &p->grad_slot_count[p->units[s->unit].grad_slot];

        if (k == p->units[s->unit].first_segment)
            at = 0;
        if (!s->trainable)
            continue;
        s->in_grad_slot = at;
        at += s->count;
        *room = larger(*room, at);
    }
}

static void place_weights(lt_zero_plan *p)
{
    for (int k = 0; k < p->n_segments; k++) {
        lt_zero_segment *s = &p->segments[k];
        bool whole = !p->params_cut || s->persistent;

        if (!whole && p->set.param.kind != LT_TIER_NONE)
            continue;
        s->weights = p->n_weights;
        s->own_weights = p->n_weights + (whole ? s->slice * p->set.rank : 0);
        p->n_weights += whole ? s->count : s->slice;
    }
}

/* The unit's record of the parameter tier; a unit of persistent segments alone has none. */
static void place_records(lt_zero_plan *p)
{
    lt_tier_options *tier = &p->param_tier;
    size_t each = lt_dtype_bytes(p->set.compute);

    if (p->set.param.kind == LT_TIER_NONE)
        return;
    p->param_record_bytes = lt_new_array0((size_t)p->n_units, sizeof *p->param_record_bytes);
    for (int k = 0; k < p->n_segments; k++) {
        lt_zero_segment *s = &p->segments[k];
        lt_zero_unit *unit = &p->units[s->unit];
        size_t *bytes;

        if (s->persistent)
            continue;
        if (unit->param_record < 0)
            unit->param_record = tier->n_records++;
        bytes = &p->param_record_bytes[unit->param_record];
        s->in_record = (int64_t)(*bytes / each);
        *bytes += (size_t)s->slice * each;
    }
}

/* Cuts what is updated of a segment into tiles; they come to rest in place_state. */
static void add_tiles(lt_zero_plan *p, int segment)
{
    lt_zero_segment *s = &p->segments[segment];
    state_part part = state_of(p, s);

    s->first_tile = p->n_tiles;
    for (int64_t at = 0; at < part.count; at += p->set.tile)
        p->tiles[p->n_tiles++] =
            (lt_zero_tile){ .segment = segment,
                            .first = part.first + at,
                            .count = smaller(p->set.tile, part.count - at),
                            .in_segment = at,
                            .record = -1,
                            .master = -1,
                            .moment = -1,
                            .grad = part.grads + at,
                            .weights = part.weights < 0 ? -1 : part.weights + at };
    s->n_tiles = p->n_tiles - s->first_tile;
}

static void cut_tiles(lt_zero_plan *p)
{
    int64_t n = 0;

    for (int k = 0; k < p->n_segments; k++) {
        const lt_zero_segment *s = &p->segments[k];

        n += s->trainable ? (state_of(p, s).count + p->set.tile - 1) / p->set.tile : 0;
    }
    LT_BUG_ON(n > INT_MAX);
    if (!p->set.training || n == 0)
        return;
    p->tiles = lt_new_array0((size_t)n, sizeof *p->tiles);
    for (int k = 0; k < p->n_segments; k++)
        if (p->segments[k].trainable)
            add_tiles(p, k);
}

/* Optimizer state: the first tiles into the tier, the others and what has no tiles into memory. */
static void place_state(lt_zero_plan *p)
{
    bool offload = p->set.optimizer.kind != LT_TIER_NONE;
    int64_t total = 0, before = 0;

    for (int i = 0; i < p->n_tiles; i++)
        total += p->tiles[i].count;
    if (offload && p->n_tiles)
        p->optimizer_record_bytes =
            lt_new_array0((size_t)p->n_tiles, sizeof *p->optimizer_record_bytes);
    for (int i = 0; i < p->n_tiles; i++) {
        lt_zero_tile *t = &p->tiles[i];

        if (offload && (double)before < p->set.optimizer.ratio * (double)total) {
            t->record = p->n_records++;
            p->optimizer_record_bytes[t->record] = (size_t)t->count * STATE_FLOATS * sizeof(float);
        } else {
            t->moment = p->n_moment;
            t->master = p->master_is_compute ? t->weights : p->n_moment;
            p->n_moment += t->count;
        }
        before += t->count;
    }
    p->optimizer_tier.n_records = p->n_records;
    p->n_master = p->n_moment;
    for (int k = 0; k < p->n_segments; k++) {
        lt_zero_segment *s = &p->segments[k];

        if (s->n_tiles)
            continue;
        s->master = p->master_is_compute ? state_of(p, s).weights : p->n_master;
        p->n_master += state_of(p, s).count;
    }
    if (p->master_is_compute)
        p->n_master = 0;
}

static void finish_tier(lt_tier_options *tier, const lt_zero_offload *offload, const size_t *bytes)
{
    if (tier->n_records == 0) /* LT_TIER_NONE */
        return;
    LT_BUG_ON(offload->n_buffers < 1);
    tier->kind = offload->kind;
    tier->pinned = offload->pinned;
    tier->path = offload->path;
    tier->n_slots = (int)smaller(offload->n_buffers, tier->n_records);
    tier->bytes = bytes;
}

/* A file tier has a record in host memory for each slot and one at hand (zero/tier_file.c). */
static lt_err keep_max_in_cpu(lt_zero_plan *p)
{
    lt_tier_options *tier = &p->param_tier;
    int64_t largest = 0, most = p->set.param.max_in_cpu;

    if (tier->kind != LT_TIER_FILE || most == 0)
        return LT_OK;
    for (int i = 0; i < tier->n_records; i++)
        largest = larger(largest, (int64_t)(tier->bytes[i] / lt_dtype_bytes(p->set.compute)));
    if (most < 2 * largest)
        return lt_fail(LT_EUSAGE,
                       "deepspeed.zero_optimization.offload_param.max_in_cpu is %lld: two buffers, "
                       "the fewest that nvme needs, take %lld elements of this model",
                       (long long)most, (long long)(2 * largest));
    tier->n_slots = (int)smaller(tier->n_slots, most / largest - 1);
    return LT_OK;
}

lt_err lt_zero_plan_place(lt_zero_plan *p)
{
    const lt_zero_settings *set = &p->set;
    bool offload_params = set->param.kind != LT_TIER_NONE;
    bool offload_state = set->training && set->optimizer.kind != LT_TIER_NONE;
    lt_err err;

    if (set->tile == 0)
        p->set.tile = DEFAULT_TILE;
    p->set.tile = larger(LT_ZERO_ALIGN, p->set.tile / LT_ZERO_ALIGN * LT_ZERO_ALIGN);
    p->n_optimizer = set->stage == 0 ? p->n_elements : p->n_owned;
    p->params_cut = set->stage == 3 && (set->world > 1 || offload_params);
    p->grads_cut = set->stage >= 2 && set->training;
    p->master_is_compute = set->compute == LT_F32 && !offload_params && !offload_state &&
                           (set->world == 1 || set->stage == 0 || set->stage == 3);
    for (int u = 0; u < p->n_units; u++)
        p->units[u].param_slot = p->units[u].grad_slot = p->units[u].param_record = -1;
    for (int k = 0; k < p->n_segments; k++) {
        lt_zero_segment *s = &p->segments[k];

        s->in_param_slot = s->in_grad_slot = s->in_record = -1;
        s->weights = s->own_weights = s->grads = s->own_grads = s->master = -1;
    }
    LT_TRY(err = place_params(p));
    place_grads(p);
    place_grad_slots(p);
    place_weights(p);
    place_records(p);
    cut_tiles(p);
    place_state(p);
    finish_tier(&p->optimizer_tier, &set->optimizer, p->optimizer_record_bytes);
    finish_tier(&p->param_tier, &set->param, p->param_record_bytes);
    err = keep_max_in_cpu(p);
fail:
    return err;
}

static uint64_t sum_of(const int64_t *count, int n)
{
    uint64_t sum = 0;

    for (int i = 0; i < n; i++)
        sum += (uint64_t)count[i];
    return sum;
}

static void add_tier(lt_zero_bytes *b, const lt_tier_options *tier)
{
    lt_tier_bytes more;

    if (tier->kind == LT_TIER_NONE)
        return;
    more = lt_tier_plan(tier);
    b->staging += more.device;
    b->host += more.host;
    b->file += more.file;
}

lt_zero_bytes lt_zero_plan_bytes(const lt_zero_plan *p)
{
    uint64_t fp32 = sizeof(float), compute = lt_dtype_bytes(p->set.compute);
    uint64_t grad = lt_dtype_bytes(p->set.grad);
    lt_zero_bytes b = {
        .params = (uint64_t)p->n_weights * compute,
        .gathered = sum_of(p->param_slot_count, p->n_param_slots) * compute,
        .grads = (uint64_t)p->n_grads * (p->grads_cut ? fp32 : grad),
        .buckets = sum_of(p->grad_slot_count, p->n_grad_slots) * grad,
        .master = (uint64_t)p->n_master * fp32,
        .moment1 = (uint64_t)p->n_moment * fp32,
        .moment2 = (uint64_t)p->n_moment * fp32,
    };

    add_tier(&b, &p->optimizer_tier);
    add_tier(&b, &p->param_tier);
    return b;
}

uint64_t lt_zero_bytes_device(const lt_zero_bytes *b)
{
    return b->params + b->gathered + b->grads + b->buckets + b->master + b->moment1 + b->moment2 +
           b->staging;
}
