/* zero/plan.c - cutting parameters into units, segments and owned slices. */
#include "zero/plan.h"

#include <stdlib.h>

/* The classes of a unit in the order in which their segments lie. */
static const struct {
    bool trainable, decay;
} classes[] = { { true, true }, { true, false }, { false, false } };

static bool in_class(const lt_param *p, size_t c)
{
    bool decay = p->trainable && p->decay;

    return p->trainable == classes[c].trainable && decay == classes[c].decay;
}

/* Places the unit's parameters of one class from *at on; adds a segment if there were any. */
static void cut_segment(lt_zero_plan *p, const lt_param_table *t, int unit, size_t class_,
                        int64_t *at)
{
    int64_t start = *at, chunk = (int64_t)p->set.world * LT_ZERO_ALIGN;
    lt_zero_segment *s = &p->segments[p->n_segments];

    for (int i = 0; i < t->n_params; i++) {
        if (t->params[i].unit != unit || !in_class(&t->params[i], class_))
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
                            .offset = start,
                            .count = *at - start,
                            .slice = (*at - start) / p->set.world };
    p->n_segments++;
}

lt_err lt_zero_plan_new(lt_zero_plan **out, const lt_param_table *t, const lt_zero_settings *set)
{
    lt_zero_plan *p;
    int64_t at = 0;

    if (set->stage < 0 || set->stage > 3)
        return lt_fail(LT_EUSAGE, "zero: stage %d: expected 0 to 3", set->stage);
    LT_BUG_ON(set->world < 1 || set->rank < 0 || set->rank >= set->world);
    p = lt_new0(sizeof *p);
    p->set = *set;
    p->n_units = t->n_units;
    p->units = lt_new_array0((size_t)t->n_units, sizeof *p->units);
    p->segments = lt_new_array0((size_t)t->n_units * LT_COUNT(classes), sizeof *p->segments);
    p->places = lt_new_array0((size_t)t->n_params, sizeof *p->places);
    for (int u = 0; u < t->n_units; u++) {
        p->units[u].first_segment = p->n_segments;
        p->units[u].offset = at;
        for (size_t c = 0; c < LT_COUNT(classes); c++)
            cut_segment(p, t, u, c, &at);
        p->units[u].n_segments = p->n_segments - p->units[u].first_segment;
        p->units[u].count = at - p->units[u].offset;
    }
    p->n_elements = at;
    p->n_owned = at / set->world;
    p->master_is_compute = set->compute == LT_F32 && set->world == 1;
    *out = p;
    return LT_OK;
}

void lt_zero_plan_free(lt_zero_plan *p)
{
    if (!p)
        return;
    free(p->units);
    free(p->segments);
    free(p->places);
    free(p);
}

lt_zero_bytes lt_zero_plan_bytes(const lt_zero_plan *p)
{
    /* Stage 1 cuts optimizer state, 2 the gradients, 3 the parameters (whose gathered units come on
     * top when stage 3 is built). */
    uint64_t all = (uint64_t)p->n_elements, owned = (uint64_t)p->n_owned;
    uint64_t optim = p->set.stage >= 1 ? owned : all;
    uint64_t fp32 = sizeof(float);

    return (lt_zero_bytes){
        .params = (p->set.stage >= 3 ? owned : all) * lt_dtype_bytes(p->set.compute),
        .grads = p->set.stage >= 2 ? owned * fp32 : all * lt_dtype_bytes(p->set.grad),
        .master = p->master_is_compute ? 0 : optim * fp32,
        .moment1 = optim * fp32,
        .moment2 = optim * fp32,
    };
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
