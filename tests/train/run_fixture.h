/* run_fixture.h - a configuration over tests/data/train and the set-up made from it. */
#ifndef LT_TESTS_TRAIN_RUN_FIXTURE_H
#define LT_TESTS_TRAIN_RUN_FIXTURE_H

#include "base/file.h"
#include "lt_test.h"
#include "train/snapshot.h"

#include <stdlib.h>

enum { RUN_SETTINGS = 12 };

/* What a test wants otherwise: "--section.key=value"; ended by NULL. */
typedef const char *run_settings[RUN_SETTINGS];

typedef struct run_case {
    lt_config *config;
    lt_setup setup;
    lt_engine *engine;
    lt_batcher *batches;
    lt_run_state state;
} run_case;

static inline lt_err run_config(lt_config **out, const run_settings settings)
{
    static const char yaml[] =
        "model: { name: gpt2, vocab_size: 280, n_positions: 16, n_layer: 1, n_head: 2, n_embd: 16 }\n"
        "training: { steps: 100, batch_size: 2, gradient_accumulation_steps: 2, lr: 1.0e-2,\n"
        "            warmup_steps: 0, eval_every_steps: 0 }\n"
        "threads: 2\n"
        "device: cpu\n";
    char train[512], val[512], dir[512];
    const char *overrides[RUN_SETTINGS + 3] = { train, val, dir };
    int n = 3;

    snprintf(train, sizeof train, "--data.train=%s", lt_test_data("train/train.manifest"));
    snprintf(val, sizeof val, "--data.val=%s", lt_test_data("train/val.manifest"));
    snprintf(dir, sizeof dir, "--checkpoint.dir=%s", lt_test_tmp("ck"));
    for (int i = 0; settings[i]; i++) { /* a setting given twice must agree, so ours makes room */
        const char *key_end = strchr(settings[i], '=');

        for (int k = 0; k < 3; k++)
            if (strncmp(overrides[k], settings[i], (size_t)(key_end - settings[i]) + 1) == 0)
                overrides[k] = settings[i], key_end = NULL;
        if (key_end)
            overrides[n++] = settings[i];
    }
    return lt_config_parse(out, yaml, sizeof yaml - 1, "run.yaml", n, overrides);
}

static inline void run_close(run_case *r)
{
    lt_batcher_close(r->batches);
    lt_engine_close(r->engine);
    lt_setup_release(&r->setup);
    lt_config_free(r->config);
    *r = (run_case){ 0 };
}

static inline lt_err run_setup(run_case *r, const run_settings settings)
{
    lt_err err;

    *r = (run_case){ 0 };
    LT_TRY(err = run_config(&r->config, settings));
    err = lt_setup_open(&r->setup, r->config, NULL, true);
fail:
    if (err != LT_OK)
        lt_config_free(r->config);
    return err;
}

/* An engine too, with fresh weights and batches from the start. */
static inline lt_err run_open(run_case *r, const run_settings settings)
{
    lt_err err;

    LT_TRY(err = run_setup(r, settings));
    LT_TRY(err = lt_engine_open(&r->engine, &r->setup.engine));
    LT_TRY(err = lt_engine_init_weights(r->engine, (uint64_t)r->config->training.seed));
    lt_run_state_new(&r->state);
fail:
    return err;
}

/* `n` steps from where the state says. */
static inline lt_err run_steps(run_case *r, int n, double *losses)
{
    int64_t rows = r->setup.engine.shape.n_batch * r->setup.engine.shape.seq;
    lt_batcher_options o = lt_setup_batches(&r->setup, r->state.samples);
    lt_engine_result result;
    lt_engine_batch micro[2];
    const lt_batch *b;
    lt_err err;

    LT_TRY(err = lt_batcher_open(&r->batches, &o));
    for (int i = 0; i < n; i++) {
        LT_TRY(err = lt_batcher_next(r->batches, &b));
        for (int k = 0; k < 2; k++)
            micro[k] = (lt_engine_batch){ .ids = b->inputs + k * rows,
                                          .targets = b->targets + k * rows,
                                          .positions = b->positions + k * rows };
        LT_TRY(err = lt_engine_step(
                   r->engine, micro, 2, b->n_target_tokens * lt_engine_group(r->engine)->world,
                   lt_lr_at(&r->setup.schedule, (int64_t)r->state.step + 1), &result));
        lt_batcher_release(r->batches);
        losses[i] = result.loss;
        r->state.step++;
        r->state.samples += r->setup.step_samples;
        r->state.tokens += r->setup.step_samples * (uint64_t)r->setup.engine.shape.seq;
    }
fail:
    lt_batcher_close(r->batches);
    r->batches = NULL;
    return err;
}

#endif
