/* test_engine.c - one engine of one rank on the CPU: what a step computes must not depend on
 * threads, micro-batches or what is recomputed, and a gradient that is not finite changes
 * nothing. */
#include "train_fixture.h"

#include <math.h>

enum { MOST_STEPS = 16 };

typedef struct trial {
    lt_engine_options options;
    int n_micro, n_steps;
    uint64_t seed;
    bool new_data; /* every step its own tokens */
    double losses[MOST_STEPS], norms[MOST_STEPS];
    float *weights;
    size_t n_weights;
} trial;

/* Trains from fresh weights; FIX_ROWS rows a step whatever the micro-batch. */
static lt_err run_trial(trial *t)
{
    lt_engine *e = NULL;
    lt_engine_batch micro[8];
    lt_engine_result result;
    fix_batch batch;
    lt_err err;

    LT_TRY(err = lt_engine_open(&e, &t->options));
    LT_TRY(err = lt_engine_init_weights(e, t->seed));
    for (int step = 0; step < t->n_steps; step++) {
        int64_t counted = fix_fill(&batch, FIX_ROWS, t->new_data ? (uint64_t)step : 0);

        for (int i = 0; i < t->n_micro; i++)
            micro[i] = fix_micro(&batch, i * t->options.shape.n_batch * FIX_T);
        LT_TRY(err = lt_engine_step(e, micro, t->n_micro, counted, 1e-2, &result));
        t->losses[step] = result.loss;
        t->norms[step] = result.grad_norm;
    }
    free(t->weights);
    err = fix_values(e, LT_ZERO_MASTER, &t->weights, &t->n_weights);
fail:
    lt_engine_close(e);
    return err;
}

static trial trial_of(const lt_model_config *config)
{
    return (trial){ .options = fix_options(config, FIX_ROWS / FIX_T),
                    .n_micro = 1,
                    .n_steps = 3,
                    .seed = 7,
                    .new_data = true };
}

static bool same_bits(const trial *a, const trial *b)
{
    return memcmp(a->losses, b->losses, sizeof a->losses) == 0 &&
           memcmp(a->norms, b->norms, sizeof a->norms) == 0 && a->n_weights == b->n_weights &&
           memcmp(a->weights, b->weights, a->n_weights * sizeof *a->weights) == 0;
}

/* Two trials that must agree in every bit of losses, norms and weights. */
static void check_same(trial *a, trial *b)
{
    LT_CHECK_OK(run_trial(a));
    LT_CHECK_OK(run_trial(b));
    LT_CHECK(a->losses[0] > 1 && a->norms[0] > 0);
    LT_CHECK(same_bits(a, b));
    free(a->weights);
    free(b->weights);
}

LT_TEST(engine_same_seed_same_bits)
{
    lt_model_config config = fix_config();
    trial a = trial_of(&config), b = trial_of(&config), c = trial_of(&config);

    check_same(&a, &b);
    c.seed = 8;
    LT_CHECK_OK(run_trial(&c));
    LT_CHECK(a.losses[0] != c.losses[0]);
    free(c.weights);
}

LT_TEST(engine_threads_change_no_bit)
{
    lt_model_config config = fix_config();

    /* large enough that every operation is cut into several tasks */
    config.n_embd = 192;
    config.n_inner = 768;
    config.head_dim = 64;
    for (int precision = 0; precision < 2; precision++) {
        trial a = trial_of(&config), b = trial_of(&config);

        a.options.shape.act = b.options.shape.act = precision ? LT_BF16 : LT_F32;
        a.options.dev.n_threads = 1;
        b.options.dev.n_threads = 3;
        check_same(&a, &b);
    }
}

LT_TEST(engine_recompute_changes_no_bit)
{
    static const lt_recompute kinds[] = { LT_RECOMPUTE_SELECTIVE, LT_RECOMPUTE_BLOCK };
    lt_model_config config = fix_config();

    for (int precision = 0; precision < 2; precision++)
        for (size_t i = 0; i < LT_COUNT(kinds); i++) {
            trial none = trial_of(&config), less = trial_of(&config);

            none.options.shape.act = less.options.shape.act = precision ? LT_BF16 : LT_F32;
            less.options.shape.recompute = kinds[i];
            check_same(&none, &less);
        }
}

LT_TEST(engine_accumulation_is_a_larger_batch)
{
    lt_model_config config = fix_config();
    trial whole = trial_of(&config), pieces = trial_of(&config);

    pieces.options.shape.n_batch /= 4;
    pieces.n_micro = 4;
    LT_CHECK_OK(run_trial(&whole));
    LT_CHECK_OK(run_trial(&pieces));
    for (int i = 0; i < whole.n_steps; i++) {
        LT_CHECK_NEAR(pieces.losses[i], whole.losses[i], 1e-6 * whole.losses[i]);
        LT_CHECK_NEAR(pieces.norms[i], whole.norms[i], 1e-5 * whole.norms[i]);
    }
    free(whole.weights);
    free(pieces.weights);
}

LT_TEST(engine_loss_falls_in_both_precisions)
{
    lt_model_config config = fix_config();
    trial fp32 = trial_of(&config), bf16 = trial_of(&config);

    fp32.n_steps = bf16.n_steps = MOST_STEPS;
    fp32.new_data = bf16.new_data = false;
    bf16.options.shape.act = LT_BF16;
    LT_CHECK_OK(run_trial(&fp32));
    LT_CHECK_OK(run_trial(&bf16));
    for (int i = 1; i < MOST_STEPS; i++)
        LT_CHECK(fp32.losses[i] < fp32.losses[i - 1]);
    LT_CHECK(bf16.losses[MOST_STEPS - 1] < 0.7 * bf16.losses[0]);
    /* eight bits of mantissa: the runs stay near each other, and are not the same run */
    LT_CHECK_NEAR(bf16.losses[0], fp32.losses[0], 2e-2 * fp32.losses[0]);
    LT_CHECK_NEAR(bf16.losses[MOST_STEPS - 1], fp32.losses[MOST_STEPS - 1], 0.1 * fp32.losses[0]);
    LT_CHECK(bf16.losses[0] != fp32.losses[0]);
    free(fp32.weights);
    free(bf16.weights);
}

LT_TEST(engine_plan_is_what_open_takes)
{
    static const lt_recompute kinds[] = { LT_RECOMPUTE_NONE, LT_RECOMPUTE_SELECTIVE,
                                          LT_RECOMPUTE_BLOCK };
    lt_model_config config = fix_config();
    uint64_t activations[LT_COUNT(kinds)];

    for (size_t i = 0; i < 2 * LT_COUNT(kinds); i++) {
        lt_engine_options o = fix_options(&config, 4);
        lt_engine_bytes planned, used;
        lt_engine *e = NULL;

        o.shape.recompute = kinds[i / 2];
        o.shape.act = i % 2 ? LT_BF16 : LT_F32;
        o.shape.uses[LT_USE_LOGITS] = o.shape.uses[LT_USE_GENERATE] = true;
        o.shape.generate_batch = 1;
        o.shape.generate_prompt = 4;
        o.shape.generate_total = config.n_positions;
        LT_CHECK_OK(lt_engine_plan(&planned, &o));
        LT_CHECK_OK(lt_engine_open(&e, &o));
        used = lt_engine_bytes_used(e);
        LT_CHECK(memcmp(&planned, &used, sizeof used) == 0);
        LT_CHECK_INT(used.total, used.state.params + used.state.grads + used.state.master +
                                     used.state.moment1 + used.state.moment2 + used.activations +
                                     used.kv_cache + used.batch + used.scratch);
        LT_CHECK_INT(used.state.moment1, used.state.moment2);
        LT_CHECK(used.kv_cache > 0 && used.activations > 0);
        /* the store really holds that many elements */
        LT_CHECK_INT(used.state.moment1, lt_engine_zero_plan(e)->n_owned * (int64_t)sizeof(float));
        if (i % 2 == 0)
            activations[i / 2] = used.activations;
        lt_engine_close(e);
    }
    LT_CHECK(activations[0] > activations[1] && activations[1] > activations[2]);
}

LT_TEST(engine_plan_refuses_an_unknown_device_and_a_long_sequence)
{
    lt_model_config config = fix_config();
    lt_engine_options o = fix_options(&config, 2);
    lt_engine_bytes bytes;
    lt_engine *e = NULL;

    o.device = "tpu";
    LT_CHECK_FAILS(lt_engine_plan(&bytes, &o), LT_EUSAGE, "expected cpu or cuda, found \"tpu\"");
    o.device = "cpu";
    o.shape.seq = config.n_positions + 1;
    LT_CHECK_FAILS(lt_engine_plan(&bytes, &o), LT_EUSAGE, "17");
    LT_CHECK_FAILS(lt_engine_open(&e, &o), LT_EUSAGE, "17");
    LT_CHECK(e == NULL);
}

LT_TEST(engine_evaluation_is_the_loss_of_the_training_pass)
{
    lt_model_config config = fix_config();

    for (int precision = 0; precision < 2; precision++) {
        lt_engine_options o = fix_options(&config, 4);
        lt_engine *e = NULL;
        lt_engine_batch micro;
        lt_engine_result result;
        fix_batch batch;
        double sum = 0, again = 0;
        int64_t counted = fix_fill(&batch, 4 * FIX_T, 3);

        o.shape.act = precision ? LT_BF16 : LT_F32;
        micro = fix_micro(&batch, 0);
        LT_CHECK_OK(lt_engine_open(&e, &o));
        LT_CHECK_OK(lt_engine_init_weights(e, 1));
        LT_CHECK_OK(lt_engine_evaluate(e, &micro, &sum));
        LT_CHECK_OK(lt_engine_step(e, &micro, 1, counted, 1e-2, &result));
        LT_CHECK(result.loss == sum / (double)counted);
        LT_CHECK_OK(lt_engine_evaluate(e, &micro, &sum));
        LT_CHECK(sum / (double)counted < result.loss);
        LT_CHECK_OK(lt_engine_evaluate(e, &micro, &again)); /* evaluating leaves no trace */
        LT_CHECK(sum == again);
        lt_engine_close(e);
    }
}

LT_TEST(engine_documents_apart_are_sequences_apart)
{
    lt_model_config config = fix_config();
    lt_engine_options one = fix_options(&config, 1), two = fix_options(&config, 2);
    lt_engine *joined = NULL, *apart = NULL;
    fix_batch a, b;
    lt_engine_batch micro;
    double sum_joined = 0, sum_apart = 0;

    /* one row of 8 = two documents of 4; two rows of 4, each padded by targets that do not count */
    fix_fill(&a, FIX_T, 5);
    fix_fill(&b, 2 * FIX_T, 6);
    for (int i = 0; i < FIX_T; i++) {
        int half = i / 4, at = half * FIX_T + i % 4;

        a.doc_start[i] = half * 4;
        a.positions[i] = i % 4;
        b.ids[at] = a.ids[i];
        b.targets[at] = a.targets[i];
        b.targets[at + 4] = -100;
    }
    LT_CHECK_OK(lt_engine_open(&joined, &one));
    LT_CHECK_OK(lt_engine_open(&apart, &two));
    LT_CHECK_OK(lt_engine_init_weights(joined, 1));
    LT_CHECK_OK(lt_engine_init_weights(apart, 1));
    micro = fix_micro(&a, 0);
    micro.doc_start = a.doc_start;
    LT_CHECK_OK(lt_engine_evaluate(joined, &micro, &sum_joined));
    micro = fix_micro(&b, 0);
    LT_CHECK_OK(lt_engine_evaluate(apart, &micro, &sum_apart));
    LT_CHECK_NEAR(sum_joined, sum_apart, 1e-5 * sum_apart);
    lt_engine_close(joined);
    lt_engine_close(apart);
}

/* Puts `value` into the first element of the final norm's bias. */
static lt_err poison(lt_engine *e, float value)
{
    int n = 0, row = lt_param_find(lt_engine_table(e), LT_ROLE_FINAL_NORM_BIAS, -1);
    lt_zero_piece *pieces = lt_zero_plan_pieces(lt_engine_zero_plan(e), lt_engine_table(e), &n);
    float values[64];
    lt_err err = LT_OK;

    for (int i = 0; i < n; i++) {
        if (pieces[i].param != row)
            continue;
        LT_TRY(err = lt_zero_read(lt_engine_store(e), LT_ZERO_MASTER, &pieces[i], values));
        values[0] = value;
        LT_TRY(err = lt_zero_write(lt_engine_store(e), LT_ZERO_MASTER, &pieces[i], values));
    }
    err = lt_zero_refresh(lt_engine_store(e));
fail:
    free(pieces);
    return err;
}

LT_TEST(engine_skips_a_step_whose_gradient_is_not_finite)
{
    lt_model_config config = fix_config();

    for (int precision = 0; precision < 2; precision++) {
        lt_engine_options o = fix_options(&config, 4);
        float *before[3], *after[3];
        size_t n;
        lt_engine *e = NULL;
        lt_engine_result result;
        lt_engine_batch micro;
        fix_batch batch;
        lt_step_state now;
        int64_t counted = fix_fill(&batch, 4 * FIX_T, 3);

        o.shape.act = precision ? LT_BF16 : LT_F32;
        micro = fix_micro(&batch, 0);
        LT_CHECK_OK(lt_engine_open(&e, &o));
        LT_CHECK_OK(lt_engine_init_weights(e, 1));
        LT_CHECK_OK(lt_engine_step(e, &micro, 1, counted, 1e-2, &result));
        LT_CHECK(!result.skipped);
        LT_CHECK_OK(poison(e, precision ? NAN : INFINITY));
        for (int c = 0; c < 3; c++)
            LT_CHECK_OK(fix_values(e, (lt_zero_class)c, &before[c], &n));
        LT_CHECK_OK(lt_engine_step(e, &micro, 1, counted, 1e-2, &result));
        LT_CHECK(result.skipped);
        LT_CHECK(!isfinite(result.loss) || !isfinite(result.grad_norm));
        for (int c = 0; c < 3; c++) {
            LT_CHECK_OK(fix_values(e, (lt_zero_class)c, &after[c], &n));
            LT_CHECK(memcmp(before[c], after[c], n * sizeof(float)) == 0);
            free(before[c]);
            free(after[c]);
        }
        LT_CHECK(result.bad != NULL);
        LT_CHECK_OK(lt_engine_state(e, &now));
        LT_CHECK_INT(now.adam_t, 1); /* Adam's t stands still */
        LT_CHECK_INT(now.n_skipped, 1);
        LT_CHECK_OK(poison(e, 0));
        LT_CHECK_OK(lt_engine_step(e, &micro, 1, counted, 1e-2, &result));
        LT_CHECK(!result.skipped && isfinite(result.loss));
        LT_CHECK(result.bad == NULL);
        LT_CHECK_OK(lt_engine_state(e, &now));
        LT_CHECK_INT(now.adam_t, 2);
        lt_engine_close(e);
    }
}

LT_TEST(engine_gradients_update_nothing)
{
    lt_model_config config = fix_config();
    lt_engine_options o = fix_options(&config, 4);
    float *before, *after;
    size_t n;
    lt_engine *e = NULL;
    lt_engine_batch micro;
    fix_batch batch;
    double loss, again;
    int64_t counted = fix_fill(&batch, 4 * FIX_T, 3);

    micro = fix_micro(&batch, 0);
    LT_CHECK_OK(lt_engine_open(&e, &o));
    LT_CHECK_OK(lt_engine_init_weights(e, 1));
    LT_CHECK_OK(fix_values(e, LT_ZERO_MASTER, &before, &n));
    LT_CHECK_OK(lt_engine_gradients(e, &micro, counted, &loss));
    LT_CHECK_OK(lt_engine_gradients(e, &micro, counted, &again));
    LT_CHECK_OK(fix_values(e, LT_ZERO_MASTER, &after, &n));
    LT_CHECK(loss == again);
    LT_CHECK(memcmp(before, after, n * sizeof *before) == 0);
    free(before);
    free(after);
    lt_engine_close(e);
}
