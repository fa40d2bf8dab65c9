/* train/setup.c - configuration, data and model brought together and checked. */
#include "train/setup.h"

#include "base/file.h"
#include "base/log.h"
#include "batch/sampler.h"
#include "shard/shard_folder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Elements of one piece of the optimizer's update; DeepSpeed's default of 1e9 is far beyond. */
enum { MAX_TILE = 8 << 20 };

static void fill_schedule(lt_setup *s)
{
    const lt_config_training *t = &s->config->training;
    const lt_config_scheduler *d = &s->config->deepspeed.scheduler;

    s->schedule = (lt_lr_schedule){
        .kind = t->lr_schedule,
        .lr = t->lr,
        .min_lr = t->min_lr,
        .warmup_steps = t->warmup_steps,
        .total_steps = (int64_t)s->total_steps,
        .warmup_min_lr = d->warmup_min_lr,
        .warmup_max_lr = d->warmup_max_lr,
        .warmup_log = d->warmup_type == LT_WARMUP_LOG,
        .total_num_steps = d->total_num_steps,
        .warmup_min_ratio = d->warmup_min_ratio,
        .cos_min_ratio = d->cos_min_ratio,
        .cycle_min_lr = d->cycle_min_lr,
        .cycle_max_lr = d->cycle_max_lr,
        .decay_lr_rate = d->decay_lr_rate,
        .cycle_first_step_size = d->cycle_first_step_size,
        .cycle_second_step_size = d->cycle_second_step_size,
        .cycle_first_stair_count = d->cycle_first_stair_count,
        .cycle_second_stair_count = d->cycle_second_stair_count,
        .decay_step_size = d->decay_step_size,
        .cycle_momentum = d->cycle_momentum,
        .cycle_min_mom = d->cycle_min_mom,
        .cycle_max_mom = d->cycle_max_mom,
        .decay_mom_rate = d->decay_mom_rate,
        .lr_range_test_min_lr = d->lr_range_test_min_lr,
        .lr_range_test_step_rate = d->lr_range_test_step_rate,
        .lr_range_test_step_size = d->lr_range_test_step_size,
        .lr_range_test_staircase = d->lr_range_test_staircase,
    };
}

static double first_loss_scale(const lt_config *c)
{
    const lt_config_fp16 *f = &c->deepspeed.fp16;

    if (c->model.precision != LT_F16)
        return 1;
    return f->loss_scale > 0 ? f->loss_scale : ldexp(1, (int)f->initial_scale_power);
}

static lt_loss_scaling scaling_of(const lt_config *c)
{
    const lt_config_fp16 *f = &c->deepspeed.fp16;

    return (lt_loss_scaling){ .dynamic = c->model.precision == LT_F16 && f->loss_scale == 0,
                              .min_loss_scale = (float)f->min_loss_scale,
                              .loss_scale_window = f->loss_scale_window,
                              .hysteresis = (uint32_t)f->hysteresis,
                              .consecutive_hysteresis = f->consecutive_hysteresis };
}

static lt_zero_offload offload_of(const lt_config_offload *o)
{
    static const lt_tier_kind kinds[] = { [LT_OFFLOAD_NONE] = LT_TIER_NONE,
                                          [LT_OFFLOAD_CPU] = LT_TIER_HOST,
                                          [LT_OFFLOAD_NVME] = LT_TIER_FILE };

    return (lt_zero_offload){ .kind = kinds[o->device],
                              .pinned = o->pin_memory,
                              .path = o->nvme_path,
                              .n_buffers = o->buffer_count,
                              .max_in_cpu = o->max_in_cpu,
                              .ratio = o->ratio };
}

static lt_zero_settings zero_settings(const lt_config *c)
{
    const lt_config_zero *z = &c->deepspeed.zero_optimization;

    return (lt_zero_settings){
        .stage = (int)z->stage,
        .overlap = z->overlap_comm,
        .optimizer = offload_of(&z->offload_optimizer),
        .param = offload_of(&z->offload_param),
        .tile = z->sub_group_size < MAX_TILE ? z->sub_group_size : MAX_TILE,
        .persistence_threshold = z->stage3_param_persistence_threshold,
        .model_persistence_threshold = z->stage3_model_persistence_threshold,
        .prefetch = z->stage3_prefetch_bucket_size,
        .max_live = z->stage3_max_live_parameters,
    };
}

static void fill_engine(lt_setup *s, lt_group *group, bool sampling)
{
    static const char *const devices[] = { "auto", "cpu", "cuda" };
    const lt_config *c = s->config;
    const lt_config_training *t = &c->training;
    const lt_model_config *m = &c->model.dims;
    lt_engine_options *o = &s->engine;

    *o = (lt_engine_options){ .config = m, .device = devices[c->device], .training = true };
    o->zero = zero_settings(c);
    o->group = group;
    o->dev = (lt_dev_options){ .n_threads = (int)c->threads,
                               .deterministic = t->deterministic,
                               .allow_tf32 = t->allow_tf32,
                               .attention = c->model.attention };
    o->shape = (lt_model_shape){ .n_batch = t->batch_size,
                                 .seq = c->data.seq_len,
                                 .act = c->model.precision,
                                 .grad = LT_F32,
                                 .recompute = c->deepspeed.activation_checkpointing.granularity };
    o->shape.uses[LT_USE_TRAIN] = true;
    o->shape.uses[LT_USE_EVALUATE] = t->eval_every_steps > 0;
    if (sampling) {
        o->shape.uses[LT_USE_GENERATE] = true;
        o->shape.generate_batch = 1;
        o->shape.generate_total = m->n_positions;
        o->shape.generate_prompt = m->n_positions < 128 ? m->n_positions : 128;
    }
    o->loss_scale = first_loss_scale(c);
    o->optim = (lt_optim){ .beta1 = (float)t->betas[0],
                           .beta2 = (float)t->betas[1],
                           .eps = (float)t->eps,
                           .weight_decay = (float)t->weight_decay,
                           .decay_all = t->decay_all,
                           .decoupled = true,
                           .max_norm = (float)t->gradient_clipping,
                           .scaling = scaling_of(c) };
}

static lt_err open_split(lt_dataset **out, const char *path, const char *key)
{
    char *now = lt_shard_folder_resolve(path);
    bool there = lt_path_exists(now);

    free(now);
    if (!there)
        return lt_fail(
            LT_ENOENT,
            "%s: %s is not there; make it with: lt-tokenize --tokenizer gpt2 corpus.txt -o "
            "corpus.tok && lt-shard --out data corpus.tok",
            key, path);
    return lt_dataset_open(out, path);
}

lt_err lt_setup_open_tokenizer(lt_tokenizer **out, const char *path)
{
    lt_err err = lt_tokenizer_open(out, path);

    return err == LT_OK ? err : lt_fail_in("data.tokenizer");
}

/* The tokenizer that the configuration names, else the one beside the manifest, if any. */
static lt_err open_tokenizer(lt_setup *s)
{
    const lt_shard_manifest *m = lt_dataset_manifest(s->train);
    const char *manifest = s->config->data.train;
    char *now = lt_dataset_tokenizer_path(s->train);
    const char *path = s->config->data.tokenizer[0] ? s->config->data.tokenizer : now;
    lt_err err = LT_OK;

    if (path == now && !lt_path_exists(path))
        goto fail;
    LT_TRY(err = lt_setup_open_tokenizer(&s->tokenizer, path));
    if (memcmp(lt_tokenizer_hash(s->tokenizer), m->tokenizer_hash, sizeof m->tokenizer_hash) != 0) {
        err = lt_fail(LT_EMISMATCH, "%s is not the tokenizer that made %s: their hashes differ",
                      path, manifest);
        goto fail;
    }
    lt_tokenizer_to_json(s->tokenizer, &s->tokenizer_json);
fail:
    free(now);
    return err;
}

static lt_err check_vocabulary(const lt_setup *s)
{
    const lt_shard_manifest *m = lt_dataset_manifest(s->train);
    int64_t vocab = s->config->model.dims.vocab_size;

    if ((int64_t)m->vocab_size > vocab)
        return lt_fail(
            LT_EMISMATCH,
            "vocabulary: %s was made with %u token ids, the model has %lld; set model.vocab_size "
            "to at least %u or shard the data with the model's tokenizer",
            s->config->data.train, m->vocab_size, (long long)vocab, m->vocab_size);
    if (s->val && memcmp(lt_dataset_manifest(s->val)->tokenizer_hash, m->tokenizer_hash,
                         sizeof m->tokenizer_hash) != 0)
        return lt_fail(LT_EMISMATCH, "%s and %s were made with different tokenizers",
                       s->config->data.train, s->config->data.val);
    return LT_OK;
}

/* Evaluation is on by default; data without a validation split only ends the default. */
static bool wants_evaluation(const lt_config *c)
{
    char *now = lt_shard_folder_resolve(c->data.val);
    bool there = lt_path_exists(now);

    free(now);
    if (c->training.eval_every_steps == 0)
        return false;
    if (there || lt_config_given(c, "data.val") || lt_config_given(c, "training.eval_every_steps"))
        return true;
    lt_log_info("%s is not there: no evaluation", c->data.val);
    return false;
}

static lt_err open_data(lt_setup *s)
{
    const lt_config *c = s->config;
    lt_err err;

    LT_TRY(err = open_split(&s->train, c->data.train, "data.train"));
    if (wants_evaluation(c))
        LT_TRY(err = open_split(&s->val, c->data.val, "data.val"));
    LT_TRY(err = check_vocabulary(s));
    LT_TRY(err = open_tokenizer(s));
    if (c->training.sample_every_steps > 0 && !s->tokenizer)
        err =
            lt_fail(LT_EUSAGE,
                    "training.sample_every_steps: no tokenizer.json beside %s; set data.tokenizer",
                    c->data.train);
fail:
    return err;
}

static uint64_t steps_of(const lt_setup *s)
{
    const lt_config_training *t = &s->config->training;
    uint64_t per_step = s->step_samples * (uint64_t)s->config->data.seq_len;

    if (t->steps > 0)
        return (uint64_t)t->steps;
    if (t->tokens > 0)
        return ((uint64_t)t->tokens + per_step - 1) / per_step;
    return (uint64_t)t->epochs * s->epoch_samples / s->step_samples;
}

/* The windows of an epoch, by the sampler's own arithmetic; data.val must have one too. */
static lt_err count_epoch(lt_setup *s)
{
    const lt_config *c = s->config;
    uint64_t t = (uint64_t)c->data.seq_len;
    lt_sampler windows;
    lt_err err;

    if (s->val)
        LT_TRY(err = lt_sampler_init(&windows, lt_dataset_tokens(s->val), t, 0, 0, false,
                                     c->data.val));
    LT_TRY(err = lt_sampler_init(&windows, lt_dataset_tokens(s->train), t, 0, 0, c->data.shuffle,
                                 c->data.train));
    s->epoch_samples = windows.n_windows;
fail:
    return err;
}

lt_err lt_setup_open(lt_setup *s, lt_config *config, lt_group *group, bool with_data)
{
    lt_err err;

    *s = (lt_setup){ .config = config };
    LT_TRY(err = lt_config_check_runnable(config));
    if (with_data) { /* a plan has been resolved for its ranks */
        LT_TRY(err = lt_config_resolve_batch(config, group ? group->world : 1));
        LT_TRY(err = open_data(s));
        LT_TRY(err = count_epoch(s));
    }
    s->step_samples = (uint64_t)config->training.global_batch_size;
    s->n_micro = (int)config->training.gradient_accumulation_steps;
    s->total_steps = steps_of(s);
    if (with_data && s->total_steps == 0) {
        err = lt_fail(LT_EUSAGE,
                      "training.epochs: %lld epochs of %llu sequences do not fill one step of %llu",
                      (long long)config->training.epochs, (unsigned long long)s->epoch_samples,
                      (unsigned long long)s->step_samples);
        goto fail;
    }
    fill_schedule(s);
    if (with_data)
        LT_TRY(err = lt_lr_check(&s->schedule));
    fill_engine(s, group, config->training.sample_every_steps > 0);
    return LT_OK;
fail:
    lt_setup_release(s);
    return err;
}

void lt_setup_release(lt_setup *s)
{
    lt_dataset_close(s->train);
    lt_dataset_close(s->val);
    lt_tokenizer_free(s->tokenizer);
    lt_buf_release(&s->tokenizer_json);
    *s = (lt_setup){ 0 };
}

lt_batcher_options lt_setup_batches(const lt_setup *s, uint64_t first_sample)
{
    const lt_group *g = s->engine.group;
    uint64_t mine = s->step_samples / (uint64_t)(g ? g->world : 1);

    return (lt_batcher_options){ .data = s->train,
                                 .vocab_size = (uint32_t)s->config->model.dims.vocab_size,
                                 .seq_len = (uint64_t)s->config->data.seq_len,
                                 .seed = (uint64_t)s->config->training.seed,
                                 .shuffle = s->config->data.shuffle,
                                 .document_mask = s->config->data.document_masking,
                                 .first_sample = first_sample,
                                 .step_samples = s->step_samples,
                                 .rank_first = g ? mine * (uint64_t)g->rank : 0,
                                 .rank_samples = mine,
                                 .depth = 3 };
}
