/* train/snapshot.c - restoring a run; train/saver.c saves it. */
#include "train/snapshot_parts.h"

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

const lt_snapshot_group lt_snapshot_groups[LT_SNAPSHOT_GROUPS] = {
    { LT_ZERO_MASTER, LT_CKPT_WEIGHTS },
    { LT_ZERO_MOMENT1, "exp_avg" },
    { LT_ZERO_MOMENT2, "exp_avg_sq" },
};

void lt_run_state_new(lt_run_state *s)
{
    uint64_t id = lt_mix64((uint64_t)(lt_wall_time() * 1e6) ^ ((uint64_t)getpid() << 40));

    *s = (lt_run_state){ 0 };
    snprintf(s->run_id, sizeof s->run_id, "%016" PRIx64, id);
}

lt_ckpt_tensor *lt_snapshot_tensors(const lt_param_table *t)
{
    lt_ckpt_tensor *tensors = lt_new_array0((size_t)t->n_params, sizeof *tensors);

    for (int i = 0; i < t->n_params; i++)
        tensors[i] = lt_ckpt_tensor_of(&t->params[i], LT_F32);
    return tensors;
}

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
    lt_ckpt_tensor *tensors = lt_snapshot_tensors(table);
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

/* What weights of the same shapes mean: heads, activation, epsilon.  A member that only one side
 * has belongs to another release of lt. */
static lt_err compare_models(const json_t *there, json_t *here, const char *path)
{
    static const char *const free_to_change[] = { "initializer_range", "bos_token_id",
                                                  "eos_token_id" };
    const char *key;
    json_t *b;

    json_object_foreach(here, key, b)
    {
        const json_t *a = json_object_get(there, key);
        bool same = !a || json_equal(a, b);

        for (size_t k = 0; k < LT_COUNT(free_to_change); k++)
            same |= strcmp(key, free_to_change[k]) == 0;
        if (!same) {
            char *x = json_dumps(a, JSON_ENCODE_ANY), *y = json_dumps(b, JSON_ENCODE_ANY);
            lt_err err = differs(path, key, x, y);

            free(x);
            free(y);
            return err;
        }
    }
    return LT_OK;
}

static lt_err check_model(lt_ckpt *c, const lt_setup *s)
{
    char *name = lt_asprintf("%s/config.json", lt_ckpt_path(c));
    lt_buf there = { 0 }, here = { 0 };
    json_t *a = NULL, *b = NULL;
    lt_err err;

    lt_model_config_to_hf(&here, &s->config->model.dims, "float32");
    LT_TRY(err = lt_ckpt_blob_read(c, "config.json", &there));
    LT_TRY(err = lt_json_parse(&a, there.data, there.size, name));
    LT_TRY(err = lt_json_parse(&b, here.data, here.size, "config.json"));
    LT_TRY(err = compare_models(a, b, lt_ckpt_path(c)));
fail:
    json_decref(a);
    json_decref(b);
    lt_buf_release(&there);
    lt_buf_release(&here);
    free(name);
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

    if (!dev->backend->tuning_load || !lt_ckpt_has_blob(c, LT_SNAPSHOT_TUNING))
        return LT_OK;
    LT_TRY(err = lt_ckpt_blob_read(c, LT_SNAPSHOT_TUNING, &text));
    err = dev->backend->tuning_load(dev, text.data, text.size, lt_ckpt_path(c));
    if (err == LT_EMISMATCH) {
        lt_log_warn("%s; the run goes on, but not bit for bit", lt_err_text());
        err = LT_OK;
    }
fail:
    lt_buf_release(&text);
    return err;
}

static lt_err load_slices(lt_engine *e, lt_ckpt *c, bool weights_only)
{
    lt_err err = LT_OK;

    for (size_t g = 0; g < (weights_only ? 1 : LT_SNAPSHOT_GROUPS) && err == LT_OK; g++)
        err = load_group(e, c, lt_snapshot_groups[g].which, lt_snapshot_groups[g].group);
    return err;
}

/* All that a rank reads for itself, before ranks do anything together. */
static lt_err load_own(lt_engine *e, const lt_setup *s, lt_run_state *state, const char *path)
{
    lt_ckpt *c = NULL;
    lt_err err;

    LT_TRY(err = open_matching(&c, e, path));
    LT_TRY(err = check_model(c, s));
    LT_TRY(err = load_state(e, c, s, state));
    LT_TRY(err = load_tuning(e, c));
    err = load_slices(e, c, false);
fail:
    lt_ckpt_close(c);
    return err;
}

lt_err lt_snapshot_load(lt_engine *e, const lt_setup *s, lt_run_state *state, const char *path)
{
    lt_err err;

    LT_TRY(err = lt_ranks_agree(lt_engine_group(e), load_own(e, s, state, path)));
    err = lt_zero_refresh(lt_engine_store(e));
fail:
    return err;
}

lt_err lt_snapshot_load_weights(lt_engine *e, const char *path)
{
    lt_ckpt *c = NULL;
    lt_err err;

    LT_TRY(err = open_matching(&c, e, path));
    LT_TRY(err = load_slices(e, c, true));
    LT_TRY(err = lt_zero_refresh(lt_engine_store(e)));
fail:
    lt_ckpt_close(c);
    return err;
}
