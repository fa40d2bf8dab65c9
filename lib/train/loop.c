/* train/loop.c - a run from its first file to its last: opening, the order of things, the end.
 *
 * A step's place in the run decides everything it does: which samples it reads, its learning rate,
 * whether it evaluates or saves.  So a resumed run repeats exactly what an undisturbed one does. */
#include "train/loop_parts.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "comm/stop_signal.h"
#include "monitor/sysinfo.h"
#include "train/placement.h"
#include "train/resume.h"
#include "train/weights.h"

#include <stdlib.h>
#include <string.h>

/* ---- opening */

static void tell_dropout(const lt_run *r)
{
    const lt_config_model *m = &r->config->model;

    if (m->hf_dropout > m->dropout)
        lt_log_info("%s/config.json has dropout %g; lt trains with model.dropout = %g", m->path,
                    m->hf_dropout, m->dropout);
}

static lt_err load_weights(lt_run *r)
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

static lt_err open_logs(lt_run *r)
{
    const lt_config_logging *c = &r->config->logging;
    lt_err err;

    r->progress = (lt_progress){ .total_steps = r->setup.total_steps,
                                 .every_steps = (uint64_t)c->every_steps };
    if (r->group->rank > 0)
        return LT_OK;
    LT_TRY(err = lt_mkdirs(c->dir));
    LT_TRY(err = lt_metrics_log_open(&r->log, c->dir, r->state.step));
    if (c->tensorboard)
        LT_TRY(err = lt_tb_events_open(&r->events, c->tensorboard_dir, 10));
fail:
    return err;
}

static void print_header(const lt_run *r)
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
    if (r->group->world > 1)
        lt_log_info("%d ranks on %d host%s, ZeRO stage %d", r->group->world, r->group->n_hosts,
                    r->group->n_hosts == 1 ? "" : "s", s->engine.zero.stage);
    lt_log_info("%s; %.1f M parameters, %s, %.1f MiB in use", device,
                (double)lt_engine_table(r->engine)->n_elements * 1e-6,
                lt_dtype_name(s->engine.shape.act),
                (double)lt_engine_bytes_used(r->engine).total / (1 << 20));
    lt_log_info("%llu steps of %llu sequences of %lld tokens (%d micro-batches); an epoch is %llu "
                "sequences",
                (unsigned long long)s->total_steps, (unsigned long long)s->step_samples,
                (long long)s->engine.shape.seq, s->n_micro, (unsigned long long)s->epoch_samples);
    lt_buf_release(&line);
}

/* One job a directory; its first rank holds the locks for all. */
static lt_err take_directories(lt_run *r)
{
    const char *dir = r->config->checkpoint.dir;
    lt_err err = LT_OK;

    if (r->group->rank == 0) {
        LT_TRY(err = lt_ckpt_lock(&r->checkpoints, dir));
        LT_TRY(err = lt_metrics_lock(&r->logs, r->config->logging.dir));
        err = lt_ckpt_sweep(dir);
    }
fail:
    return lt_ranks_agree(r->group, err);
}

static lt_err open_own(lt_run *r)
{
    tell_dropout(r);
    return lt_setup_open(&r->setup, r->config, r->group, true);
}

static lt_err open_rest(lt_run *r)
{
    lt_batcher_options options;
    lt_err err;

    LT_TRY(err = open_logs(r));
    options = lt_setup_batches(&r->setup, r->state.samples);
    LT_TRY(err = lt_batcher_open(&r->batches, &options));
    r->micro = lt_new_array0((size_t)r->setup.n_micro, sizeof *r->micro);
    err = lt_saver_open(&r->saver, r->engine, &r->setup, r->config->checkpoint.async);
fail:
    return err;
}

/* Hosts may keep their copies in folders of their own, but of one data set. */
static lt_err compare_data(const lt_run *r)
{
    char mine[LT_SHA256_HEX];
    lt_buf first = { 0 };
    lt_err err;

    lt_sha256_hex(lt_dataset_manifest(r->setup.train)->id, mine);
    lt_buf_printf(&first, "%s", mine);
    LT_TRY(err = lt_group_broadcast(r->group, &first, 0));
    if (strcmp(lt_buf_cstr(&first), mine) != 0)
        err = lt_fail(LT_EMISMATCH, "%s is not rank 0's data set: expected %s, found %s",
                      r->config->data.train, lt_buf_cstr(&first), mine);
    err = lt_ranks_agree(r->group, err);
fail:
    lt_buf_release(&first);
    return err;
}

static lt_err open_run(lt_run *r)
{
    lt_err err;

    r->opened_at = lt_now();
    LT_TRY(err = lt_ranks_agree(r->group, open_own(r)));
    LT_TRY(err = compare_data(r));
    LT_TRY(err = lt_place_ranks(&r->setup.engine, r->group)); /* before anything is made on disk */
    LT_TRY(err = take_directories(r));
    lt_watch_phase(r->watch, 0, LT_PHASE_LOAD);
    r->setup.engine.watch = r->watch;
    LT_TRY(err = lt_engine_open(&r->engine, &r->setup.engine));
    LT_TRY(err = load_weights(r));
    lt_engine_at_step(r->engine, r->state.step);
    LT_TRY(err = lt_engine_tune(r->engine, r->setup.n_micro));
    lt_watch_phase(r->watch, r->state.step, LT_PHASE_LOAD);
    LT_TRY(err = lt_ranks_agree(r->group, open_rest(r)));
    r->ahead = lt_engine_device(r->engine)->backend == &lt_backend_cpu ? 0 : 1;
    r->saved_at = r->result_at = lt_now();
    print_header(r);
fail:
    return err;
}

static lt_err close_run(lt_run *r, lt_err err)
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
    if (!lt_ranks_together(r->group, err))
        lt_group_abandon(r->group); /* closing waits for nobody */
    lt_saver_close(r->saver);
    lt_engine_close(r->engine);
    lt_lock_drop(r->logs);
    lt_lock_drop(r->checkpoints);
    lt_setup_release(&r->setup);
    free(r->micro);
    return err == LT_OK ? LT_OK : lt_err_give(&first);
}

/* ---- the order of things */

/* What this rank has to say with the step that it enqueues now. */
static uint32_t word_of(const lt_run *r)
{
    double now = lt_now(), limit = r->config->training.max_wallclock;
    double minutes = r->config->checkpoint.every_minutes;
    uint32_t word = 0;

    if (lt_stop_signal() || (limit > 0 && now - r->opened_at + 2 * r->step_s >= limit))
        word |= LT_WORD_STOP;
    if (r->group->rank == 0 && minutes > 0 && now - r->saved_at >= minutes * 60)
        word |= LT_WORD_SAVE;
    if (lt_saver_written(r->saver))
        word |= LT_WORD_WRITTEN;
    return word;
}

/* Is the step just enqueued the last of this job? */
static bool ends(const lt_run *r)
{
    return r->state.step >= r->setup.total_steps || r->stop;
}

static bool evaluation_due(const lt_run *r)
{
    return r->setup.val && (r->state.step == r->setup.total_steps ||
                            lt_run_due(r->state.step, r->config->training.eval_every_steps));
}

/* In passing; the last checkpoint is save_last's, which tries once. */
static bool save_due(const lt_run *r)
{
    return !ends(r) && (lt_run_due(r->state.step, r->config->checkpoint.every_steps) || r->save);
}

/* Does anything follow the step just enqueued that needs its result first? */
static bool pauses(const lt_run *r)
{
    return ends(r) || evaluation_due(r) || save_due(r) ||
           lt_run_due(r->state.step, r->config->training.sample_every_steps);
}

static lt_err log_step(lt_run *r, const lt_step_metrics *m)
{
    lt_err err = LT_OK;

    if (r->log)
        LT_TRY(err = lt_metrics_log_step(r->log, m));
    if (r->events)
        LT_TRY(err = lt_tb_events_step(r->events, m));
    if (r->group->rank == 0)
        lt_progress_step(&r->progress, m);
    err = lt_run_fail_together(r, lt_run_check_skips(r));
fail:
    return err;
}

/* Results of all steps but the last; that one is left to the caller. */
static lt_err catch_up(lt_run *r, int left)
{
    lt_step_metrics m;
    lt_err err = LT_OK;

    while (lt_engine_outstanding(r->engine) > left) {
        LT_TRY(err = lt_run_result(r, &m));
        LT_TRY(err = log_step(r, &m));
    }
fail:
    return err;
}

static lt_err pause_after_step(lt_run *r)
{
    lt_step_metrics m;
    lt_err err;

    LT_TRY(err = catch_up(r, 1));
    LT_TRY(err = lt_run_result(r, &m));
    if (evaluation_due(r)) {
        lt_watch_phase(r->watch, r->state.step, LT_PHASE_EVALUATE);
        LT_TRY(err = lt_run_evaluate(r, &m));
    }
    LT_TRY(err = log_step(r, &m));
    if (lt_run_due(r->state.step, r->config->training.sample_every_steps)) {
        lt_watch_phase(r->watch, r->state.step, LT_PHASE_SAMPLE);
        LT_TRY(err = lt_run_show_samples(r));
    }
    if (save_due(r)) {
        r->save = false;
        lt_watch_phase(r->watch, r->state.step, LT_PHASE_SAVE);
        LT_TRY(err = lt_run_forgive(r, lt_run_save(r)));
    }
    r->result_at = lt_now(); /* the pause is no part of the next step */
fail:
    return err;
}

/* The last checkpoint is no checkpoint in passing: without it the run has failed. */
static lt_err save_last(lt_run *r)
{
    lt_err err;

    lt_watch_phase(r->watch, r->state.step, LT_PHASE_SAVE);
    LT_TRY(err = lt_run_forgive(r, lt_saver_finish(r->saver)));
    if (r->saved_step != r->state.step)
        LT_TRY(err = lt_run_save(r));
    err = lt_saver_finish(r->saver);
fail:
    return err;
}

static lt_err steps(lt_run *r)
{
    lt_err err = LT_OK;

    if (r->state.step >= r->setup.total_steps)
        lt_log_info("step %llu of %llu: nothing left to train", (unsigned long long)r->state.step,
                    (unsigned long long)r->setup.total_steps);
    while (!ends(r)) {
        LT_TRY(err = lt_run_enqueue(r, word_of(r)));
        if (!pauses(r))
            LT_TRY(err = catch_up(r, r->ahead));
        /* A result may bring a wish to stop or save: then the step under way is the last before. */
        if (pauses(r) && lt_engine_outstanding(r->engine) > 0)
            LT_TRY(err = pause_after_step(r));
    }
    lt_log_progress_end();
    LT_TRY(err = save_last(r));
    if (r->stop && r->state.step < r->setup.total_steps)
        return lt_stop_signal()
                   ? lt_fail(LT_ERESTART,
                             "stopped by signal %d after step %llu; run the same command "
                             "to go on",
                             lt_stop_signal(), (unsigned long long)r->state.step)
                   : lt_fail(LT_ERESTART, "stopped after step %llu; run the same command to go on",
                             (unsigned long long)r->state.step);
    if (r->state.step > 0 && r->log && lt_path_exists(r->config->logging.dir))
        lt_run_draw_curve(r);
fail:
    return err;
}

lt_err lt_train(lt_config *config, lt_group *group, lt_watch *watch)
{
    lt_run r = { .config = config, .group = group, .watch = watch };
    lt_err err;

    LT_TRY(err = open_run(&r));
    LT_TRY(err = steps(&r));
fail:
    return close_run(&r, err);
}
