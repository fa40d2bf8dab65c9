/* train/loop.c - steps, evaluation, samples, checkpoints, logs.
 *
 * A step's place in the run decides everything it does: which samples it reads, its learning rate,
 * whether it evaluates or saves.  So a resumed run repeats exactly what an undisturbed one does. */
#include "train/loop.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "ckpt/checkpoint_dir.h"
#include "monitor/curve.h"
#include "monitor/progress.h"
#include "monitor/sysinfo.h"
#include "monitor/tb_events.h"
#include "train/generate.h"
#include "train/resume.h"
#include "train/weights.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SKIPS_IN_A_ROW = 20 };

typedef struct run {
    lt_setup setup;
    lt_config *config;
    lt_engine *engine;
    lt_batcher *batches;
    lt_run_state state;
    lt_ckpt_dir_lock *lock;
    lt_metrics_log *log;
    lt_tb_events *events;
    lt_progress progress;
    lt_engine_batch *micro;
    double saved_at; /* clock of the last checkpoint */
    uint64_t saved_step;
    double step_s; /* moving average for the ETA */
    int skips_in_a_row;
    uint64_t skipped;
} run;

/* ---- signals: the handler only sets a flag; the loop looks at it between steps */

static volatile sig_atomic_t stop_signal;

static void on_signal(int number)
{
    if (stop_signal)
        _exit(128 + number);
    stop_signal = number;
}

static void catch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal };

    stop_signal = 0;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
}

/* ---- opening */

static void tell_dropout(const run *r)
{
    const lt_config_model *m = &r->config->model;

    if (m->hf_dropout > m->dropout)
        lt_log_info("%s/config.json has dropout %g; lt trains with model.dropout = %g", m->path,
                    m->hf_dropout, m->dropout);
}

static lt_err load_weights(run *r)
{
    char *path = NULL;
    lt_step_state now = { 0 };
    lt_err err;

    LT_TRY(err = lt_resume(r->engine, &r->setup, &r->state, &path));
    if (path)
        lt_log_info("resuming from %s: step %llu, %llu samples", path,
                    (unsigned long long)r->state.step, (unsigned long long)r->state.samples);
    else if (r->config->model.path[0])
        err = lt_engine_load_hf(r->engine, r->config->model.path);
    else
        err = lt_engine_init_weights(r->engine, (uint64_t)r->config->training.seed);
    if (err == LT_OK)
        err = lt_engine_state(r->engine, &now);
    r->skipped = now.n_skipped;
    r->saved_step = r->state.step;
fail:
    free(path);
    return err;
}

static lt_err open_logs(run *r)
{
    const lt_config_logging *c = &r->config->logging;
    lt_err err;

    LT_TRY(err = lt_mkdirs(c->dir));
    LT_TRY(err = lt_metrics_log_open(&r->log, c->dir, r->state.step));
    if (c->tensorboard)
        LT_TRY(err = lt_tb_events_open(&r->events, c->tensorboard_dir, 10));
    r->progress = (lt_progress){ .total_steps = r->setup.total_steps,
                                 .every_steps = (uint64_t)c->every_steps };
fail:
    return err;
}

static void print_header(const run *r)
{
    const lt_setup *s = &r->setup;
    lt_sysinfo system;
    lt_buf line = { 0 };
    char device[160];

    lt_sysinfo_read(&system);
    lt_sysinfo_format(&line, &system);
    lt_engine_device(r->engine)->backend->describe(lt_engine_device(r->engine), device,
                                                   sizeof device);
    lt_log_info("%s", lt_buf_cstr(&line));
    lt_log_info("%s; %.1f M parameters, %s, %.1f MiB in use", device,
                (double)lt_engine_table(r->engine)->n_elements * 1e-6,
                lt_dtype_name(s->engine.shape.act),
                (double)lt_engine_bytes_used(r->engine).total / (1 << 20));
    lt_log_info(
        "%llu steps of %llu sequences of %lld tokens (%d micro-batches); an epoch is %llu sequences",
        (unsigned long long)s->total_steps, (unsigned long long)s->step_samples,
        (long long)s->engine.shape.seq, s->n_micro, (unsigned long long)s->epoch_samples);
    lt_buf_release(&line);
}

static lt_err open_run(run *r, lt_config *config)
{
    lt_batcher_options options;
    lt_err err;

    r->config = config;
    LT_TRY(err = lt_config_check_runnable(config));
    tell_dropout(r);
    LT_TRY(err = lt_setup_open(&r->setup, config, true));
    LT_TRY(err = lt_ckpt_lock(&r->lock, config->checkpoint.dir));
    LT_TRY(err = lt_ckpt_sweep(config->checkpoint.dir));
    LT_TRY(err = lt_engine_open(&r->engine, &r->setup.engine));
    LT_TRY(err = load_weights(r));
    LT_TRY(err = open_logs(r));
    options = lt_setup_batches(&r->setup, r->state.samples);
    LT_TRY(err = lt_batcher_open(&r->batches, &options));
    r->micro = lt_new_array0((size_t)r->setup.n_micro, sizeof *r->micro);
    r->saved_at = lt_now();
    print_header(r);
fail:
    return err;
}

static lt_err close_run(run *r, lt_err err)
{
    lt_err_record first;

    lt_err_take(&first);
    lt_log_progress_end();
    lt_batcher_close(r->batches);
    lt_metrics_log_close(r->log);
    if (lt_tb_events_close(r->events) != LT_OK && err == LT_OK) {
        err = LT_EIO;
        lt_err_take(&first);
    }
    lt_engine_close(r->engine);
    lt_ckpt_unlock(r->lock);
    lt_setup_release(&r->setup);
    free(r->micro);
    return err == LT_OK ? LT_OK : lt_err_give(&first);
}

/* ---- a step and what follows it */

static void slice_batch(run *r, const lt_batch *b)
{
    int64_t rows = r->setup.engine.shape.n_batch * r->setup.engine.shape.seq;

    for (int i = 0; i < r->setup.n_micro; i++)
        r->micro[i] = (lt_engine_batch){ .ids = b->inputs + i * rows,
                                         .targets = b->targets + i * rows,
                                         .positions = b->positions + i * rows,
                                         .doc_start = r->config->data.document_masking
                                                          ? b->doc_start + i * rows
                                                          : NULL };
}

static lt_err count_skip(run *r, const lt_engine_result *result)
{
    const lt_param *first = NULL;
    lt_err err = LT_OK;

    r->skips_in_a_row = result->skipped ? r->skips_in_a_row + 1 : 0;
    r->skipped += result->skipped;
    if (!result->skipped)
        return LT_OK;
    LT_TRY(err = lt_engine_first_nonfinite(r->engine, &first));
    lt_log_warn(
        "step %llu: the update was skipped: the gradient of %s is not finite (loss scale %g)",
        (unsigned long long)r->state.step, first ? first->name : "some parameter",
        result->loss_scale);
    if (result->scale_stuck)
        err = lt_fail(
            LT_EFAULT,
            "step %llu: gradients overflow at the smallest loss scale, %g; train in bf16, or "
            "lower training.lr",
            (unsigned long long)r->state.step, result->loss_scale);
fail:
    return err;
}

static lt_err check_skips(const run *r)
{
    if (r->skips_in_a_row >= MAX_SKIPS_IN_A_ROW)
        return lt_fail(
            LT_EFAULT,
            "step %llu: %d steps in a row had gradients that are not finite; training has diverged "
            "(lower training.lr or longer training.warmup_steps may help)",
            (unsigned long long)r->state.step, MAX_SKIPS_IN_A_ROW);
    return LT_OK;
}

static bool due(uint64_t step, int64_t every)
{
    return every > 0 && step % (uint64_t)every == 0;
}

/* Asking a GPU takes a millisecond, so only the steps that are printed know. */
static void add_health(run *r, lt_step_metrics *m)
{
    lt_dev *dev = lt_engine_device(r->engine);
    lt_dev_health h;

    if (dev->backend == &lt_backend_cpu)
        return;
    m->device_bytes = lt_engine_bytes_used(r->engine).total;
    if (!due(m->step, r->config->logging.every_steps))
        return;
    dev->backend->health(dev, &h);
    m->power_w = h.power_w;
    m->sm_mhz = h.sm_mhz;
    m->temperature_c = h.temperature_c;
    memcpy(m->throttle, h.throttle, sizeof m->throttle);
}

static lt_err train_step(run *r, lt_step_metrics *m)
{
    const lt_setup *s = &r->setup;
    const lt_batch *b = NULL;
    lt_engine_result result;
    double start = lt_now(), lr = lt_lr_at(&s->schedule, (int64_t)r->state.step + 1), tokens;
    lt_err err;

    LT_TRY(err = lt_batcher_next(r->batches, &b));
    LT_BUG_ON(!b);
    m->data_ms = (lt_now() - start) * 1e3;
    slice_batch(r, b);
    if (s->schedule.kind == LT_LR_DS_ONE_CYCLE && s->schedule.cycle_momentum)
        lt_engine_set_betas(r->engine, lt_lr_beta1_at(&s->schedule, (int64_t)r->state.step + 1, 0),
                            0.99);
    LT_TRY(err = lt_engine_step(r->engine, r->micro, s->n_micro, b->n_target_tokens, lr, &result));
    lt_batcher_release(r->batches);
    r->state.step++;
    r->state.samples += s->step_samples;
    tokens = (double)s->step_samples * (double)s->engine.shape.seq;
    r->state.tokens += (uint64_t)tokens;
    m->step_ms = (lt_now() - start) * 1e3;
    r->step_s = r->step_s == 0 ? m->step_ms * 1e-3 : 0.9 * r->step_s + 0.1e-3 * m->step_ms;
    if (r->config->logging.timing) {
        m->forward_ms = result.forward_ms;
        m->backward_ms = result.backward_ms;
        m->optimizer_ms = result.optimizer_ms;
    } else {
        m->data_ms = 0;
    }
    m->step = r->state.step;
    m->samples = r->state.samples;
    m->tokens = r->state.tokens;
    m->loss = result.loss;
    m->grad_norm = result.grad_norm;
    m->lr = lr;
    m->loss_scale = result.loss_scale;
    m->tokens_per_s = tokens / (m->step_ms * 1e-3);
    m->flops_per_s = m->tokens_per_s * lt_model_flops_per_token(lt_engine_model(r->engine));
    m->eta_s = (double)(s->total_steps - r->state.step) * r->step_s;
    err = count_skip(r, &result);
    m->skipped_steps = r->skipped;
    m->peak_rss = lt_peak_rss();
    m->time = lt_wall_time();
    add_health(r, m);
fail:
    return err;
}

static lt_err evaluate(run *r, lt_step_metrics *m)
{
    lt_setup *s = &r->setup;
    lt_batcher_options o = lt_setup_batches(s, 0);
    lt_batcher *batches = NULL;
    const lt_batch *b;
    double sum = 0, part;
    int64_t tokens = 0;
    lt_err err;

    o.data = s->val;
    o.shuffle = false;
    o.once = true;
    o.step_samples = o.rank_samples = (uint64_t)s->engine.shape.n_batch;
    o.max_steps = (uint64_t)r->config->training.eval_batches;
    LT_TRY(err = lt_batcher_open(&batches, &o));
    for (;;) {
        LT_TRY(err = lt_batcher_next(batches, &b));
        if (!b)
            break;
        LT_TRY(err = lt_engine_evaluate(r->engine,
                                        &(lt_engine_batch){ b->inputs, b->targets, b->positions,
                                                            o.document_mask ? b->doc_start : NULL },
                                        &part));
        sum += part;
        tokens += b->n_target_tokens;
        lt_batcher_release(batches);
    }
    m->has_val = true;
    m->val_loss = sum / (double)tokens;
    m->perplexity = exp(m->val_loss);
    lt_log_info("step %llu: validation loss %.4f, perplexity %.2f over %lld tokens",
                (unsigned long long)r->state.step, m->val_loss, m->perplexity, (long long)tokens);
fail:
    lt_batcher_close(batches);
    return err;
}

typedef struct buf_sink {
    lt_text_sink sink;
    lt_buf text;
} buf_sink;

static lt_err buf_put(lt_text_sink *sink, const char *text, size_t n)
{
    lt_buf_append(&((buf_sink *)sink)->text, text, n);
    return LT_OK;
}

static lt_err show_samples(run *r)
{
    const lt_config_training *t = &r->config->training;
    size_t n = t->sample_prompts.n ? t->sample_prompts.n : 1;
    lt_sampling sampling = { t->sample_temperature, t->sample_top_k, t->sample_top_p,
                             (uint64_t)t->seed };
    lt_err err = LT_OK;

    for (size_t i = 0; i < n && err == LT_OK; i++) {
        const char *prompt = t->sample_prompts.n ? t->sample_prompts.items[i] : "";
        buf_sink sink = { { buf_put }, { 0 } };

        err = lt_generate(r->engine, &r->config->model.dims, r->setup.tokenizer, prompt,
                          t->sample_max_tokens, &sampling, &sink.sink);
        if (err == LT_OK)
            lt_log_info("step %llu: sample: %s%s", (unsigned long long)r->state.step, prompt,
                        lt_buf_cstr(&sink.text));
        lt_buf_release(&sink.text);
    }
    return err;
}

static lt_err save(run *r)
{
    double start = lt_now();
    char *path = NULL;
    lt_err err;

    LT_TRY(err = lt_metrics_log_sync(r->log));
    LT_TRY(err = lt_snapshot_save(r->engine, &r->setup, &r->state, &path));
    r->saved_at = lt_now();
    r->saved_step = r->state.step;
    lt_log_info("saved %s in %.2f s", path, r->saved_at - start);
    LT_TRY(err = lt_ckpt_retire(r->config->checkpoint.dir, (int)r->config->checkpoint.keep_last));
fail:
    free(path);
    return err;
}

static bool save_due(const run *r)
{
    const lt_config_checkpoint *c = &r->config->checkpoint;

    return due(r->state.step, c->every_steps) ||
           (c->every_minutes > 0 && lt_now() - r->saved_at >= c->every_minutes * 60);
}

/* A checkpoint in passing: when the disk refuses, what was saved before is whole and training goes
 * on; the next one that is due, or the last of the run, tries again. */
static lt_err save_in_passing(run *r)
{
    lt_err err = save(r);

    if (err != LT_EIO)
        return err;
    lt_log_error("step %llu: no checkpoint: %s; training goes on",
                 (unsigned long long)r->state.step, lt_err_text());
    r->saved_at = lt_now();
    return LT_OK;
}

static lt_err after_step(run *r, lt_step_metrics *m)
{
    const lt_config_training *t = &r->config->training;
    bool last = r->state.step == r->setup.total_steps;
    lt_err err = LT_OK;

    if (r->setup.val && (last || due(r->state.step, t->eval_every_steps)))
        LT_TRY(err = evaluate(r, m));
    LT_TRY(err = lt_metrics_log_step(r->log, m));
    if (r->events)
        LT_TRY(err = lt_tb_events_step(r->events, m));
    lt_progress_step(&r->progress, m);
    LT_TRY(err = check_skips(r));
    if (due(r->state.step, t->sample_every_steps))
        LT_TRY(err = show_samples(r));
    if (save_due(r))
        LT_TRY(err = save_in_passing(r));
fail:
    return err;
}

/* A picture of what is saved anyway: that it cannot be drawn does not fail the run. */
static void draw_curve(const run *r)
{
    char *metrics = lt_path_join(r->config->logging.dir, "metrics.jsonl");
    char *svg = lt_path_join(r->config->logging.dir, "loss.svg");

    if (lt_curve_svg(metrics, svg) == LT_OK)
        lt_log_info("loss curve: %s", svg);
    else
        lt_log_warn("no loss curve: %s", lt_err_text());
    free(metrics);
    free(svg);
}

static lt_err steps(run *r)
{
    lt_err err = LT_OK;

    catch_signals();
    if (r->state.step >= r->setup.total_steps)
        lt_log_info("step %llu of %llu: nothing left to train", (unsigned long long)r->state.step,
                    (unsigned long long)r->setup.total_steps);
    while (r->state.step < r->setup.total_steps && !stop_signal) {
        lt_step_metrics m = { 0 };

        LT_TRY(err = train_step(r, &m));
        LT_TRY(err = after_step(r, &m));
    }
    lt_log_progress_end();
    if (r->saved_step != r->state.step)
        LT_TRY(err = save(r));
    if (stop_signal && r->state.step < r->setup.total_steps)
        return lt_fail(LT_ERESTART,
                       "stopped by signal %d after step %llu; run the same command to go on",
                       (int)stop_signal, (unsigned long long)r->state.step);
    if (r->state.step > 0 && lt_path_exists(r->config->logging.dir))
        draw_curve(r);
fail:
    return err;
}

lt_err lt_train(lt_config *config)
{
    run r = { 0 };
    lt_err err;

    LT_TRY(err = open_run(&r, config));
    LT_TRY(err = steps(&r));
fail:
    return close_run(&r, err);
}
