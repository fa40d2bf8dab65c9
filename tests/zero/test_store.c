/* test_store.c - the buffers of one rank: values round trip, views meet, nothing moves that should
 * not. */
#include "lt_test.h"
#include "base/mem.h"
#include "base/rng.h"
#include "zero/store.h"

#include <stdlib.h>

typedef struct world {
    lt_model_config config;
    lt_param_table *table;
    lt_zero_plan *plan;
    lt_dev *dev;
    lt_comm *comm;
    lt_zero_store *store;
    lt_zero_piece *pieces;
    int n_pieces;
} world;

static lt_err world_open(world *w, lt_dtype compute, lt_dtype grad, bool training)
{
    lt_zero_settings set = { .world = 1, .compute = compute, .grad = grad };
    lt_err err;

    *w = (world){ 0 };
    if (!lt_model_config_named(&w->config, "gpt2"))
        return lt_fail(LT_ENOENT, "no gpt2");
    w->config.n_layer = 2;
    w->config.n_embd = 12;
    w->config.n_head = w->config.n_kv_head = 3;
    w->config.head_dim = 4;
    w->config.n_inner = 20;
    w->config.vocab_size = 37;
    w->config.n_positions = 9;
    w->config.tied = false;
    w->table = lt_param_table_new(&w->config);
    /* one frozen matrix and one frozen vector */
    w->table->params[lt_param_find(w->table, LT_ROLE_FC_WEIGHT, 1)].trainable = false;
    w->table->params[lt_param_find(w->table, LT_ROLE_FC_BIAS, 1)].trainable = false;
    LT_TRY(err = lt_zero_plan_new(&w->plan, w->table, &set));
    LT_TRY(err = lt_dev_open(&w->dev, "cpu", &(lt_dev_options){ .n_threads = 1 }));
    w->comm = lt_comm_self_new(w->dev);
    LT_TRY(err = lt_zero_store_open(&w->store, w->dev, w->comm, w->plan, w->table, training));
    w->pieces = lt_zero_plan_pieces(w->plan, w->table, &w->n_pieces);
fail:
    return err;
}

static void world_close(world *w)
{
    free(w->pieces);
    lt_zero_store_close(w->store);
    lt_comm_close(w->comm);
    lt_dev_close(w->dev);
    lt_zero_plan_free(w->plan);
    lt_param_table_free(w->table);
}

/* Another value for each (class, parameter, element), not exact in bf16. */
static float value_of(lt_zero_class which, int param, int64_t element)
{
    return (float)lt_random_normal(50 + which, (uint64_t)param, (uint64_t)element);
}

static void write_all(world *w, lt_zero_class which)
{
    for (int i = 0; i < w->n_pieces; i++) {
        const lt_zero_piece *c = &w->pieces[i];
        float *values = lt_new_array0((size_t)c->count, sizeof *values);

        for (int64_t k = 0; k < c->count; k++)
            values[k] = value_of(which, c->param, c->first + k);
        LT_CHECK_OK(lt_zero_write(w->store, which, c, values));
        free(values);
    }
}

static void check_read(world *w, lt_zero_class which)
{
    for (int i = 0; i < w->n_pieces; i++) {
        const lt_zero_piece *c = &w->pieces[i];
        float *values = lt_new_array0((size_t)c->count, sizeof *values);

        LT_CHECK_OK(lt_zero_read(w->store, which, c, values));
        for (int64_t k = 0; k < c->count; k++)
            LT_CHECK(values[k] == value_of(which, c->param, c->first + k));
        free(values);
    }
}

/* The gathered parameters are the masters, cast; their pad rows are zero. */
static void check_params(world *w)
{
    for (int i = 0; i < w->table->n_params; i++) {
        const lt_param *p = &w->table->params[i];
        lt_tensor t = lt_zero_param(w->store, i);

        LT_CHECK_INT(t.rows, p->phys_rows);
        LT_CHECK_INT(t.cols, p->cols);
        LT_CHECK_INT(t.stride, p->cols);
        LT_CHECK_INT(t.dtype, w->plan->set.compute);
        for (int64_t k = 0; k < p->phys_count; k++) {
            float want = k < p->count ? value_of(LT_ZERO_MASTER, i, k) : 0.0f, found;

            if (t.dtype == LT_BF16) {
                found = lt_bf16_to_f32(((const uint16_t *)t.data)[k]);
                want = lt_bf16_to_f32(lt_f32_to_bf16(want));
            } else {
                found = lt_f32(t)[k];
            }
            LT_CHECK(found == want);
        }
    }
}

static void check_round_trip(lt_dtype compute)
{
    world w;

    LT_CHECK_OK(world_open(&w, compute, LT_F32, true));
    for (int which = LT_ZERO_MASTER; which <= LT_ZERO_MOMENT2; which++)
        write_all(&w, (lt_zero_class)which);
    LT_CHECK_OK(lt_zero_refresh(w.store));
    for (int which = LT_ZERO_MASTER; which <= LT_ZERO_MOMENT2; which++)
        check_read(&w, (lt_zero_class)which);
    check_params(&w);
    world_close(&w);
}

LT_TEST(store_round_trip_fp32)
{
    check_round_trip(LT_F32);
}

LT_TEST(store_round_trip_bf16)
{
    check_round_trip(LT_BF16);
}

LT_TEST(store_starts_at_zero)
{
    world w;

    LT_CHECK_OK(world_open(&w, LT_BF16, LT_F32, true));
    for (int i = 0; i < w.n_pieces; i++) {
        float *values = lt_new_array0((size_t)w.pieces[i].count, sizeof *values);

        for (int which = LT_ZERO_MOMENT1; which <= LT_ZERO_MOMENT2; which++) {
            LT_CHECK_OK(lt_zero_read(w.store, (lt_zero_class)which, &w.pieces[i], values));
            for (int64_t k = 0; k < w.pieces[i].count; k++)
                LT_CHECK(values[k] == 0);
        }
        free(values);
    }
    world_close(&w);
}

static bool overlap(lt_tensor a, lt_tensor b)
{
    const char *a0 = a.data, *b0 = b.data;
    const char *a1 = a0 + (size_t)a.cols * lt_dtype_bytes(a.dtype);
    const char *b1 = b0 + (size_t)b.cols * lt_dtype_bytes(b.dtype);

    return a0 < b1 && b0 < a1;
}

/* Slices are the trainable segments, each once, with the views of the same elements. */
static void check_slices(lt_dtype compute, lt_dtype grad)
{
    world w;
    int n = 0;

    LT_CHECK_OK(world_open(&w, compute, grad, true));
    for (int s = 0; s < w.plan->n_segments; s++) {
        const lt_zero_segment *g = &w.plan->segments[s];
        lt_zero_slice z;

        if (!g->trainable)
            continue;
        LT_CHECK(n < lt_zero_n_slices(w.store));
        z = lt_zero_slice_at(w.store, n++);
        LT_CHECK_INT(z.decay, g->decay);
        LT_CHECK_INT(z.master.cols, g->slice);
        LT_CHECK_INT(z.moment1.cols, g->slice);
        LT_CHECK_INT(z.moment2.cols, g->slice);
        LT_CHECK_INT(z.grad.cols, g->slice);
        LT_CHECK_INT(z.grad.dtype, grad);
        LT_CHECK_INT(z.copy.data != NULL, compute == LT_BF16);
        LT_CHECK(!overlap(z.master, z.moment1) && !overlap(z.moment1, z.moment2));
        LT_CHECK(!overlap(z.master, z.grad));
        for (int i = 0; i < w.table->n_params; i++) {
            lt_tensor p = lt_zero_param(w.store, i), dp = lt_zero_grad(w.store, i);
            int64_t at = w.plan->places[i].offset - g->offset;

            if (w.plan->places[i].segment != s)
                continue;
            LT_CHECK(dp.data == lt_at(z.grad, 0, at));
            LT_CHECK_INT(dp.rows, w.table->params[i].phys_rows);
            LT_CHECK(p.data == lt_at(z.copy.data ? z.copy : z.master, 0, at));
        }
    }
    LT_CHECK_INT(lt_zero_n_slices(w.store), n);
    world_close(&w);
}

LT_TEST(store_slices_view_the_flat_buffers)
{
    check_slices(LT_F32, LT_F32);
    check_slices(LT_BF16, LT_F32);
    check_slices(LT_BF16, LT_BF16);
}

/* A number in every gradient stands after reduce, in exactly one slice; publish and gather leave
 * the parameters as they are. */
LT_TEST(store_of_one_rank_moves_nothing)
{
    world w;
    double written = 0, found = 0;

    LT_CHECK_OK(world_open(&w, LT_BF16, LT_F32, true));
    write_all(&w, LT_ZERO_MASTER);
    LT_CHECK_OK(lt_zero_refresh(w.store));
    for (int i = 0; i < w.table->n_params; i++)
        for (int64_t k = 0; k < w.table->params[i].count; k++) {
            if (!w.table->params[i].trainable)
                continue;
            lt_f32(lt_zero_grad(w.store, i))[k] = (float)(1 + i);
            written += 1 + i;
        }
    for (int u = 0; u < w.plan->n_units; u++) {
        lt_zero_gather(w.store, u);
        LT_CHECK_OK(lt_zero_reduce(w.store, u));
        lt_zero_release(w.store, u);
    }
    LT_CHECK_OK(lt_zero_publish(w.store));
    for (int s = 0; s < lt_zero_n_slices(w.store); s++) {
        lt_zero_slice z = lt_zero_slice_at(w.store, s);

        for (int64_t k = 0; k < z.grad.cols; k++)
            found += (double)lt_f32(z.grad)[k];
    }
    LT_CHECK(written > 0 && found == written);
    check_params(&w);
    check_read(&w, LT_ZERO_MASTER);
    world_close(&w);
}

LT_TEST(store_without_training_holds_parameters)
{
    world w;

    LT_CHECK_OK(world_open(&w, LT_F32, LT_F32, false));
    write_all(&w, LT_ZERO_MASTER);
    LT_CHECK_OK(lt_zero_refresh(w.store));
    check_params(&w);
    world_close(&w);
}

LT_TEST(store_refuses_what_is_not_built)
{
    static const lt_zero_settings settings[] = { { .stage = 1, .world = 1 },
                                                 { .stage = 0, .world = 2 } };
    static const char *const sentences[] = { "stage 1 is planned", "2 ranks are planned" };
    world w;

    LT_CHECK_OK(world_open(&w, LT_F32, LT_F32, true));
    for (size_t i = 0; i < LT_COUNT(settings); i++) {
        lt_zero_store *z = NULL;
        lt_zero_plan *p = NULL;

        LT_CHECK_OK(lt_zero_plan_new(&p, w.table, &settings[i]));
        LT_CHECK_FAILS(lt_zero_store_open(&z, w.dev, w.comm, p, w.table, true), LT_ENOTSUP,
                       sentences[i]);
        LT_CHECK(!z);
        lt_zero_plan_free(p);
    }
    world_close(&w);
    lt_zero_store_close(NULL);
}
