/* train/loop_step.c - a step goes out, its result comes back one step later. */
#include "train/loop_parts.h"

#include "base/clock.h"
#include "base/log.h"
#include "monitor/sysinfo.h"

#include <string.h>

enum { MAX_SKIPS_IN_A_ROW = 20 };

static void slice_batch(lt_run *r, const lt_batch *b)
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

/* Counted targets of all ranks; without masks every rank has the same number. */
static lt_err count_targets(lt_run *r, const lt_batch *b, int64_t *n)
{
    double sum = (double)b->n_target_tokens;
    lt_err err = LT_OK;

    if (!r->config->data.document_masking) {
        *n = b->n_target_tokens * r->group->world;
        return LT_OK;
    }
    LT_TRY(err = lt_ranks_sum(r->group, &sum, 1));
    *n = (int64_t)sum;
fail:
    return err;
}

lt_err lt_run_enqueue(lt_run *r, uint32_t word)
{
    const lt_setup *s = &r->setup;
    const lt_batch *b = NULL;
    double start = lt_now(), lr = lt_lr_at(&s->schedule, (int64_t)r->state.step + 1);
    lt_step_metrics *m;
    int64_t n_tokens;
    lt_err err;

    lt_watch_phase(r->watch, r->state.step, LT_PHASE_DATA);
    lt_engine_at_step(r->engine, r->state.step);
    LT_TRY(err = lt_batcher_next(r->batches, &b));
    LT_BUG_ON(!b);
    m = &r->waiting[r->state.step % LT_STEPS_AHEAD];
    *m = (lt_step_metrics){ .data_ms = (lt_now() - start) * 1e3, .lr = lr };
    slice_batch(r, b);
    LT_TRY(err = count_targets(r, b, &n_tokens));
    if (s->schedule.kind == LT_LR_DS_ONE_CYCLE && s->schedule.cycle_momentum)
        lt_engine_set_betas(r->engine, lt_lr_beta1_at(&s->schedule, (int64_t)r->state.step + 1, 0),
                            0.99);
    LT_TRY(err = lt_engine_enqueue(r->engine, r->micro, s->n_micro, n_tokens, lr, word));
    lt_batcher_release(r->batches);
    r->state.step++;
    r->state.samples += s->step_samples;
    r->state.tokens += s->step_samples * (uint64_t)s->engine.shape.seq;
    m->step = r->state.step;
    m->samples = r->state.samples;
    m->tokens = r->state.tokens;
fail:
    return err;
}

static lt_err count_skip(lt_run *r, uint64_t step, const lt_engine_result *result)
{
    r->skips_in_a_row = result->skipped ? r->skips_in_a_row + 1 : 0;
    r->skipped += result->skipped;
    if (!result->skipped)
        return LT_OK;
    lt_log_warn(
        "step %llu: the update was skipped: the gradient of %s is not finite (loss scale %g)",
        (unsigned long long)step, result->bad ? result->bad->name : "some parameter",
        result->loss_scale);
    if (result->scale_stuck)
        return lt_fail(
            LT_EFAULT,
            "step %llu: gradients overflow at the smallest loss scale, %g; train in bf16, or "
            "lower training.lr",
            (unsigned long long)step, result->loss_scale);
    return LT_OK;
}

lt_err lt_run_check_skips(const lt_run *r)
{
    if (r->skips_in_a_row >= MAX_SKIPS_IN_A_ROW)
        return lt_fail(
            LT_EFAULT,
            "step %llu: %d steps in a row had gradients that are not finite; training has diverged "
            "(lower training.lr or longer training.warmup_steps may help)",
            (unsigned long long)r->state.step, MAX_SKIPS_IN_A_ROW);
    return LT_OK;
}

/* Asking a GPU takes a millisecond, so only the steps that are printed know. */
static void add_health(lt_run *r, lt_step_metrics *m)
{
    lt_dev *dev = lt_engine_device(r->engine);
    lt_dev_health h;

    if (dev->backend == &lt_backend_cpu)
        return;
    m->device_bytes = lt_engine_bytes_used(r->engine).total;
    if (!lt_run_due(m->step, r->config->logging.every_steps))
        return;
    dev->backend->health(dev, &h);
    m->power_w = h.power_w;
    m->sm_mhz = h.sm_mhz;
    m->temperature_c = h.temperature_c;
    memcpy(m->throttle, h.throttle, sizeof m->throttle);
}

/* The time of a step is from result to result: the next one is under way by then. */
static void add_times(lt_run *r, lt_step_metrics *m, const lt_engine_result *result)
{
    const lt_setup *s = &r->setup;
    double now = lt_now(), tokens = (double)s->step_samples * (double)s->engine.shape.seq;

    m->step_ms = (now - r->result_at) * 1e3;
    r->result_at = now;
    r->step_s = r->step_s == 0 ? m->step_ms * 1e-3 : 0.9 * r->step_s + 0.1e-3 * m->step_ms;
    if (r->config->logging.timing) {
        m->forward_ms = result->forward_ms;
        m->backward_ms = result->backward_ms;
        m->optimizer_ms = result->optimizer_ms;
    } else {
        m->data_ms = 0;
    }
    m->tokens_per_s = tokens / (m->step_ms * 1e-3);
    m->flops_per_s = m->tokens_per_s * lt_model_flops_per_token(lt_engine_model(r->engine));
    m->eta_s = (double)(s->total_steps - m->step) * r->step_s;
}

/* Every rank sees the same words with the same step, so all of them decide alike. */
static lt_err hear(lt_run *r, const uint32_t *words)
{
    bool all_written = true;

    for (int i = 0; i < r->group->world; i++) {
        r->stop |= (words[i] & LT_WORD_STOP) != 0;
        r->save |= (words[i] & LT_WORD_SAVE) != 0;
        all_written &= (words[i] & LT_WORD_WRITTEN) != 0;
    }
    return lt_run_forgive(r, lt_saver_look(r->saver, all_written));
}

lt_err lt_run_result(lt_run *r, lt_step_metrics *m)
{
    lt_engine_result result;
    lt_err err;

    LT_TRY(err = lt_engine_result_next(r->engine, &result));
    *m = r->waiting[(r->state.step - 1 - (uint64_t)lt_engine_outstanding(r->engine)) %
                    LT_STEPS_AHEAD];
    m->loss = result.loss;
    m->grad_norm = result.grad_norm;
    m->loss_scale = result.loss_scale;
    add_times(r, m, &result);
    err = lt_run_fail_together(r, count_skip(r, m->step, &result));
    m->skipped_steps = r->skipped;
    m->peak_rss = lt_peak_rss();
    m->time = lt_wall_time();
    add_health(r, m);
    if (err == LT_OK)
        err = hear(r, result.words);
fail:
    return err;
}
