/* test_plan.c - what every ZeRO plan must satisfy, over many models and numbers of ranks. */
#include "lt_test.h"
#include "base/mem.h"
#include "base/rng.h"
#include "zero/plan.h"

#include <stdlib.h>

static const int worlds[] = { 1, 2, 3, 4, 7, 8, 64 };

enum { N_RANDOM = 40 };

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
            at += s->count;
        }
        LT_CHECK_INT(p->units[u].offset + p->units[u].count, at);
    }
    LT_CHECK_INT(p->n_segments, segment);
    LT_CHECK_INT(p->n_elements, at);
    LT_CHECK_INT(p->n_owned * p->set.world, at);
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
            lt_zero_settings set = { .stage = (int)(which % 4),
                                     .world = worlds[w],
                                     .rank = rank,
                                     .compute = LT_BF16,
                                     .grad = LT_F32 };
            lt_zero_plan *p = NULL;

            LT_CHECK_OK(lt_zero_plan_new(&p, t, &set));
            if (rank == 0) {
                check_segments(p);
                check_places(p, t);
            }
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

/* The same pieces at every stage: a checkpoint of one stage is read by another. */
LT_TEST(plan_pieces_do_not_depend_on_the_stage)
{
    lt_model_config m = random_model(3);
    lt_param_table *t = lt_param_table_new(&m);

    for (int rank = 0; rank < 4; rank++) {
        lt_zero_piece *first = NULL;
        int n_first = 0;

        for (int stage = 0; stage <= 3; stage++) {
            lt_zero_settings set = { .stage = stage,
                                     .world = 4,
                                     .rank = rank,
                                     .compute = stage % 2 ? LT_BF16 : LT_F32,
                                     .grad = LT_F32 };
            lt_zero_plan *p = NULL;
            lt_zero_piece *pieces;
            int n = 0;

            LT_CHECK_OK(lt_zero_plan_new(&p, t, &set));
            pieces = lt_zero_plan_pieces(p, t, &n);
            if (!first) {
                first = pieces;
                n_first = n;
            } else {
                LT_CHECK_INT(n, n_first);
                for (int i = 0; i < n; i++) {
                    LT_CHECK_INT(pieces[i].param, first[i].param);
                    LT_CHECK_INT(pieces[i].first, first[i].first);
                    LT_CHECK_INT(pieces[i].count, first[i].count);
                    LT_CHECK_INT(pieces[i].owned, first[i].owned);
                }
                free(pieces);
            }
            lt_zero_plan_free(p);
        }
        free(first);
    }
    lt_param_table_free(t);
}

static lt_zero_bytes bytes_of(int stage, int world, lt_dtype compute, lt_dtype grad, int64_t *n)
{
    lt_model_config m = random_model(5);
    lt_param_table *t = lt_param_table_new(&m);
    lt_zero_settings set = { .stage = stage, .world = world, .compute = compute, .grad = grad };
    lt_zero_plan *p = NULL;
    lt_zero_bytes b = { 0 };

    if (lt_zero_plan_new(&p, t, &set) == LT_OK) {
        b = lt_zero_plan_bytes(p);
        *n = p->n_elements;
    }
    lt_zero_plan_free(p);
    lt_param_table_free(t);
    return b;
}

/* Rajbhandari et al. 2020, figure 1: optimizer state, then gradients, then parameters are cut. */
LT_TEST(plan_bytes_by_stage)
{
    for (int stage = 0; stage <= 3; stage++) {
        int64_t n = 0;
        lt_zero_bytes b = bytes_of(stage, 8, LT_BF16, LT_F32, &n);
        int64_t optim = stage >= 1 ? n / 8 : n;

        LT_CHECK(n > 0 && n % 8 == 0);
        LT_CHECK_INT(b.params, 2 * (stage >= 3 ? n / 8 : n));
        LT_CHECK_INT(b.grads, 4 * (stage >= 2 ? n / 8 : n));
        LT_CHECK_INT(b.master, 4 * optim);
        LT_CHECK_INT(b.moment1, 4 * optim);
        LT_CHECK_INT(b.moment2, 4 * optim);
    }
}

/* One rank in fp32 trains the compute weights themselves; with more ranks the slices are apart. */
LT_TEST(plan_master_is_compute_for_one_fp32_rank)
{
    int64_t n = 0;
    lt_zero_bytes one = bytes_of(0, 1, LT_F32, LT_F32, &n);

    LT_CHECK_INT(one.params, 4 * n);
    LT_CHECK_INT(one.master, 0);
    LT_CHECK_INT(bytes_of(0, 1, LT_BF16, LT_BF16, &n).master, 4 * n);
    LT_CHECK_INT(bytes_of(0, 1, LT_BF16, LT_BF16, &n).grads, 2 * n);
    LT_CHECK_INT(bytes_of(1, 2, LT_F32, LT_F32, &n).master, 4 * n / 2);
}

LT_TEST(plan_refuses_an_unknown_stage)
{
    lt_model_config m = random_model(0);
    lt_param_table *t = lt_param_table_new(&m);
    lt_zero_plan *p = NULL;

    for (int stage = -1; stage <= 4; stage += 5)
        LT_CHECK_FAILS(lt_zero_plan_new(&p, t, &(lt_zero_settings){ .stage = stage, .world = 1 }),
                       LT_EUSAGE, "expected 0 to 3");
    LT_CHECK(!p);
    lt_param_table_free(t);
    lt_zero_plan_free(NULL);
}
