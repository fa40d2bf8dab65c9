/* test_act_plan.c - packed tensors keep their values while they live, and packing is worth it. */
#include "lt_test.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/act_plan.h"
#include "model/model.h"

#include <stdlib.h>

enum { MAX_SLOTS = 12, MAX_STEPS = 120, N_PROGRAMS = 60 };

/* A random program over a plan, replayed as often as one likes: each step may define a tensor, then
 * one operation touches it and another that is alive.  On the replay every tensor is filled with
 * its own number when defined and must still hold it whenever it is touched. */
typedef struct program {
    uint64_t seed;
    lt_act_plan *plan;
    lt_dev *recorder; /* NULL: replay */
    int n_slots;
    char *arena;
    lt_tensor held[MAX_SLOTS];
    uint8_t mark[MAX_SLOTS];
    int life[MAX_SLOTS];
    /* by life, from the recording */
    size_t bytes[MAX_STEPS];
    int first[MAX_STEPS], last[MAX_STEPS], n_lives;
} program;

static uint64_t draw(const program *g, int step, uint64_t what, uint64_t n)
{
    return lt_random_u64(g->seed, (uint64_t)step, what) % n;
}

static size_t bytes_of(lt_tensor t)
{
    return (size_t)(t.rows * t.cols) * lt_dtype_bytes(t.dtype);
}

static void define(program *g, int step, int slot)
{
    static const lt_dtype types[] = { LT_F32, LT_BF16, LT_I32 };
    lt_dtype type = types[draw(g, step, 2, 3)];
    int64_t rows = 1 + (int64_t)draw(g, step, 3, 20), cols = 1 + (int64_t)draw(g, step, 4, 90);

    g->held[slot] = lt_act_define(g->plan, slot, type, rows, cols);
    g->mark[slot] = (uint8_t)(1 + step);
    if (g->recorder) {
        g->life[slot] = g->n_lives++;
        g->bytes[g->life[slot]] = LT_ALIGN_UP(bytes_of(g->held[slot]), (size_t)256);
        g->first[g->life[slot]] = g->last[g->life[slot]] = step;
        return;
    }
    LT_CHECK_INT(g->held[slot].rows, rows);
    LT_CHECK_INT(g->held[slot].cols, cols);
    LT_CHECK_INT(g->held[slot].dtype, type);
    LT_CHECK_INT((uintptr_t)g->held[slot].data % 256, 0);
    memset(g->held[slot].data, g->mark[slot], bytes_of(g->held[slot]));
}

static void check_value(const program *g, int step, int slot)
{
    lt_tensor t = lt_act_use(g->plan, slot);
    const uint8_t *x = t.data;

    for (size_t i = 0; i < bytes_of(t); i++)
        LT_FAIL_IF(x[i] != g->mark[slot], "seed %d, step %d: slot %d holds %d, expected %d",
                   (int)g->seed, step, slot, x[i], g->mark[slot]);
}

static void run(program *g)
{
    lt_act_restart(g->plan);
    memset(g->held, 0, sizeof g->held);
    for (int step = 0; step < MAX_STEPS; step++) {
        int touched[2] = { (int)draw(g, step, 0, (uint64_t)g->n_slots),
                           (int)draw(g, step, 5, (uint64_t)g->n_slots) };

        if (draw(g, step, 1, 3) == 0 || !g->held[touched[0]].data)
            define(g, step, touched[0]);
        if (!g->held[touched[1]].data)
            touched[1] = touched[0];
        if (g->recorder) {
            /* a view that does not start where its tensor does counts as well */
            lt_tensor t = g->held[touched[1]], view = lt_rows(t, t.rows - 1, 1);

            g->last[g->life[touched[0]]] = g->last[g->life[touched[1]]] = step;
            g->recorder->ops->copy(g->recorder, g->held[touched[0]], view);
            continue;
        }
        check_value(g, step, touched[0]);
        check_value(g, step, touched[1]);
    }
}

static size_t most_alive(const program *g)
{
    size_t most = 0;

    for (int step = 0; step < MAX_STEPS; step++) {
        size_t alive = 0;

        for (int i = 0; i < g->n_lives; i++)
            alive += g->first[i] <= step && step <= g->last[i] ? g->bytes[i] : 0;
        most = alive > most ? alive : most;
    }
    return most;
}

LT_TEST(act_plan_random_programs_keep_their_values)
{
    size_t packed = 0, least = 0;

    for (int which = 0; which < N_PROGRAMS; which++) {
        program g = { .seed = (uint64_t)which, .n_slots = 1 + which % MAX_SLOTS };
        size_t bytes, sum = 0;

        g.plan = lt_act_plan_new(g.n_slots);
        g.recorder = lt_act_recorder_new(g.plan);
        run(&g);
        free(g.recorder);
        g.recorder = NULL;
        bytes = lt_act_pack(g.plan);
        for (int i = 0; i < g.n_lives; i++)
            sum += g.bytes[i];
        LT_CHECK(bytes >= most_alive(&g) && bytes <= sum);
        packed += bytes;
        least += most_alive(&g);
        g.arena = aligned_alloc(256, bytes); /* to the byte, so that a sanitizer sees its end */
        LT_CHECK(g.arena);
        lt_act_bind(g.plan, g.arena);
        for (int again = 0; again < 2; again++)
            run(&g);
        free(g.arena);
        lt_act_plan_free(g.plan);
    }
    LT_CHECK(packed < least + least / 4); /* no more than a quarter is lost to fragments */
    lt_act_plan_free(NULL);
}

/* A later run may have fewer rows: the same places, shorter tensors. */
LT_TEST(act_plan_fewer_rows_keep_the_place)
{
    lt_act_plan *p = lt_act_plan_new(2);
    lt_dev *recorder = lt_act_recorder_new(p);
    lt_tensor a, b, few;
    void *arena;

    a = lt_act_define(p, 0, LT_F32, 10, 64);
    b = lt_act_define(p, 1, LT_F32, 10, 64);
    recorder->ops->copy(recorder, a, b);
    free(recorder);
    arena = aligned_alloc(256, lt_act_pack(p));
    lt_act_bind(p, arena);
    lt_act_restart(p);
    a = lt_act_define(p, 0, LT_F32, 10, 64);
    b = lt_act_define(p, 1, LT_F32, 10, 64);
    lt_act_restart(p);
    few = lt_act_define(p, 0, LT_F32, 3, 64);
    LT_CHECK(few.data == a.data);
    LT_CHECK_INT(few.rows, 3);
    few = lt_act_define(p, 1, LT_F32, 1, 64);
    LT_CHECK(few.data == b.data);
    free(arena);
    lt_act_plan_free(p);
}

static lt_model *model_of(lt_param_table **table, lt_recompute recompute, int64_t n_layer)
{
    lt_model_shape shape = { .n_batch = 4,
                             .seq = 256,
                             .act = LT_BF16,
                             .grad = LT_F32,
                             .recompute = recompute,
                             .uses = { true, true, true, false } };
    lt_model_config config;
    lt_model *m = NULL;

    if (!lt_model_config_named(&config, "gpt2"))
        return NULL;
    config.n_layer = n_layer;
    *table = lt_param_table_new(&config);
    return lt_model_new(&m, &config, *table, &shape) == LT_OK ? m : NULL;
}

static size_t train_bytes(lt_recompute recompute, int64_t n_layer)
{
    lt_param_table *table = NULL;
    lt_model *m = model_of(&table, recompute, n_layer);
    size_t bytes = m ? lt_model_use_bytes(m, LT_USE_TRAIN) : 0;

    lt_model_free(m);
    lt_param_table_free(table);
    return bytes;
}

LT_TEST(act_plan_recompute_saves_memory)
{
    size_t none = train_bytes(LT_RECOMPUTE_NONE, 12);
    size_t selective = train_bytes(LT_RECOMPUTE_SELECTIVE, 12);
    size_t block = train_bytes(LT_RECOMPUTE_BLOCK, 12);

    LT_CHECK(block > 0 && block < selective && selective < none);
}

/* What one more layer costs is what its recompute setting keeps: in widths C of bf16 a row, all of
 * 16 (input, norm1, 3 qkv, att, mid, norm2, 4 fc, 4 act), 10 without norms and act, 1 the input. */
LT_TEST(act_plan_a_layer_costs_what_it_keeps)
{
    const size_t width = 4 * 256 * 768 * 2;
    static const struct {
        lt_recompute recompute;
        size_t widths;
    } rows[] = { { LT_RECOMPUTE_NONE, 16 },
                 { LT_RECOMPUTE_SELECTIVE, 10 },
                 { LT_RECOMPUTE_BLOCK, 1 } };

    for (size_t i = 0; i < LT_COUNT(rows); i++) {
        size_t layer = (train_bytes(rows[i].recompute, 12) - train_bytes(rows[i].recompute, 8)) / 4;

        LT_FAIL_IF(layer < rows[i].widths * width || layer > rows[i].widths * width + width / 4,
                   "recompute %d: a layer costs %.2f widths, expected %zu and the statistics",
                   (int)rows[i].recompute, (double)layer / (double)width, rows[i].widths);
    }
}

/* Evaluation keeps nothing, so depth costs nothing. */
LT_TEST(act_plan_evaluation_does_not_grow_with_depth)
{
    lt_param_table *tables[2] = { NULL };
    lt_model *a = model_of(&tables[0], LT_RECOMPUTE_NONE, 2);
    lt_model *b = model_of(&tables[1], LT_RECOMPUTE_NONE, 12);

    LT_CHECK(a && b);
    LT_CHECK_INT(lt_model_use_bytes(a, LT_USE_EVALUATE), lt_model_use_bytes(b, LT_USE_EVALUATE));
    LT_CHECK(lt_model_use_bytes(b, LT_USE_EVALUATE) < lt_model_use_bytes(b, LT_USE_TRAIN));
    LT_CHECK_INT(lt_model_arena_bytes(b), lt_model_use_bytes(b, LT_USE_TRAIN));
    lt_model_free(a);
    lt_model_free(b);
    lt_param_table_free(tables[0]);
    lt_param_table_free(tables[1]);
}
