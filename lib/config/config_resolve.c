/* config/config_resolve.c - settings that follow from others, and pairs that exclude each other.
 *
 * Needs no file and no rank count; those parts are in resolve_model.c and resolve_batch.c. */
#include "config/config_resolve.h"
#include "config/origin.h"

#include <stdlib.h>
#include <string.h>

static lt_origin_rank rank_of(const lt_config *c, const char *key)
{
    return lt_origin_of(c, key)->rank;
}

static void derive_unless_given(lt_config *c, const char *key, const char *text, const char *why)
{
    if (!lt_config_given(c, key))
        lt_derive_parsed(c, key, text, why);
}

/* a and b exclude each other and both were given with the same rank. */
static lt_err fail_both(const lt_config *c, const char *a, const char *b, const char *advice)
{
    lt_buf where = { 0 };
    lt_err err;

    lt_config_where(c, a, &where);
    err = lt_setting_fail(c, LT_EUSAGE, b, "%s is given too (%s); %s", a, lt_buf_cstr(&where),
                          advice);
    lt_buf_release(&where);
    return err;
}

/* An optimizer block brings DeepSpeed's defaults, not ours. */
static void resolve_optimizer(lt_config *c)
{
    static const char why[] = "DeepSpeed's default, as deepspeed.optimizer is given";

    if (!lt_origin_section_given(c, "deepspeed.optimizer"))
        return;
    derive_unless_given(c, "training.lr", "1e-3", why);
    derive_unless_given(c, "training.betas", "0.9,0.999", why);
    derive_unless_given(c, "training.eps", "1e-8", why);
    derive_unless_given(c, "training.weight_decay", "0", why);
    derive_unless_given(c, "training.decay_all", "true",
                        "deepspeed.optimizer decays every parameter");
}

static lt_err resolve_schedule(lt_config *c)
{
    static const char *const one_cycle_needs[] = { "deepspeed.scheduler.params.cycle_min_lr",
                                                   "deepspeed.scheduler.params.cycle_max_lr" };
    lt_config_scheduler *s = &c->deepspeed.scheduler;
    bool is_ours = c->training.lr_schedule <= LT_LR_CONSTANT;

    if (!is_ours)
        derive_unless_given(c, "training.warmup_steps", "1000", "DeepSpeed's default");
    if (!lt_config_given(c, "training.min_lr"))
        lt_derive_real(c, "training.min_lr", c->training.lr / 10, "training.lr / 10");
    else if (is_ours && c->training.min_lr > c->training.lr)
        return lt_setting_fail(c, LT_EUSAGE, "training.min_lr",
                               "expected at most training.lr, %g, found %g", c->training.lr,
                               c->training.min_lr);
    if (!lt_config_given(c, "deepspeed.scheduler.params.warmup_max_lr"))
        lt_derive_real(c, "deepspeed.scheduler.params.warmup_max_lr", c->training.lr,
                       "training.lr");
    if (!lt_config_given(c, "deepspeed.scheduler.params.cycle_second_step_size"))
        lt_derive_int(c, "deepspeed.scheduler.params.cycle_second_step_size",
                      s->cycle_first_step_size, "cycle_first_step_size");
    if (!lt_config_given(c, "deepspeed.scheduler.params.cycle_second_stair_count"))
        lt_derive_int(c, "deepspeed.scheduler.params.cycle_second_stair_count",
                      s->cycle_first_stair_count, "cycle_first_stair_count");
    if (c->training.lr_schedule == LT_LR_DS_ONE_CYCLE)
        for (size_t i = 0; i < LT_COUNT(one_cycle_needs); i++)
            if (!lt_config_given(c, one_cycle_needs[i]))
                return lt_setting_fail(c, LT_EUSAGE, one_cycle_needs[i], "OneCycle needs it");
    return LT_OK;
}

static lt_err fail_precision(const lt_config *c, const char *flag, bool on)
{
    const lt_origin *precision = lt_origin_of(c, "model.precision");
    lt_buf where = { 0 };
    lt_err err;

    lt_config_where(c, "model.precision", &where);
    err = lt_setting_fail(c, LT_EUSAGE, flag,
                          "%s, but %s (%s) makes it %s; they are one setting and must agree",
                          on ? "true" : "false", lt_setting_at((size_t)precision->by)->key,
                          lt_buf_cstr(&where), lt_dtype_name(c->model.precision));
    lt_buf_release(&where);
    return err;
}

/* fp16.enabled and bf16.enabled are two more ways to say model.precision. */
static lt_err resolve_precision(lt_config *c)
{
    const struct {
        const char *key;
        lt_dtype type;
        const bool *enabled;
    } flags[] = { { "deepspeed.fp16.enabled", LT_F16, &c->deepspeed.fp16.enabled },
                  { "deepspeed.bf16.enabled", LT_BF16, &c->deepspeed.bf16.enabled } };
    lt_origin *precision = lt_origin_of(c, "model.precision");

    for (size_t i = 0; i < LT_COUNT(flags); i++) {
        const lt_origin *flag = lt_origin_of(c, flags[i].key);
        bool on = *flags[i].enabled;

        if (flag->rank < LT_FROM_FILE || flag->rank < precision->rank ||
            on == (c->model.precision == flags[i].type))
            continue; /* not given, overruled by argv, or the same */
        if (!on || flag->rank == precision->rank)
            return fail_precision(c, flags[i].key, on);
        c->model.precision = flags[i].type;
        lt_origin_adopt(precision, flag);
    }
    for (size_t i = 0; i < LT_COUNT(flags); i++)
        if (*flags[i].enabled != (c->model.precision == flags[i].type))
            lt_derive_int(c, flags[i].key, c->model.precision == flags[i].type, "model.precision");
    return LT_OK;
}

/* Exactly one of three lengths; argv replaces whatever length the file gives. */
static lt_err resolve_length(lt_config *c)
{
    static const char *const keys[] = { "training.steps", "training.epochs", "training.tokens" };
    const char *length = NULL;

    for (size_t i = 0; i < LT_COUNT(keys); i++) {
        if (!lt_config_given(c, keys[i]))
            continue;
        if (length && rank_of(c, keys[i]) == rank_of(c, length))
            return fail_both(c, length, keys[i],
                             "one of training.steps, training.epochs and training.tokens is the "
                             "length of the run");
        if (!length || rank_of(c, keys[i]) > rank_of(c, length))
            length = keys[i];
    }
    if (!length)
        lt_derive_int(c, "training.epochs", 1, "no length is given");
    for (size_t i = 0; length && i < LT_COUNT(keys); i++)
        if (keys[i] != length && lt_config_given(c, keys[i]))
            lt_setting_forget(c, keys[i]);
    return LT_OK;
}

static lt_err resolve_source(lt_config *c)
{
    bool has_path = *c->model.path, has_name = *c->model.name;

    if (has_path && has_name) {
        if (rank_of(c, "model.path") == rank_of(c, "model.name"))
            return fail_both(c, "model.name", "model.path", "give one of the two");
        lt_setting_forget(c, rank_of(c, "model.path") > rank_of(c, "model.name") ? "model.name"
                                                                                 : "model.path");
    } else if (!has_path && !has_name) {
        lt_derive_text(c, "model.name", "gpt2", "neither model.name nor model.path is given");
    }
    return *c->model.name ? lt_config_resolve_model(c) : LT_OK;
}

static lt_err check_offload(const lt_config *c)
{
    const lt_config_zero *z = &c->deepspeed.zero_optimization;
    const struct {
        const char *device, *path;
        const lt_config_offload *block;
    } blocks[] = {
        { "deepspeed.zero_optimization.offload_optimizer.device",
          "deepspeed.zero_optimization.offload_optimizer.nvme_path", &z->offload_optimizer },
        { "deepspeed.zero_optimization.offload_param.device",
          "deepspeed.zero_optimization.offload_param.nvme_path", &z->offload_param },
    };

    if (z->offload_param.device != LT_OFFLOAD_NONE && z->stage != 3)
        return lt_setting_fail(c, LT_EUSAGE, blocks[1].device,
                               "parameters are offloaded at ZeRO stage 3 only, found stage %d",
                               (int)z->stage);
    for (size_t i = 0; i < LT_COUNT(blocks); i++)
        if (blocks[i].block->device == LT_OFFLOAD_NVME && !*blocks[i].block->nvme_path)
            return lt_setting_fail(c, LT_EUSAGE, blocks[i].device, "nvme needs %s", blocks[i].path);
    return LT_OK;
}

static void resolve_logging(lt_config *c)
{
    const lt_config_tensorboard *t = &c->deepspeed.tensorboard;
    char *dir;

    if (lt_config_given(c, "logging.tensorboard_dir"))
        return;
    if (!*t->output_path) {
        lt_derive_text(c, "logging.tensorboard_dir", c->logging.dir, "logging.dir");
        return;
    }
    dir = lt_asprintf("%s/%s", t->output_path, t->job_name);
    lt_derive_text(c, "logging.tensorboard_dir", dir, "deepspeed.tensorboard");
    free(dir);
}

lt_err lt_config_resolve(lt_config *c)
{
    lt_err err;

    resolve_optimizer(c);
    LT_TRY(err = resolve_schedule(c));
    LT_TRY(err = resolve_precision(c));
    LT_TRY(err = resolve_length(c));
    LT_TRY(err = check_offload(c));
    resolve_logging(c);
    LT_TRY(err = resolve_source(c));
fail:
    return err;
}
