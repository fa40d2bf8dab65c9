/* test_setup.c - configuration, data, tokenizer and model must belong together;
 * lengths become steps. */
#include "run_fixture.h"

enum { TRAIN_TOKENS = 7273, T = 16, EPOCH = (TRAIN_TOKENS - T) / T };

/* The data set in a folder of its own, without the files named. */
static const char *copy_of(char dir[512], const char *name, const char *without)
{
    static const char *const files[] = { "tokenizer.json", "train.manifest", "val.manifest",
                                         "train-00000.lts.zst", "val-00000.lts.zst" };

    snprintf(dir, 512, "%s", lt_test_tmp(name));
    if (lt_mkdirs(dir) != LT_OK)
        return NULL;
    for (size_t i = 0; i < LT_COUNT(files); i++) {
        char from[1024];
        char *to = lt_path_join(dir, files[i]);
        lt_buf text = { 0 };
        lt_err err;

        snprintf(from, sizeof from, "train/%s", files[i]);
        if (strcmp(files[i], without) == 0) {
            free(to);
            continue;
        }
        err = lt_file_read_all(&text, lt_test_data(from), 1 << 20);
        if (err == LT_OK)
            err = lt_file_write_atomic(to, text.data, text.size);
        lt_buf_release(&text);
        free(to);
        if (err != LT_OK)
            return NULL;
    }
    return dir;
}

LT_TEST(setup_opens_what_belongs_together)
{
    run_case r;

    LT_CHECK_OK(run_setup(&r, (run_settings){ "--training.eval_every_steps=10",
                                              "--training.sample_every_steps=10" }));
    LT_CHECK(r.setup.train && r.setup.val && r.setup.tokenizer);
    LT_CHECK(r.setup.tokenizer_json.size > 100);
    LT_CHECK_INT(r.setup.total_steps, 100);
    LT_CHECK_INT(r.setup.step_samples, 4);
    LT_CHECK_INT(r.setup.n_micro, 2);
    LT_CHECK_INT(r.setup.epoch_samples, EPOCH);
    LT_CHECK(r.setup.engine.shape.uses[LT_USE_EVALUATE] &&
             r.setup.engine.shape.uses[LT_USE_GENERATE]);
    run_close(&r);
    LT_CHECK_OK(run_setup(&r, (run_settings){ NULL }));
    LT_CHECK(!r.setup.val && r.setup.tokenizer);
    LT_CHECK(!r.setup.engine.shape.uses[LT_USE_EVALUATE] &&
             !r.setup.engine.shape.uses[LT_USE_GENERATE]);
    run_close(&r);
}

/* A configuration whose length is given otherwise than in steps. */
static lt_err steps_for(const char *length, uint64_t *steps)
{
    char yaml[1024];
    lt_config *config = NULL;
    lt_setup s = { 0 };
    int n = snprintf(
        yaml, sizeof yaml,
        "model: { name: gpt2, vocab_size: 280, n_positions: 16, n_layer: 1, n_head: 2, n_embd: 16 }\n"
        "training: { %s, batch_size: 4, eval_every_steps: 0 }\n"
        "data: { train: %s }\n",
        length, lt_test_data("train/train.manifest"));
    lt_err err;

    LT_TRY(err = lt_config_parse(&config, yaml, (size_t)n, "c.yaml", 0, NULL));
    LT_TRY(err = lt_setup_open(&s, config, NULL, true));
    *steps = s.total_steps;
    if (s.schedule.total_steps != (int64_t)*steps)
        err = lt_fail(LT_EMISMATCH, "the schedule has other steps");
fail:
    lt_setup_release(&s);
    lt_config_free(config);
    return err;
}

LT_TEST(setup_turns_epochs_and_tokens_into_steps)
{
    uint64_t steps = 0;

    LT_CHECK_OK(steps_for("epochs: 3", &steps));
    LT_CHECK_INT(steps, 3 * EPOCH / 4);
    LT_CHECK_OK(steps_for("tokens: 1000", &steps));
    LT_CHECK_INT(steps, 16); /* 15.6 steps of 64, rounded up */
    LT_CHECK_OK(steps_for("tokens: 64", &steps));
    LT_CHECK_INT(steps, 1);
    LT_CHECK_OK(steps_for("steps: 7", &steps));
    LT_CHECK_INT(steps, 7);
    LT_CHECK_FAILS(steps_for("epochs: 1, gradient_accumulation_steps: 200", &steps), LT_EUSAGE,
                   "training.epochs: 1 epochs of 453 sequences do not fill one step of 800");
}

LT_TEST(setup_counts_windows_in_order_as_the_sampler_does)
{
    run_case r;

    LT_CHECK_OK(run_setup(&r, (run_settings){ "--data.shuffle=false", "--data.seq_len=9" }));
    LT_CHECK_INT(r.setup.epoch_samples, (TRAIN_TOKENS - 1) / 9);
    run_close(&r);
    LT_CHECK_OK(run_setup(&r, (run_settings){ "--data.seq_len=9" }));
    LT_CHECK_INT(r.setup.epoch_samples, (TRAIN_TOKENS - 9) / 9);
    run_close(&r);
}

LT_TEST(setup_refuses_a_vocabulary_that_does_not_fit)
{
    run_case r;

    LT_CHECK_FAILS(run_setup(&r, (run_settings){ "--model.vocab_size=200" }), LT_EMISMATCH,
                   "was made with 280 token ids, the model has 200");
    /* more than the data has is fine: ids that never occur */
    LT_CHECK_OK(run_setup(&r, (run_settings){ "--model.vocab_size=300" }));
    run_close(&r);
}

LT_TEST(setup_refuses_sequences_longer_than_data_or_model)
{
    run_case r;

    LT_CHECK_FAILS(run_setup(&r, (run_settings){ "--data.seq_len=17" }), LT_EUSAGE, "data.seq_len");
    LT_CHECK_FAILS(run_setup(&r, (run_settings){ "--model.n_positions=9000" }), LT_EMISMATCH,
                   "train.manifest: 7273 tokens cannot fill one sequence of 9000");
    LT_CHECK_FAILS(run_setup(&r, (run_settings){ "--model.n_positions=7000" }), LT_EMISMATCH,
                   "7273 tokens cannot fill one sequence of 7000");
    /* at the start, not at the first evaluation */
    LT_CHECK_FAILS(run_setup(&r, (run_settings){ "--model.n_positions=2000",
                                                 "--training.eval_every_steps=5" }),
                   LT_EMISMATCH, "val.manifest: 1280 tokens cannot fill one sequence of 2000");
    LT_CHECK_OK(run_setup(&r, (run_settings){ "--model.n_positions=2000" }));
    run_close(&r);
}

LT_TEST(setup_names_the_commands_that_make_missing_data)
{
    run_case r;

    LT_CHECK_FAILS(run_setup(&r, (run_settings){ "--data.train=/nowhere/train.manifest" }),
                   LT_ENOENT,
                   "data.train: /nowhere/train.manifest is not there; make it with: lt-tokenize");
    LT_CHECK(strstr(lt_err_text(), "lt-shard --out "));
    LT_CHECK_FAILS(run_setup(&r, (run_settings){ "--data.val=/nowhere/val.manifest",
                                                 "--training.eval_every_steps=5" }),
                   LT_ENOENT, "data.val: /nowhere/val.manifest is not there");
    LT_CHECK_OK(
        run_setup(&r, (run_settings){ "--data.val=/nowhere/val.manifest" })); /* not needed */
    run_close(&r);
}

LT_TEST(setup_refuses_a_tokenizer_that_did_not_make_the_data)
{
    char dir[512], manifest[600], other[600];
    lt_buf text = { 0 };
    lt_tokenizer *gpt2 = NULL;
    run_case r;

    LT_CHECK_FAILS(run_setup(&r, (run_settings){ "--data.tokenizer=gpt2" }), LT_EMISMATCH,
                   "gpt2 is not the tokenizer that made");
    LT_CHECK_FAILS(run_setup(&r, (run_settings){ "--data.tokenizer=/nowhere/t.json" }), LT_ENOENT,
                   "data.tokenizer: tokenizer \"/nowhere/t.json\": no such file or folder");
    LT_CHECK(copy_of(dir, "wrong", "tokenizer.json"));
    snprintf(manifest, sizeof manifest, "--data.train=%s/train.manifest", dir);
    snprintf(other, sizeof other, "%s/tokenizer.json", dir);
    LT_CHECK_OK(lt_tokenizer_open(&gpt2, "gpt2"));
    lt_tokenizer_to_json(gpt2, &text);
    LT_CHECK_OK(lt_file_write_atomic(other, text.data, text.size));
    LT_CHECK_FAILS(run_setup(&r, (run_settings){ manifest }), LT_EMISMATCH,
                   "tokenizer.json is not the tokenizer that made");
    lt_buf_release(&text);
    lt_tokenizer_free(gpt2);
}

LT_TEST(setup_without_a_tokenizer_trains_but_cannot_sample)
{
    char dir[512], manifest[600], tokenizer[600];
    run_case r;

    LT_CHECK(copy_of(dir, "bare", "tokenizer.json"));
    snprintf(manifest, sizeof manifest, "--data.train=%s/train.manifest", dir);
    LT_CHECK_OK(run_setup(&r, (run_settings){ manifest }));
    LT_CHECK(!r.setup.tokenizer);
    run_close(&r);
    LT_CHECK_FAILS(run_setup(&r, (run_settings){ manifest, "--training.sample_every_steps=5" }),
                   LT_EUSAGE, "training.sample_every_steps: no tokenizer.json beside");
    snprintf(tokenizer, sizeof tokenizer, "--data.tokenizer=%s",
             lt_test_data("train/tokenizer.json"));
    LT_CHECK_OK(
        run_setup(&r, (run_settings){ manifest, tokenizer, "--training.sample_every_steps=5" }));
    LT_CHECK(r.setup.tokenizer);
    run_close(&r);
}

LT_TEST(setup_refuses_a_missing_shard)
{
    char dir[512], manifest[600];
    run_case r;

    LT_CHECK(copy_of(dir, "hole", "train-00000.lts.zst"));
    snprintf(manifest, sizeof manifest, "--data.train=%s/train.manifest", dir);
    LT_CHECK_FAILS(run_setup(&r, (run_settings){ manifest }), LT_ENOENT, "train-00000.lts.zst");
}

LT_TEST(setup_of_a_plan_opens_no_data)
{
    lt_config *config = NULL;
    lt_setup s;

    LT_CHECK_OK(run_config(&config, (run_settings){ "--data.train=/nowhere/train.manifest" }));
    LT_CHECK_OK(lt_config_resolve_batch(config, 8));
    LT_CHECK_OK(lt_setup_open(&s, config, NULL, false));
    LT_CHECK(!s.train && !s.tokenizer);
    LT_CHECK_INT(s.step_samples, 2 * 2 * 8); /* resolved for the ranks of the plan */
    LT_CHECK_INT(s.engine.shape.n_batch, 2);
    lt_setup_release(&s);
    lt_config_free(config);
}
