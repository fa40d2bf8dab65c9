/* test_plan.c - what every ZeRO plan must satisfy, over many models and numbers of ranks. */
#include "lt_test.h"
#include "base/mem.h"
#include "base/rng.h"
#include "zero/plan.h"

#include <stdlib.h>

static const int worlds[] = { 1, 2, 3, 4, 7, 8, 64 };

enum { N_RANDOM = 400 };

static int64_t between(uint64_t which, uint64_t draw, int64_t low, int64_t high)
{
    return low + (int64_t)(lt_random_u64(7, which, draw) % (uint64_t)(high - low + 1));
}

static lt_model_config random_model(uint64_t which)
{
    lt_model_config m;

    if (!lt_model_config_named(&m, "gpt2"))
        return (lt_model_config){ 0 };
    m.vocab_size = between(which, 0, 1, 700);
    m.n_positions = between(which, 1, 1, 90);
    m.n_layer = between(which, 2, 1, 5);
    m.n_head = m.n_kv_head = between(which, 3, 1, 5);
    m.head_dim = between(which, 4, 1, 13);
    m.n_embd = m.n_head * m.head_dim;
    m.n_inner = between(which, 5, 1, 200);
    m.tied = between(which, 6, 0, 1);
    m.bos_id = m.eos_id = -1;
    return m;
}

/* Freezes about a third of the rows of every other model, so that the third class is met. */
static void freeze_some(lt_param_table *t, uint64_t which)
{
    for (int i = 0; i < t->n_params && which % 2; i++)
        t->params[i].trainable = between(which, 100 + (uint64_t)i, 0, 2) != 0;
}

/* Thresholds, tiles and offloading of many kinds; every block fits into max_live. */
static lt_zero_settings random_settings(const lt_param_table *t, uint64_t which, int stage,
                                        int world, int rank)
{
    lt_zero_settings set = { .stage = stage, .world = world, .rank = rank, .max_live = 1 << 30 };

    set.compute = between(which, 10, 0, 2) ? LT_BF16 : LT_F32;
    set.grad = between(which, 11, 0, 1) ? LT_BF16 : LT_F32;
    set.training = between(which, 12, 0, 5) != 0;
    set.persistence_threshold = between(which, 13, 0, 2) * between(which, 14, 0, 3000);
    if (which % 4 == 3) /* the size of a parameter, which is no smaller than itself */
        set.persistence_threshold = t->params[between(which, 24, 0, t->n_params - 1)].phys_count;
    set.model_persistence_threshold = between(which, 15, 0, 20000);
    set.prefetch = between(which, 16, 0, 1) * between(which, 17, 0, 200000);
    set.tile = between(which, 18, 0, 3) * (t->n_elements / between(which, 19, 4, 400));
    if (between(which, 20, 0, 1))
        set.optimizer = (lt_zero_offload){ .kind = LT_TIER_HOST,
                                           .n_buffers = between(which, 21, 1, 5),
                                           .ratio = (double)between(which, 22, 0, 4) / 4 };
    if (stage == 3 && between(which, 23, 0, 1))
        set.param = (lt_zero_offload){ .kind = LT_TIER_FILE, .n_buffers = 3 };
    return set;
}

/* Ranges of one buffer, which must fill it from 0 to `end` without a gap. */
typedef struct range {
    int64_t first, count;
} range;

static int by_first(const void *a, const void *b)
{
    const range *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

static bool fills(range *ranges, int n, int64_t end)
{
    int64_t at = 0;

    qsort(ranges, (size_t)n, sizeof *ranges, by_first);
    for (int i = 0; i < n; at += ranges[i++].count)
        if (ranges[i].first != at || ranges[i].count <= 0)
            return false;
    return at == end;
}

/* The place of a segment's class in a unit. */
static int class_of(const lt_zero_segment *s)
{
    return (s->trainable ? 0 : 4) + (s->decay || !s->trainable ? 0 : 2) + s->persistent;
}

/* Units follow one another, segments fill units, slices fill segments. */
static void check_segments(const lt_zero_plan *p)
{
    int64_t at = 0;
    int segment = 0;

    for (int u = 0; u < p->n_units; u++) {
        LT_CHECK_INT(p->units[u].offset, at);
        LT_CHECK_INT(p->units[u].first_segment, segment);
        for (int k = 0; k < p->units[u].n_segments; k++, segment++) {
            const lt_zero_segment *s = &p->segments[segment];

            LT_CHECK_INT(s->unit, u);
            LT_CHECK_INT(s->offset, at);
            LT_CHECK(s->count > 0);
            LT_CHECK_INT(s->count % ((int64_t)p->set.world * LT_ZERO_ALIGN), 0);
            LT_CHECK_INT(s->slice * p->set.world, s->count);
            LT_CHECK_INT(s->offset % ((int64_t)p->set.world * LT_ZERO_ALIGN), 0);
            LT_CHECK(s->trainable || !s->decay);
            LT_CHECK(k == 0 || class_of(s - 1) < class_of(s));
            at += s->count;
        }
        LT_CHECK_INT(p->units[u].offset + p->units[u].count, at);
    }
    LT_CHECK_INT(p->n_segments, segment);
    LT_CHECK_INT(p->n_elements, at);
    LT_CHECK_INT(p->n_owned * p->set.world, at);
    LT_CHECK_INT(p->n_optimizer, p->set.stage == 0 ? at : p->n_owned);
}

/* Every parameter lies once in a segment of its unit and class, aligned, over nobody else, and a
 * segment is no longer than alignment asks for. */
static void check_places(const lt_zero_plan *p, const lt_param_table *t)
{
    for (int k = 0; k < p->n_segments; k++) {
        const lt_zero_segment *s = &p->segments[k];
        int64_t at = s->offset;

        for (int i = 0; i < t->n_params; i++) { /* in the order of the table */
            const lt_param *q = &t->params[i];

            if (p->places[i].segment != k)
                continue;
            LT_CHECK_INT(s->unit, q->unit);
            LT_CHECK_INT(s->trainable, q->trainable);
            LT_CHECK_INT(s->decay, q->trainable && q->decay);
            LT_CHECK_INT(p->places[i].offset % LT_ZERO_ALIGN, 0);
            LT_CHECK(p->places[i].offset >= at && p->places[i].offset - at < LT_ZERO_ALIGN);
            at = p->places[i].offset + q->phys_count;
        }
        LT_CHECK(at > s->offset && at <= s->offset + s->count);
        LT_CHECK(s->offset + s->count - at < ((int64_t)p->set.world + 1) * LT_ZERO_ALIGN);
    }
    for (int i = 0; i < t->n_params; i++)
        LT_CHECK(p->places[i].segment >= 0 && p->places[i].segment < p->n_segments);
}

/* Parameters up to the threshold are persistent, first come, first served. */
static void check_persistent(const lt_zero_plan *p, const lt_param_table *t)
{
    int64_t total = 0;

    for (int i = 0; i < t->n_params; i++) {
        int64_t n = t->params[i].phys_count;
        bool small = n <= p->set.persistence_threshold;
        bool want = small && total + n <= p->set.model_persistence_threshold;

        LT_CHECK_INT(p->segments[p->places[i].segment].persistent, want);
        total += want ? n : 0;
    }
}

/* A slot takes each of its units: the segments lie in it one after another. */
static void check_slot(const lt_zero_plan *p, int unit, bool grads)
{
    const lt_zero_unit *u = &p->units[unit];
    int slot = grads ? u->grad_slot : u->param_slot;
    int n_slots = grads ? p->n_grad_slots : p->n_param_slots, n = n_slots - 2;
    int64_t at = 0;

    LT_CHECK(n >= 1);
    if (unit == 0)
        LT_CHECK_INT(slot, n);
    else if (unit == p->n_units - 1)
        LT_CHECK_INT(slot, n + 1);
    else
        LT_CHECK_INT(slot, (unit - 1) % n);
    for (int k = u->first_segment; k < u->first_segment + u->n_segments; k++) {
        const lt_zero_segment *s = &p->segments[k];
        int64_t in_slot = grads ? s->in_grad_slot : s->in_param_slot;

        LT_CHECK_INT(in_slot, (grads ? s->trainable : !s->persistent) ? at : -1);
        at += in_slot >= 0 ? s->count : 0;
    }
    LT_CHECK(at <= (grads ? p->grad_slot_count : p->param_slot_count)[slot]);
}

static void check_slots(const lt_zero_plan *p)
{
    int64_t largest = 0;

    LT_CHECK_INT(p->params_cut,
                 p->set.stage == 3 && (p->set.world > 1 || p->set.param.kind != LT_TIER_NONE));
    LT_CHECK_INT(p->grads_cut, p->set.stage >= 2 && p->set.training);
    LT_CHECK_INT(p->param_slot_count != NULL, p->params_cut);
    LT_CHECK_INT(p->grad_slot_count != NULL, p->grads_cut);
    for (int u = 0; u < p->n_units; u++) {
        if (p->params_cut)
            check_slot(p, u, false);
        else
            LT_CHECK_INT(p->units[u].param_slot, -1);
        if (p->grads_cut)
            check_slot(p, u, true);
        else
            LT_CHECK_INT(p->units[u].grad_slot, -1);
    }
    if (p->grads_cut)
        LT_CHECK_INT(p->n_grad_slots, p->n_units == 3 ? 3 : 4);
    if (!p->params_cut)
        return;
    for (int i = 0; i < p->n_param_slots - 2; i++)
        largest = p->param_slot_count[i] > largest ? p->param_slot_count[i] : largest;
    LT_CHECK(p->n_param_slots <= p->n_units);
    LT_CHECK(p->n_units == 3 || largest == 0 || p->n_param_slots >= 4);
    /* one at work and one ahead may be had for nothing; more must fit into prefetch */
    LT_CHECK(p->n_param_slots <= 4 || largest * (p->n_param_slots - 3) <= p->set.prefetch);
}

/* Weights, gradients and parameter records are filled by segments without overlap. */
static void check_buffers(const lt_zero_plan *p)
{
    range *weights = lt_new_array0((size_t)p->n_segments, sizeof *weights);
    range *grads = lt_new_array0((size_t)p->n_segments, sizeof *grads);
    bool in_tier = p->set.param.kind != LT_TIER_NONE;
    int n_weights = 0, n_grads = 0;

    for (int k = 0; k < p->n_segments; k++) {
        const lt_zero_segment *s = &p->segments[k];
        bool whole = !p->params_cut || s->persistent;
        bool graded = p->set.training && s->trainable;

        LT_CHECK_INT(s->weights < 0, in_tier && !s->persistent);
        LT_CHECK_INT(s->in_record >= 0, in_tier && !s->persistent);
        LT_CHECK_INT(s->grads >= 0, graded);
        if (s->weights >= 0) {
            LT_CHECK_INT(s->own_weights - s->weights, whole ? s->slice * p->set.rank : 0);
            weights[n_weights++] = (range){ s->weights, whole ? s->count : s->slice };
        }
        if (graded) {
            LT_CHECK_INT(s->own_grads - s->grads, p->grads_cut ? 0 : s->slice * p->set.rank);
            grads[n_grads++] = (range){ s->grads, p->grads_cut ? s->slice : s->count };
        }
    }
    LT_CHECK(fills(weights, n_weights, p->n_weights));
    LT_CHECK(fills(grads, n_grads, p->n_grads));
    LT_CHECK_INT(p->params_cut || p->n_weights == p->n_elements, true);
    free(weights);
    free(grads);
}

static void check_param_records(const lt_zero_plan *p)
{
    int next = 0;

    for (int u = 0; u < p->n_units; u++) {
        const lt_zero_unit *unit = &p->units[u];
        int64_t at = 0;

        for (int k = unit->first_segment; k < unit->first_segment + unit->n_segments; k++)
            if (p->segments[k].in_record >= 0) {
                LT_CHECK_INT(p->segments[k].in_record, at);
                at += p->segments[k].slice;
            }
        LT_CHECK_INT(unit->param_record, at > 0 ? next : -1);
        if (at > 0)
            LT_CHECK_INT(p->param_tier.bytes[next++], (size_t)at * lt_dtype_bytes(p->set.compute));
    }
    LT_CHECK_INT(p->param_tier.n_records, next);
    LT_CHECK_INT(p->param_tier.kind, next ? p->set.param.kind : LT_TIER_NONE);
}

/* Tiles fill what is updated of trainable segments, in order; records are dense and come first. */
static void check_tiles(const lt_zero_plan *p)
{
    bool all = p->set.stage == 0;
    int n = 0;

    for (int k = 0; k < p->n_segments; k++) {
        const lt_zero_segment *s = &p->segments[k];
        int64_t kept = all ? s->count : s->slice, at = 0;

        LT_CHECK_INT(s->n_tiles > 0, p->set.training && s->trainable);
        if (s->n_tiles)
            LT_CHECK_INT(s->first_tile, n);
        for (int i = 0; i < s->n_tiles; i++, n++) {
            const lt_zero_tile *t = &p->tiles[n];

            LT_CHECK_INT(t->segment, k);
            LT_CHECK_INT(t->in_segment, at);
            LT_CHECK_INT(t->first, s->offset / (all ? 1 : p->set.world) + at);
            LT_CHECK_INT(t->first % LT_ZERO_ALIGN, 0);
            LT_CHECK_INT(t->count % LT_ZERO_ALIGN, 0);
            LT_CHECK(t->count > 0 && t->count <= p->set.tile);
            LT_CHECK_INT(t->record, n < p->n_records ? n : -1);
            LT_CHECK_INT(t->grad, (all ? s->grads : s->own_grads) + at);
            LT_CHECK_INT(t->weights,
                         s->weights < 0 ? -1 : (all ? s->weights : s->own_weights) + at);
            at += t->count;
        }
        LT_CHECK_INT(at, s->n_tiles ? kept : 0);
    }
    LT_CHECK_INT(p->n_tiles, n);
}

/* The optimizer tier takes the tiles that start in the first `ratio` of them. */
static void check_optimizer_records(const lt_zero_plan *p)
{
    bool offload = p->set.optimizer.kind != LT_TIER_NONE;
    int64_t total = 0, at = 0;

    for (int i = 0; i < p->n_tiles; i++)
        total += p->tiles[i].count;
    for (int i = 0; i < p->n_tiles; at += p->tiles[i++].count) {
        bool want = offload && (double)at < p->set.optimizer.ratio * (double)total;

        LT_CHECK_INT(p->tiles[i].record >= 0, want);
        if (want)
            LT_CHECK_INT(p->optimizer_tier.bytes[i], 12 * p->tiles[i].count);
    }
    LT_CHECK_INT(p->optimizer_tier.n_records, p->n_records);
    LT_CHECK_INT(p->optimizer_tier.kind, p->n_records ? p->set.optimizer.kind : LT_TIER_NONE);
    LT_CHECK(p->optimizer_tier.n_slots <= p->n_records);
    LT_CHECK_INT(p->optimizer_tier.n_slots > 0, p->n_records > 0);
}

/* Walking the whole state meets every element once, and fills the buffers of the device. */
static void check_runs(const lt_zero_plan *p)
{
    size_t most = (size_t)(p->n_tiles + p->n_segments);
    range *master = lt_new_array0(most, sizeof *master);
    range *moment = lt_new_array0(most, sizeof *moment);
    int n_master = 0, n_moment = 0;
    lt_zero_run run;

    for (int64_t at = 0; at < p->n_optimizer; at += run.count) {
        run = lt_zero_plan_run(p, at, p->n_optimizer - at);
        LT_CHECK(run.count > 0);
        LT_CHECK_INT(run.tile >= 0 || run.record < 0, true);
        LT_CHECK_INT(run.master < 0, run.record >= 0);
        LT_CHECK_INT(run.moment >= 0, run.tile >= 0 && run.record < 0);
        if (run.tile >= 0) {
            LT_CHECK_INT(run.in_tile, 0); /* a whole tile each */
            LT_CHECK_INT(run.count, p->tiles[run.tile].count);
            LT_CHECK_INT(run.record, p->tiles[run.tile].record);
            LT_CHECK_INT(p->tiles[run.tile].first, at);
            LT_CHECK_INT(run.master, p->tiles[run.tile].master);
        }
        if (run.master >= 0)
            master[n_master++] = (range){ run.master, run.count };
        if (run.moment >= 0)
            moment[n_moment++] = (range){ run.moment, run.count };
    }
    LT_CHECK(fills(moment, n_moment, p->n_moment));
    if (!p->master_is_compute)
        LT_CHECK(fills(master, n_master, p->n_master));
    else
        LT_CHECK_INT(p->n_master, 0);
    free(master);
    free(moment);
}

/* Where the masters are the weights, an owned element's master is where its weight is. */
static void check_master_is_compute(const lt_zero_plan *p)
{
    bool nowhere_else = p->set.param.kind == LT_TIER_NONE &&
                        (p->set.optimizer.kind == LT_TIER_NONE || !p->set.training);

    LT_CHECK_INT(p->master_is_compute,
                 p->set.compute == LT_F32 && nowhere_else &&
                     (p->set.world == 1 || p->set.stage == 0 || p->set.stage == 3));
    for (int k = 0; k < p->n_segments && p->master_is_compute; k++) {
        const lt_zero_segment *s = &p->segments[k];
        int64_t owned = s->offset / p->set.world + s->slice - 1;
        lt_zero_run run = lt_zero_plan_run(p, lt_zero_plan_state_of(p, owned), 1);

        LT_CHECK_INT(run.count, 1);
        LT_CHECK_INT(run.master, s->own_weights + s->slice - 1);
    }
}

static void check_plan(const lt_zero_plan *p, const lt_param_table *t)
{
    check_segments(p);
    check_places(p, t);
    check_persistent(p, t);
    check_slots(p);
    check_buffers(p);
    check_param_records(p);
    check_tiles(p);
    check_optimizer_records(p);
    check_runs(p);
    check_master_is_compute(p);
}

/* One rank's pieces: each lies in a slice that the rank owns, at the right place of the owned
 * buffer.  next[param] is the element where the ranks before stopped; pieces go on from there. */
static void check_pieces(const lt_zero_plan *p, const lt_param_table *t, int64_t *next)
{
    int n = 0, last = -1;
    lt_zero_piece *pieces = lt_zero_plan_pieces(p, t, &n);

    for (int i = 0; i < n; i++) {
        const lt_zero_piece *c = &pieces[i];
        const lt_zero_segment *s = &p->segments[p->places[c->param].segment];
        int64_t in_slice = c->owned - s->offset / p->set.world;

        LT_CHECK(c->param > last); /* table order, one piece a parameter */
        last = c->param;
        LT_CHECK(c->count > 0);
        LT_CHECK_INT(c->first, next[c->param]);
        next[c->param] += c->count;
        LT_CHECK(next[c->param] <= t->params[c->param].count); /* no padding */
        LT_CHECK(in_slice >= 0 && in_slice + c->count <= s->slice);
        LT_CHECK_INT(s->offset + p->set.rank * s->slice + in_slice,
                     p->places[c->param].offset + c->first);
        LT_CHECK_INT(lt_zero_plan_state_of(p, c->owned),
                     p->set.stage == 0 ? p->places[c->param].offset + c->first : c->owned);
    }
    free(pieces);
}

static void check_model(const lt_model_config *m, uint64_t which)
{
    lt_param_table *t = lt_param_table_new(m);
    int64_t *next = lt_new_array0((size_t)t->n_params, sizeof *next);

    freeze_some(t, which);
    for (size_t w = 0; w < LT_COUNT(worlds); w++) {
        memset(next, 0, (size_t)t->n_params * sizeof *next);
        for (int rank = 0; rank < worlds[w]; rank++) {
            lt_zero_settings set = random_settings(t, which, (int)(which % 4), worlds[w], rank);
            lt_zero_plan *p = NULL;

            LT_CHECK_OK(lt_zero_plan_new(&p, t, &set));
            if (rank == 0 || rank == worlds[w] - 1)
                check_plan(p, t);
            check_pieces(p, t, next);
            lt_zero_plan_free(p);
        }
        for (int i = 0; i < t->n_params; i++)
            LT_CHECK_INT(next[i], t->params[i].count);
    }
    free(next);
    lt_param_table_free(t);
}

LT_TEST(plan_of_random_models)
{
    for (uint64_t which = 0; which < N_RANDOM; which++) {
        lt_model_config m = random_model(which);

        LT_CHECK_OK(lt_model_config_check(&m));
        check_model(&m, which);
    }
}

LT_TEST(plan_of_named_models)
{
    static const char *const names[] = { "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl" };

    for (size_t i = 0; i < LT_COUNT(names); i++) {
        lt_model_config m;

        LT_CHECK(lt_model_config_named(&m, names[i]));
        check_model(&m, 2 * i); /* nothing frozen */
    }
}

/* The cut of every stage, whatever it keeps: sums are taken over the same ranges, and a checkpoint
 * of one stage is read by another. */
static void check_same_cut(const lt_param_table *t, uint64_t which, int world, int rank)
{
    lt_zero_plan *plans[4] = { NULL };
    lt_zero_piece *pieces[4];
    int n[4];

    for (int stage = 0; stage <= 3; stage++) {
        lt_zero_settings set = random_settings(t, which, stage, world, rank);

        set.compute = stage % 2 ? LT_BF16 : LT_F32;
        LT_CHECK_OK(lt_zero_plan_new(&plans[stage], t, &set));
        pieces[stage] = lt_zero_plan_pieces(plans[stage], t, &n[stage]);
    }
    for (int stage = 1; stage <= 3; stage++) {
        LT_CHECK_INT(plans[stage]->n_segments, plans[0]->n_segments);
        for (int k = 0; k < plans[0]->n_segments; k++) {
            const lt_zero_segment *a = &plans[0]->segments[k], *b = &plans[stage]->segments[k];

            LT_CHECK_INT(b->unit, a->unit);
            LT_CHECK_INT(b->offset, a->offset);
            LT_CHECK_INT(b->count, a->count);
            LT_CHECK_INT(class_of(b), class_of(a));
        }
        for (int i = 0; i < t->n_params; i++) {
            LT_CHECK_INT(plans[stage]->places[i].segment, plans[0]->places[i].segment);
            LT_CHECK_INT(plans[stage]->places[i].offset, plans[0]->places[i].offset);
        }
        LT_CHECK_INT(n[stage], n[0]);
        for (int i = 0; i < n[0]; i++) {
            LT_CHECK_INT(pieces[stage][i].param, pieces[0][i].param);
            LT_CHECK_INT(pieces[stage][i].first, pieces[0][i].first);
            LT_CHECK_INT(pieces[stage][i].count, pieces[0][i].count);
            LT_CHECK_INT(pieces[stage][i].owned, pieces[0][i].owned);
        }
    }
    for (int stage = 0; stage <= 3; stage++) {
        free(pieces[stage]);
        lt_zero_plan_free(plans[stage]);
    }
}

LT_TEST(plan_cuts_alike_at_every_stage)
{
    for (uint64_t which = 0; which < N_RANDOM; which++) {
        lt_model_config m = random_model(which);
        lt_param_table *t = lt_param_table_new(&m);
        int world = worlds[which % LT_COUNT(worlds)];

        freeze_some(t, which);
        check_same_cut(t, which, world, (int)between(which, 30, 0, world - 1));
        lt_param_table_free(t);
    }
}
