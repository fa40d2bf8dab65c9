/* test_snapshot.c - a saved run goes on bit for bit, and refuses what it was not trained with. */
#include "run_fixture.h"
#include "train/generate.h"
#include "train/resume.h"
#include "train/saver.h"

#include <sys/resource.h>

enum { BEFORE = 3, AFTER = 4 };

static lt_err run_save_as(run_case *r, bool async, char **path)
{
    lt_saver *saver = NULL;
    lt_err err;

    LT_TRY(err = lt_saver_open(&saver, r->engine, &r->setup, async));
    LT_TRY(err = lt_saver_start(saver, &r->state));
    LT_TRY(err = lt_saver_finish(saver));
    *path =
        lt_asprintf("%s/step-%08llu", r->config->checkpoint.dir, (unsigned long long)r->state.step);
fail:
    lt_saver_close(saver);
    return err;
}

static lt_err run_save(run_case *r, char **path)
{
    return run_save_as(r, false, path);
}

/* A run of BEFORE steps saved below NAME, and the losses of the AFTER steps that follow. */
static lt_err save_run(const char *name, const char *precision, char **path, double losses[AFTER])
{
    char dir[600];
    double before[BEFORE];
    run_case r = { 0 };
    lt_err err;

    snprintf(dir, sizeof dir, "--checkpoint.dir=%s", lt_test_tmp(name));
    LT_TRY(err = run_open(&r, (run_settings){ dir, precision }));
    LT_TRY(err = run_steps(&r, BEFORE, before));
    LT_TRY(err = run_save(&r, path));
    LT_TRY(err = run_steps(&r, AFTER, losses));
fail:
    run_close(&r);
    return err;
}

/* The whole of what the loss scaler and Adam remember, far from what a run begins with. */
LT_TEST(snapshot_restores_every_counter)
{
    const lt_step_state kept = { .adam_t = 41,
                                 .n_skipped = 3,
                                 .loss_scale = 4096,
                                 .hysteresis_left = 1,
                                 .scale_step = 77,
                                 .last_overflow = 70 };
    lt_step_state now;
    char *path = NULL;
    run_case r;

    LT_CHECK_OK(run_open(&r, (run_settings){ "--model.precision=fp16" }));
    LT_CHECK_OK(lt_engine_set_state(r.engine, &kept));
    LT_CHECK_OK(run_save(&r, &path));
    run_close(&r);
    LT_CHECK_OK(run_open(&r, (run_settings){ "--model.precision=fp16" }));
    LT_CHECK_OK(lt_snapshot_load(r.engine, &r.setup, &r.state, path));
    LT_CHECK_OK(lt_engine_state(r.engine, &now));
    run_close(&r);
    free(path);
    LT_CHECK_INT(now.adam_t, kept.adam_t);
    LT_CHECK_INT(now.n_skipped, kept.n_skipped);
    LT_CHECK_NEAR((double)now.loss_scale, (double)kept.loss_scale, 0);
    LT_CHECK_INT(now.hysteresis_left, kept.hysteresis_left);
    LT_CHECK_INT(now.scale_step, kept.scale_step);
    LT_CHECK_INT(now.last_overflow, kept.last_overflow);
}

LT_TEST(snapshot_resumes_bit_for_bit)
{
    static const char *const precisions[] = { "--model.precision=fp32", "--model.precision=bf16",
                                              "--model.precision=fp16" };
    static const char *const names[] = { "bits-fp32", "bits-bf16", "bits-fp16" };

    for (size_t i = 0; i < LT_COUNT(precisions); i++) {
        double undisturbed[AFTER], resumed[AFTER];
        char *path = NULL;
        lt_step_state now;
        run_case r;

        LT_CHECK_OK(save_run(names[i], precisions[i], &path, undisturbed));
        LT_CHECK(strstr(path, "/step-00000003"));
        LT_CHECK_OK(run_open(&r, (run_settings){ precisions[i] }));
        LT_CHECK_OK(lt_snapshot_load(r.engine, &r.setup, &r.state, path));
        LT_CHECK_INT(r.state.step, BEFORE);
        LT_CHECK_INT(r.state.samples, BEFORE * 4);
        LT_CHECK_INT(r.state.tokens, BEFORE * 4 * 16);
        LT_CHECK_INT(strlen(r.state.run_id), LT_RUN_ID_BYTES - 1);
        LT_CHECK_OK(lt_engine_state(r.engine, &now));
        LT_CHECK_INT(now.adam_t, BEFORE);
        LT_CHECK_OK(run_steps(&r, AFTER, resumed));
        LT_CHECK(memcmp(undisturbed, resumed, sizeof resumed) == 0);
        run_close(&r);
        free(path);
    }
}

/* Files of a slice name their attempt in the header, which has the same length in both. */
static lt_err data_of(lt_buf *out, const char *folder, const char *name)
{
    char *path = lt_path_join(folder, name);
    uint64_t header;
    lt_err err;

    LT_TRY(err = lt_file_read_all(out, path, 1 << 24));
    if (strstr(name, ".safetensors")) {
        memcpy(&header, out->data, sizeof header);
        memset(out->data, 0, header + sizeof header);
    }
fail:
    free(path);
    return err;
}

/* With a snapshot and straight from the store: the same files. */
LT_TEST(snapshot_async_and_sync_write_the_same_bytes)
{
    static const char *const names[] = { "weights-00000.safetensors", "exp_avg-00000.safetensors",
                                         "exp_avg_sq-00000.safetensors", "state.json",
                                         "config.yaml" };
    static const char *const kinds[] = { "none", "cpu", "nvme" };
    char device[100], tier[600], dir[600];
    /* A tensor of more elements than are pulled at once, and where nvme is. */
    const char *more[] = { "--model.vocab_size=70000", NULL, tier };

    snprintf(tier, sizeof tier, "--deepspeed.zero_optimization.offload_optimizer.nvme_path=%s",
             lt_test_tmp("."));
    snprintf(dir, sizeof dir, "--checkpoint.dir=%s", lt_test_tmp("both"));
    for (size_t k = 0; k < LT_COUNT(kinds); k++) {
        char *paths[2], *aside;
        double losses[BEFORE];
        run_case r;

        snprintf(device, sizeof device, "--deepspeed.zero_optimization.offload_optimizer.device=%s",
                 kinds[k]);
        LT_CHECK_OK(run_open(&r, (run_settings){ dir, "--model.precision=bf16", device,
                                                 "--deepspeed.zero_optimization.sub_group_size=640",
                                                 more[k] }));
        LT_CHECK_OK(run_steps(&r, BEFORE, losses));
        LT_CHECK_OK(run_save_as(&r, false, &paths[0]));
        aside = lt_asprintf("%s-sync-%s", paths[0], kinds[k]);
        LT_CHECK_OK(lt_rename_sync(paths[0], aside));
        LT_CHECK_OK(run_save_as(&r, true, &paths[1]));
        for (size_t i = 0; i < LT_COUNT(names); i++) {
            lt_buf a = { 0 }, b = { 0 };

            LT_CHECK_OK(data_of(&a, aside, names[i]));
            LT_CHECK_OK(data_of(&b, paths[1], names[i]));
            LT_CHECK(a.size == b.size && memcmp(a.data, b.data, a.size) == 0);
            lt_buf_release(&a);
            lt_buf_release(&b);
        }
        LT_CHECK_OK(lt_remove_tree(paths[1]));
        run_close(&r);
        free(aside);
        free(paths[0]);
        free(paths[1]);
    }
}

LT_TEST(snapshot_without_memory_names_the_way_out)
{
    struct rlimit before, tight;
    lt_saver *saver = NULL;
    unsigned long pages = 0;
    run_case r;
    FILE *f = fopen("/proc/self/statm", "re");
    lt_err err;

    LT_CHECK_OK(run_open(&r, (run_settings){ "--model.n_embd=512" }));
    LT_CHECK(f && fscanf(f, "%lu", &pages) == 1 && getrlimit(RLIMIT_AS, &before) == 0);
    fclose(f);
    tight = before;
    tight.rlim_cur = pages * 4096 + (16 << 20);
    LT_CHECK(setrlimit(RLIMIT_AS, &tight) == 0);
    err = lt_saver_open(&saver, r.engine, &r.setup, true);
    LT_CHECK(setrlimit(RLIMIT_AS, &before) == 0);
    LT_CHECK_INT(err, LT_ENOMEM);
    LT_CHECK(strstr(lt_err_text(), "checkpoint.async: a snapshot takes 39"));
    LT_CHECK(strstr(lt_err_text(), "are available; checkpoint.async=false saves without one"));
    LT_CHECK_OK(lt_saver_open(&saver, r.engine, &r.setup, false));
    lt_saver_close(saver);
    run_close(&r);
}

LT_TEST(snapshot_resumes_with_other_threads_and_recomputation)
{
    double undisturbed[AFTER], resumed[AFTER];
    char *path = NULL;
    run_case r;

    LT_CHECK_OK(save_run("threads", NULL, &path, undisturbed));
    LT_CHECK_OK(
        run_open(&r, (run_settings){ "--deepspeed.activation_checkpointing.granularity=block",
                                     "--threads=1" }));
    LT_CHECK_OK(lt_snapshot_load(r.engine, &r.setup, &r.state, path));
    LT_CHECK_OK(run_steps(&r, AFTER, resumed));
    LT_CHECK(memcmp(undisturbed, resumed, sizeof resumed) == 0);
    run_close(&r);
    free(path);
}

LT_TEST(snapshot_refuses_another_run)
{
    static const struct {
        const char *setting;
        lt_err code;
        const char *part;
    } cases[] = {
        { "--training.seed=43", LT_EMISMATCH,
          "was trained with training.seed 42, this run has 43" },
        { "--data.seq_len=8", LT_EMISMATCH, "was trained with data.seq_len 16, this run has 8" },
        { "--data.shuffle=false", LT_EMISMATCH,
          "was trained with data.shuffle true, this run has false" },
        { "--model.n_embd=32", LT_EMISMATCH, "transformer.wte.weight" },
        { "--model.n_layer=2", LT_EMISMATCH, "transformer.h.1" },
        { "--model.tie_word_embeddings=false", LT_EMISMATCH, "lm_head.weight" },
    };
    double losses[AFTER];
    char *path = NULL;
    run_case r;

    LT_CHECK_OK(save_run("other", NULL, &path, losses));
    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        LT_CHECK_OK(run_open(&r, (run_settings){ cases[i].setting }));
        LT_CHECK_FAILS(lt_snapshot_load(r.engine, &r.setup, &r.state, path), cases[i].code,
                       cases[i].part);
        LT_CHECK(strstr(lt_err_text(), path));
        run_close(&r);
    }
    free(path);
}

LT_TEST(snapshot_refuses_other_data)
{
    char other[600];
    double losses[AFTER];
    char *path = NULL;
    run_case r;

    snprintf(other, sizeof other, "--data.train=%s", lt_test_data("train/val.manifest"));
    LT_CHECK_OK(save_run("data", NULL, &path, losses));
    LT_CHECK_OK(run_open(&r, (run_settings){ other }));
    LT_CHECK_FAILS(lt_snapshot_load(r.engine, &r.setup, &r.state, path), LT_EMISMATCH,
                   "was trained with data set ");
    LT_CHECK(strstr(lt_err_text(), "another checkpoint.dir"));
    run_close(&r);
    free(path);
}

LT_TEST(snapshot_weights_alone_are_the_weights)
{
    double losses[AFTER];
    char *path = NULL;
    run_case trained, r;
    lt_engine_options o;
    lt_engine *bare = NULL;
    int32_t ids[16] = { 5, 6, 7 }, positions[16] = { 0, 1, 2 };
    float *a, *b;

    LT_CHECK_OK(save_run("weights", NULL, &path, losses));
    LT_CHECK_OK(run_open(&r, (run_settings){ NULL }));
    o = r.setup.engine;
    o.training = false;
    memset(o.shape.uses, 0, sizeof o.shape.uses);
    o.shape.uses[LT_USE_GENERATE] = true;
    o.shape.generate_batch = 1;
    o.shape.generate_prompt = 4;
    o.shape.generate_total = 16;
    LT_CHECK_OK(lt_engine_open(&bare, &o));
    LT_CHECK_OK(lt_snapshot_load_weights(bare, path));
    LT_CHECK_OK(run_open(&trained, (run_settings){ "--training.sample_every_steps=1" }));
    LT_CHECK_OK(lt_snapshot_load(trained.engine, &trained.setup, &trained.state, path));
    a = lt_new_array0((size_t)lt_engine_vocab_rows(bare), sizeof *a);
    b = lt_new_array0((size_t)lt_engine_vocab_rows(bare), sizeof *b);
    LT_CHECK_OK(lt_engine_generate(bare, &(lt_engine_batch){ .ids = ids, .positions = positions },
                                   0, 3, a));
    LT_CHECK_OK(lt_engine_generate(
        trained.engine, &(lt_engine_batch){ .ids = ids, .positions = positions }, 0, 3, b));
    LT_CHECK(memcmp(a, b, 280 * sizeof *a) == 0);
    LT_CHECK(a[0] != a[1]);
    free(a);
    free(b);
    lt_engine_close(bare);
    run_close(&trained);
    run_close(&r);
    free(path);
}

/* ---- choosing a checkpoint */

/* Two checkpoints, steps BEFORE and BEFORE + 1, below NAME. */
static lt_err save_two(const char *name, run_case *r, char dir[600], char **older, char **newer)
{
    double losses[BEFORE];
    lt_err err;

    snprintf(dir, 600, "--checkpoint.dir=%s", lt_test_tmp(name));
    LT_TRY(err = run_open(r, (run_settings){ dir }));
    LT_TRY(err = run_steps(r, BEFORE, losses));
    LT_TRY(err = run_save(r, older));
    LT_TRY(err = run_steps(r, 1, losses));
    LT_TRY(err = run_save(r, newer));
fail:
    return err;
}

static lt_err flip_last_byte(const char *folder, const char *name)
{
    char *path = lt_path_join(folder, name);
    lt_buf text = { 0 };
    lt_err err;

    LT_TRY(err = lt_file_read_all(&text, path, 1 << 24));
    text.data[text.size - 1] ^= 0x10;
    err = lt_file_write_atomic(path, text.data, text.size);
fail:
    lt_buf_release(&text);
    free(path);
    return err;
}

LT_TEST(resume_auto_falls_back_from_damage_and_never_starts_over)
{
    char dir[600];
    char *older = NULL, *newer = NULL, *path = NULL, *aside;
    run_case r = { 0 };

    LT_CHECK_OK(save_two("auto", &r, dir, &older, &newer));
    LT_CHECK_OK(lt_resume(r.engine, &r.setup, &r.state, &path));
    LT_CHECK_STR(path, newer);
    free(path);
    LT_CHECK_OK(flip_last_byte(newer, "exp_avg-00000.safetensors"));
    LT_CHECK_OK(lt_resume(r.engine, &r.setup, &r.state, &path));
    LT_CHECK_STR(path, older);
    LT_CHECK_INT(r.state.step, BEFORE);
    free(path);
    aside = lt_asprintf("%s/damaged.step-00000004", r.config->checkpoint.dir);
    LT_CHECK(lt_is_dir(aside) && !lt_path_exists(newer));
    free(aside);
    LT_CHECK_OK(flip_last_byte(older, "weights-00000.safetensors"));
    for (int again = 0; again < 2; again++) { /* and says so every time */
        path = NULL;
        LT_CHECK_FAILS(lt_resume(r.engine, &r.setup, &r.state, &path), LT_EFORMAT,
                       "no older checkpoint to fall back to");
        LT_CHECK(strstr(lt_err_text(), "weights-00000.safetensors"));
        LT_CHECK(path == NULL && lt_is_dir(older));
    }
    LT_CHECK_OK(flip_last_byte(older, "MANIFEST"));
    LT_CHECK_FAILS(lt_resume(r.engine, &r.setup, &r.state, &path), LT_EFORMAT,
                   "no complete checkpoint");
    run_close(&r);
    free(older);
    free(newer);
}

LT_TEST(resume_from_a_path_never_falls_back)
{
    char dir[600], resume[700];
    char *older = NULL, *newer = NULL, *path = NULL;
    run_case r = { 0 };

    LT_CHECK_OK(save_two("path", &r, dir, &older, &newer));
    run_close(&r);
    snprintf(resume, sizeof resume, "--checkpoint.resume=%s", newer);
    LT_CHECK_OK(run_open(&r, (run_settings){ resume }));
    LT_CHECK_OK(lt_resume(r.engine, &r.setup, &r.state, &path));
    LT_CHECK_INT(r.state.step, BEFORE + 1);
    free(path);
    LT_CHECK_OK(flip_last_byte(newer, "weights-00000.safetensors"));
    LT_CHECK_FAILS(lt_resume(r.engine, &r.setup, &r.state, &path), LT_EFORMAT,
                   "weights-00000.safetensors");
    LT_CHECK(lt_is_dir(newer));
    run_close(&r);
    free(older);
    free(newer);
}

LT_TEST(resume_refuses_a_directory_with_later_steps)
{
    char dir[600], resume[700];
    char *older = NULL, *newer = NULL, *path = NULL;
    run_case r = { 0 };

    LT_CHECK_OK(save_two("later", &r, dir, &older, &newer));
    run_close(&r);
    LT_CHECK_OK(run_open(&r, (run_settings){ dir, "--checkpoint.resume=never" }));
    LT_CHECK_FAILS(lt_resume(r.engine, &r.setup, &r.state, &path), LT_EUSAGE,
                   "step-00000004 is there, but this run begins after step 0");
    run_close(&r);
    snprintf(resume, sizeof resume, "--checkpoint.resume=%s", older);
    LT_CHECK_OK(run_open(&r, (run_settings){ dir, resume }));
    LT_CHECK_FAILS(lt_resume(r.engine, &r.setup, &r.state, &path), LT_EUSAGE,
                   "step-00000004 is there, but this run begins after step 3");
    run_close(&r);
    /* into another directory it may go */
    LT_CHECK_OK(run_open(&r, (run_settings){ "--checkpoint.dir=/nowhere/ck", resume }));
    LT_CHECK_OK(lt_resume(r.engine, &r.setup, &r.state, &path));
    LT_CHECK_STR(path, older);
    free(path);
    run_close(&r);
    free(older);
    free(newer);
}
