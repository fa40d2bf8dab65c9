/* ranks_tune.c - one choice of algorithms for all ranks, and nothing else changed by making it.
 *
 * The CPU chooses nothing, so it is given a backend whose choice is its rank's number. */
#include "lt_ranks.h"
#include "train_fixture.h"

enum { STEPS = 3 };

static char chosen[64]; /* what this rank's device uses */
static int n_loads;
static bool foreign; /* no text fits */

static void save(lt_dev *dev, lt_buf *out)
{
    (void)dev;
    lt_buf_printf(out, "%s", chosen);
}

static lt_err load(lt_dev *dev, const char *text, size_t n, const char *source)
{
    (void)dev;
    if (foreign)
        return lt_fail(LT_EMISMATCH, "%s: made elsewhere", source);
    snprintf(chosen, sizeof chosen, "%.*s", (int)n, text);
    n_loads++;
    return LT_OK;
}

static lt_backend choosing; /* the CPU's, with the two above */

static lt_err open_engine(lt_engine **out, const lt_model_config *config, int stage)
{
    lt_engine_options o = fix_options(config, 2);
    lt_err err;

    o.dev.n_threads = 1;
    o.zero.stage = stage;
    o.zero.overlap = true;
    o.zero.max_live = 1 << 30;
    o.group = lt_ranks_group();
    LT_TRY(err = lt_engine_open(out, &o));
    choosing = lt_backend_cpu;
    choosing.tuning_save = save;
    choosing.tuning_load = load;
    lt_engine_device(*out)->backend = &choosing;
    snprintf(chosen, sizeof chosen, "choices of %d", lt_ranks_group()->rank);
    n_loads = 0;
    err = lt_engine_init_weights(*out, 7);
fail:
    return err;
}

/* Losses of a few steps, after tuning or not. */
static lt_err train(int stage, int n_micro, bool tuned, double losses[STEPS])
{
    lt_model_config config = fix_config();
    lt_engine *e = NULL;
    lt_engine_batch micro[2];
    lt_engine_result result;
    fix_batch batch;
    lt_err err;

    LT_TRY(err = open_engine(&e, &config, stage));
    if (tuned)
        LT_TRY(err = lt_engine_tune(e, n_micro));
    for (int step = 0; step < STEPS; step++) {
        int64_t counted =
            fix_fill(&batch, FIX_ROWS, (uint64_t)(10 * step + lt_ranks_group()->rank));

        for (int i = 0; i < n_micro; i++)
            micro[i] = fix_micro(&batch, i * 2 * FIX_T);
        LT_TRY(err = lt_engine_step(e, micro, n_micro, counted * lt_ranks_group()->world, 1e-2,
                                    &result));
        losses[step] = result.loss;
    }
fail:
    lt_engine_close(e);
    return err;
}

LT_TEST(tune_gives_every_rank_the_choices_of_the_first)
{
    lt_model_config config = fix_config();
    lt_step_state before, after;
    lt_engine *e = NULL;

    foreign = false;
    LT_CHECK_OK(open_engine(&e, &config, 2));
    LT_CHECK_OK(lt_engine_state(e, &before));
    LT_CHECK_OK(lt_engine_tune(e, 2));
    LT_CHECK_OK(lt_engine_state(e, &after));
    LT_CHECK_STR(chosen, "choices of 0");
    LT_CHECK_INT(n_loads, lt_ranks_group()->rank > 0);
    LT_CHECK(before.adam_t == after.adam_t && before.n_skipped == after.n_skipped &&
             before.scale_step == after.scale_step && before.loss_scale == after.loss_scale);
    lt_engine_close(e);
}

LT_TEST(tune_leaves_other_kinds_of_devices_their_own)
{
    lt_model_config config = fix_config();
    char own[64];
    lt_engine *e = NULL;

    foreign = lt_ranks_group()->rank == 1;
    LT_CHECK_OK(open_engine(&e, &config, 1));
    LT_CHECK_OK(lt_engine_tune(e, 1));
    snprintf(own, sizeof own, "choices of %d", foreign ? 1 : 0);
    LT_CHECK_STR(chosen, own);
    lt_engine_close(e);
}

LT_TEST(tune_changes_no_bit_of_the_steps_that_follow)
{
    foreign = false;
    for (int stage = 0; stage <= 3; stage++)
        for (int n_micro = 1; n_micro <= 2; n_micro++) {
            double plain[STEPS], tuned[STEPS];

            LT_CHECK_OK(train(stage, n_micro, false, plain));
            LT_CHECK_OK(train(stage, n_micro, true, tuned));
            LT_CHECK(memcmp(plain, tuned, sizeof tuned) == 0);
        }
}
