/* zero/plan.c - cutting parameters into units, segments and owned slices: the same at every stage.
 * What a rank keeps of them is plan_places.c's. */
#include "zero/plan_places.h"

#include "base/mem.h"

#include <stdlib.h>

/* The classes of a unit in the order in which their segments lie. */
static const struct {
    bool trainable, decay, persistent;
} classes[] = { { true, true, false }, { true, true, true },    { true, false, false },
                { true, false, true }, { false, false, false }, { false, false, true } };

static bool in_class(const lt_param *p, bool persistent, size_t c)
{
    bool decay = p->trainable && p->decay;

    return p->trainable == classes[c].trainable && decay == classes[c].decay &&
           persistent == classes[c].persistent;
}

/* Small parameters are kept whole everywhere, as long as the model's allowance lasts. */
static bool *choose_persistent(const lt_param_table *t, const lt_zero_settings *set)
{
    bool *persistent = lt_new_array0((size_t)t->n_params, sizeof *persistent);
    int64_t left = set->model_persistence_threshold;

    for (int i = 0; i < t->n_params; i++) {
        int64_t n = t->params[i].phys_count;

        persistent[i] = n <= set->persistence_threshold && n <= left;
        left -= persistent[i] ? n : 0;
    }
    return persistent;
}

/* Places the unit's parameters of one class from *at on; adds a segment if there were any. */
static void cut_segment(lt_zero_plan *p, const lt_param_table *t, const bool *persistent, int unit,
                        size_t class_, int64_t *at)
{
    int64_t start = *at, chunk = (int64_t)p->set.world * LT_ZERO_ALIGN;
    lt_zero_segment *s = &p->segments[p->n_segments];

    for (int i = 0; i < t->n_params; i++) {
        if (t->params[i].unit != unit || !in_class(&t->params[i], persistent[i], class_))
            continue;
        p->places[i] = (lt_zero_place){ p->n_segments, *at };
        *at = (int64_t)LT_ALIGN_UP(*at + t->params[i].phys_count, LT_ZERO_ALIGN);
    }
    if (*at == start)
        return;
    *at = start + (int64_t)LT_ALIGN_UP(*at - start, chunk);
    *s = (lt_zero_segment){ .unit = unit,
                            .trainable = classes[class_].trainable,
                            .decay = classes[class_].decay,
                            .persistent = classes[class_].persistent,
                            .offset = start,
                            .count = *at - start,
                            .slice = (*at - start) / p->set.world };
    p->n_segments++;
}

static void cut_units(lt_zero_plan *p, const lt_param_table *t)
{
    bool *persistent = choose_persistent(t, &p->set);
    int64_t at = 0;

    for (int u = 0; u < t->n_units; u++) {
        p->units[u].first_segment = p->n_segments;
        p->units[u].offset = at;
        for (size_t c = 0; c < LT_COUNT(classes); c++)
            cut_segment(p, t, persistent, u, c, &at);
        p->units[u].n_segments = p->n_segments - p->units[u].first_segment;
        p->units[u].count = at - p->units[u].offset;
    }
    p->n_elements = at;
    p->n_owned = at / p->set.world;
    free(persistent);
}

lt_err lt_zero_plan_new(lt_zero_plan **out, const lt_param_table *t, const lt_zero_settings *set)
{
    lt_zero_plan *p;
    lt_err err;

    LT_BUG_ON(set->world < 1 || set->rank < 0 || set->rank >= set->world || t->n_units < 2);
    if (set->stage < 0 || set->stage > 3)
        return lt_fail(LT_EUSAGE, "zero: stage %d: expected 0 to 3", set->stage);
    if (set->param.kind != LT_TIER_NONE && set->stage != 3)
        return lt_fail(LT_EUSAGE, "zero: parameters are offloaded at stage 3 only, found stage %d",
                       set->stage);
    p = lt_new0(sizeof *p);
    p->set = *set;
    p->n_units = t->n_units;
    p->units = lt_new_array0((size_t)t->n_units, sizeof *p->units);
    p->segments = lt_new_array0((size_t)t->n_units * LT_COUNT(classes), sizeof *p->segments);
    p->places = lt_new_array0((size_t)t->n_params, sizeof *p->places);
    cut_units(p, t);
    LT_TRY(err = lt_zero_plan_place(p));
    *out = p;
    return LT_OK;
fail:
    lt_zero_plan_free(p);
    return err;
}

void lt_zero_plan_free(lt_zero_plan *p)
{
    if (!p)
        return;
    free(p->units);
    free(p->segments);
    free(p->places);
    free(p->param_slot_count);
    free(p->grad_slot_count);
    free(p->tiles);
    free(p->optimizer_record_bytes);
    free(p->param_record_bytes);
    free(p);
}

lt_zero_piece *lt_zero_plan_pieces(const lt_zero_plan *p, const lt_param_table *t, int *n)
{
    lt_zero_piece *pieces = lt_new_array0((size_t)t->n_params, sizeof *pieces);

    *n = 0;
    for (int i = 0; i < t->n_params; i++) {
        const lt_zero_segment *s = &p->segments[p->places[i].segment];
        int64_t mine = s->offset + s->slice * p->set.rank; /* flat start of the owned slice */
        int64_t from = p->places[i].offset, to = from + t->params[i].count;

        from = from > mine ? from : mine;
        to = to < mine + s->slice ? to : mine + s->slice;
        if (from >= to)
            continue;
        pieces[(*n)++] = (lt_zero_piece){ .param = i,
                                          .first = from - p->places[i].offset,
                                          .count = to - from,
                                          .owned = s->offset / p->set.world + (from - mine) };
    }
    return pieces;
}

/* The segment of a place in the space that holds 1 / parts of each segment. */
static const lt_zero_segment *segment_at(const lt_zero_plan *p, int64_t place, int parts)
{
    int low = 0, high = p->n_segments; /* segments[low] begins at or before place */

    while (high - low > 1) {
        int middle = low + (high - low) / 2;

        if (p->segments[middle].offset / parts <= place)
            low = middle;
        else
            high = middle;
    }
    return &p->segments[low];
}

int64_t lt_zero_plan_state_of(const lt_zero_plan *p, int64_t owned)
{
    const lt_zero_segment *s = segment_at(p, owned, p->set.world);

    LT_BUG_ON(owned < 0 || owned >= p->n_owned);
    if (p->set.stage != 0)
        return owned;
    return s->offset + s->slice * p->set.rank + (owned - s->offset / p->set.world);
}

lt_zero_run lt_zero_plan_run(const lt_zero_plan *p, int64_t first, int64_t count)
{
    int parts = p->set.stage == 0 ? 1 : p->set.world;
    const lt_zero_segment *s = segment_at(p, first, parts);
    int64_t in_segment = first - s->offset / parts, there = s->count / parts - in_segment;
    lt_zero_run run = { .tile = -1, .record = -1, .in_tile = -1, .moment = -1 };

    LT_BUG_ON(first < 0 || count < 1 || count > p->n_optimizer - first);
    run.master = s->n_tiles ? -1 : s->master + in_segment;
    if (s->n_tiles) {
        const lt_zero_tile *tile;

        run.tile = s->first_tile + (int)(in_segment / p->set.tile);
        tile = &p->tiles[run.tile];
        run.record = tile->record;
        run.in_tile = first - tile->first;
        there = tile->count - run.in_tile;
        if (tile->record < 0) {
            run.master = tile->master + run.in_tile;
            run.moment = tile->moment + run.in_tile;
        }
    }
    run.count = count < there ? count : there;
    return run;
}
