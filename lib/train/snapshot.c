/* train/snapshot.c - saving and restoring a run. */
#include "train/snapshot.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/rng.h"
#include "ckpt/checkpoint.h"
#include "ckpt/checkpoint_save.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    lt_zero_class which;
    const char *group;
} groups[] = { { LT_ZERO_MASTER, LT_CKPT_WEIGHTS },
               { LT_ZERO_MOMENT1, "exp_avg" },
               { LT_ZERO_MOMENT2, "exp_avg_sq" } };

#define TUNING "gemm.txt" /* GEMM algorithms: the same ones give the same bits after a resume */

void lt_run_state_new(lt_run_state *s)
{
    uint64_t id = lt_mix64((uint64_t)(lt_wall_time() * 1e6) ^ ((uint64_t)getpid() << 40));

    *s = (lt_run_state){ 0 };
    snprintf(s->run_id, sizeof s->run_id, "%016" PRIx64, id);
}

static lt_ckpt_tensor *tensors_of(const lt_param_table *t)
{
    lt_ckpt_tensor *tensors = lt_new_array0((size_t)t->n_params, sizeof *tensors);

    for (int i = 0; i < t->n_params; i++)
        tensors[i] = lt_ckpt_tensor_of(&t->params[i], LT_F32);
    return tensors;
}

/* ---- saving */

/* What else decides the future of a run: on resume these must agree. */
static void identity(lt_buf *out, const lt_setup *s)
{
    char data[LT_SHA256_HEX];

    lt_sha256_hex(lt_dataset_manifest(s->train)->id, data);
    lt_buf_printf(
        out, "\"data\": \"%s\", \"seq_len\": %" PRId64 ", \"seed\": %" PRId64 ", \"shuffle\": %s, ",
        data, s->config->data.seq_len, s->config->training.seed,
        s->config->data.shuffle ? "true" : "false");
}

static lt_err format_state(lt_buf *out, lt_engine *e, const lt_setup *s, const lt_run_state *state)
{
    lt_step_state now;
    lt_err err;

    LT_TRY(err = lt_engine_state(e, &now));
    lt_buf_printf(out, "{");
    identity(out, s);
    lt_buf_printf(out, "\"step\": %" PRIu64 ", \"samples\": %" PRIu64 ", \"tokens\": %" PRIu64,
                  state->step, state->samples, state->tokens);
    lt_buf_printf(out, ", \"adam_t\": %" PRIu64 ", \"skipped_steps\": %u", now.adam_t,
                  now.n_skipped);
    lt_buf_printf(out,
                  ", \"loss_scale\": %.9g, \"hysteresis_left\": %u, \"scale_step\": %" PRId64
                  ", \"last_overflow\": %" PRId64 "}\n",
                  (double)now.loss_scale, now.hysteresis_left, now.scale_step, now.last_overflow);
fail:
    return err;
}

/* The slices of this rank: in place where device memory is host memory, else copied out. */
static lt_err gather_slices(lt_engine *e, lt_ckpt_slice *slices, size_t *n, void **owned)
{
    int n_pieces = 0;
    const lt_param_table *table = lt_engine_table(e);
    lt_zero_piece *pieces = lt_zero_plan_pieces(lt_engine_zero_plan(e), table, &n_pieces);
    lt_err err = LT_OK;

    *n = 0;
    for (size_t g = 0; g < LT_COUNT(groups); g++) {
        for (int i = 0; i < n_pieces; i++) {
            const lt_zero_piece *p = &pieces[i];
            const float *data = lt_zero_host_view(lt_engine_store(e), groups[g].which, p);

            if (!data) {
                float *copy;

                LT_TRY(err = lt_alloc_array(&copy, (uint64_t)p->count, sizeof *copy,
                                            "checkpoint snapshot"));
                owned[*n] = copy;
                LT_TRY(err = lt_zero_read(lt_engine_store(e), groups[g].which, p, copy));
                data = copy;
            }
            slices[(*n)++] = (lt_ckpt_slice){ .group = groups[g].group,
                                              .name = table->params[p->param].name,
                                              .dtype = LT_F32,
                                              .first = (uint64_t)p->first,
                                              .count = (uint64_t)p->count,
                                              .data = data };
        }
    }
fail:
    free(pieces);
    return err;
}

lt_err lt_snapshot_save(lt_engine *e, const lt_setup *s, const lt_run_state *state, char **path)
{
    const lt_param_table *table = lt_engine_table(e);
    lt_ckpt_tensor *tensors = tensors_of(table);
    size_t most = LT_COUNT(groups) * (size_t)table->n_params, n_blobs = 4;
    lt_ckpt_slice *slices = lt_new_array0(most, sizeof *slices);
    void **owned = lt_new_array0(most, sizeof *owned);
    lt_buf config = { 0 }, generation = { 0 }, yaml = { 0 }, counters = { 0 }, tuning = { 0 };
    lt_ckpt_save_request rq = { .tensors = tensors,
                                .n_tensors = (size_t)table->n_params,
                                .world = 1 };
    lt_ckpt_blob blobs[6];
    lt_err err;

    lt_model_config_to_hf(&config, &s->config->model.dims, "float32");
    lt_generation_config_to_hf(&generation, &s->config->model.dims);
    lt_config_digest_text(s->config, &yaml);
    LT_TRY(err = format_state(&counters, e, s, state));
    LT_TRY(err = gather_slices(e, slices, &rq.n_slices, owned));
    blobs[0] = (lt_ckpt_blob){ "config.json", config.data, config.size };
    blobs[1] = (lt_ckpt_blob){ "generation_config.json", generation.data, generation.size };
    blobs[2] = (lt_ckpt_blob){ "config.yaml", yaml.data, yaml.size };
    blobs[3] = (lt_ckpt_blob){ "state.json", counters.data, counters.size };
    if (s->tokenizer)
        blobs[n_blobs++] =
            (lt_ckpt_blob){ "tokenizer.json", s->tokenizer_json.data, s->tokenizer_json.size };
    if (lt_engine_device(e)->backend->tuning_save)
        lt_engine_device(e)->backend->tuning_save(lt_engine_device(e), &tuning);
    if (tuning.size)
        blobs[n_blobs++] = (lt_ckpt_blob){ TUNING, tuning.data, tuning.size };
    rq.step = (lt_ckpt_step){ state->step, state->samples, state->tokens, state->run_id };
    rq.slices = slices;
    rq.blobs = blobs;
    rq.n_blobs = n_blobs;
    LT_TRY(err = lt_ckpt_save(s->config->checkpoint.dir, &rq, path));
fail:
    for (size_t i = 0; i < most; i++)
        free(owned[i]);
    free(owned);
    free(slices);
    free(tensors);
    lt_buf_release(&config);
    lt_buf_release(&generation);
    lt_buf_release(&yaml);
    lt_buf_release(&counters);
    lt_buf_release(&tuning);
    return err;
}

/* ---- loading */

static lt_err load_group(lt_engine *e, lt_ckpt *c, lt_zero_class which, const char *group)
{
    int n = 0;
    const lt_param_table *table = lt_engine_table(e);
    lt_zero_piece *pieces = lt_zero_plan_pieces(lt_engine_zero_plan(e), table, &n);
    float *values = NULL;
    lt_err err = LT_OK;

    for (int i = 0; i < n; i++) {
        const lt_zero_piece *p = &pieces[i];

        LT_TRY(err = lt_alloc_array(&values, (uint64_t)p->count, sizeof *values, lt_ckpt_path(c)));
        LT_TRY(err = lt_ckpt_read(c, group, table->params[p->param].name, (uint64_t)p->first,
                                  (uint64_t)p->count, values, LT_F32));
        LT_TRY(err = lt_zero_write(lt_engine_store(e), which, p, values));
        free(values);
        values = NULL;
    }
fail:
    free(values);
    free(pieces);
    return err;
}

static lt_err open_matching(lt_ckpt **out, lt_engine *e, const char *path)
{
    const lt_param_table *table = lt_engine_table(e);
    lt_ckpt_tensor *tensors = tensors_of(table);
    lt_err err;

    LT_TRY(err = lt_ckpt_open(out, path));
    LT_TRY(err = lt_ckpt_check(*out, tensors, (size_t)table->n_params));
fail:
    free(tensors);
    return err;
}

static lt_err differs(const char *path, const char *what, const char *there, const char *here)
{
    return lt_fail(
        LT_EMISMATCH,
        "%s was trained with %s %s, this run has %s; go on with the same, or start over with "
        "checkpoint.resume=never and another checkpoint.dir",
        path, what, there, here);
}

static lt_err check_identity(const json_t *state, const lt_setup *s, const char *path)
{
    int64_t seq = 0, seed = 0;
    char here[LT_SHA256_HEX], a[32], b[32];
    bool shuffle = true;
    const char *data;
    lt_err err;

    lt_sha256_hex(lt_dataset_manifest(s->train)->id, here);
    LT_TRY(err = lt_json_string(state, "data", &data, path));
    LT_TRY(err = lt_json_int(state, "seq_len", 1, INT64_MAX, &seq, path));
    LT_TRY(err = lt_json_int(state, "seed", INT64_MIN, INT64_MAX, &seed, path));
    LT_TRY(err = lt_json_opt_bool(state, "shuffle", &shuffle, path));
    if (strcmp(data, here) != 0)
        return differs(path, "data set", data, here);
    snprintf(a, sizeof a, "%" PRId64, seq);
    snprintf(b, sizeof b, "%" PRId64, s->config->data.seq_len);
    if (strcmp(a, b) != 0)
        return differs(path, "data.seq_len", a, b);
    snprintf(a, sizeof a, "%" PRId64, seed);
    snprintf(b, sizeof b, "%" PRId64, s->config->training.seed);
    if (strcmp(a, b) != 0)
        return differs(path, "training.seed", a, b);
    if (shuffle != s->config->data.shuffle)
        return differs(path, "data.shuffle", shuffle ? "true" : "false",
                       shuffle ? "false" : "true");
fail:
    return err;
}

/* A scale that moves goes on from where it was; a run whose scale does not move keeps its own. */
static lt_err load_scale(lt_step_state *now, const json_t *state, const char *name)
{
    double scale = (double)now->loss_scale;
    int64_t left = now->hysteresis_left;
    lt_err err;

    LT_TRY(err = lt_json_opt_real(state, "loss_scale", &scale, name));
    LT_TRY(err = lt_json_opt_int(state, "hysteresis_left", 0, UINT32_MAX, &left, name));
    LT_TRY(err = lt_json_opt_int(state, "scale_step", 0, INT64_MAX, &now->scale_step, name));
    LT_TRY(err = lt_json_opt_int(state, "last_overflow", -1, INT64_MAX, &now->last_overflow, name));
    if (!(scale > 0) || scale > 0x1p127)
        return lt_fail(LT_EFORMAT, "%s: loss_scale: expected more than 0, found %g", name, scale);
    now->loss_scale = (float)scale;
    now->hysteresis_left = (uint32_t)left;
fail:
    return err;
}

static lt_err load_state(lt_engine *e, lt_ckpt *c, const lt_setup *s, lt_run_state *out)
{
    const lt_ckpt_step *step = &lt_ckpt_manifest(c)->step;
    char *name = lt_asprintf("%s/state.json", lt_ckpt_path(c));
    lt_buf text = { 0 };
    json_t *state = NULL;
    int64_t adam_t = 0, skipped = 0;
    lt_step_state now;
    lt_err err;

    LT_TRY(err = lt_ckpt_blob_read(c, "state.json", &text));
    LT_TRY(err = lt_json_parse(&state, text.data, text.size, name));
    LT_TRY(err = check_identity(state, s, lt_ckpt_path(c)));
    LT_TRY(err = lt_json_int(state, "adam_t", 0, INT64_MAX, &adam_t, name));
    LT_TRY(err = lt_json_int(state, "skipped_steps", 0, UINT32_MAX, &skipped, name));
    LT_TRY(err = lt_engine_state(e, &now));
    if (s->engine.optim.scaling.dynamic)
        LT_TRY(err = load_scale(&now, state, name));
    now.adam_t = (uint64_t)adam_t;
    now.n_skipped = (uint32_t)skipped;
    LT_TRY(err = lt_engine_set_state(e, &now));
    *out = (lt_run_state){ .step = step->step, .samples = step->samples, .tokens = step->tokens };
    snprintf(out->run_id, sizeof out->run_id, "%s", step->run_id);
fail:
    json_decref(state);
    lt_buf_release(&text);
    free(name);
    return err;
}

/* The device's choices, taken back where they fit; elsewhere bits may differ, which is said. */
static lt_err load_tuning(lt_engine *e, lt_ckpt *c)
{
    lt_dev *dev = lt_engine_device(e);
    lt_buf text = { 0 };
    lt_err err = LT_OK;

    if (!dev->backend->tuning_load || !lt_ckpt_has_blob(c, TUNING))
        return LT_OK;
    LT_TRY(err = lt_ckpt_blob_read(c, TUNING, &text));
    err = dev->backend->tuning_load(dev, text.data, text.size, lt_ckpt_path(c));
    if (err == LT_EMISMATCH) {
        lt_log_warn("%s; the run goes on, but not bit for bit", lt_err_text());
        err = LT_OK;
    }
fail:
    lt_buf_release(&text);
    return err;
}

lt_err lt_snapshot_load(lt_engine *e, const lt_setup *s, lt_run_state *state, const char *path)
{
    lt_ckpt *c = NULL;
    lt_err err;

    LT_TRY(err = open_matching(&c, e, path));
    LT_TRY(err = load_state(e, c, s, state));
    LT_TRY(err = load_tuning(e, c));
    for (size_t g = 0; g < LT_COUNT(groups); g++)
        LT_TRY(err = load_group(e, c, groups[g].which, groups[g].group));
    LT_TRY(err = lt_zero_refresh(lt_engine_store(e)));
fail:
    lt_ckpt_close(c);
    return err;
}

lt_err lt_snapshot_load_weights(lt_engine *e, const char *path)
{
    lt_ckpt *c = NULL;
    lt_err err;

    LT_TRY(err = open_matching(&c, e, path));
    LT_TRY(err = load_group(e, c, LT_ZERO_MASTER, LT_CKPT_WEIGHTS));
    LT_TRY(err = lt_zero_refresh(lt_engine_store(e)));
fail:
    lt_ckpt_close(c);
    return err;
}
