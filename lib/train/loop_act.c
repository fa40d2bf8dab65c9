/* train/loop_act.c - what happens between steps: evaluation, samples, checkpoints, the curve. */
#include "train/loop_parts.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "monitor/curve.h"
#include "train/generate.h"

#include <math.h>
#include <stdlib.h>

#define NEVER_SAVED UINT64_MAX

/* Batches of the validation data go round the ranks; the sums are everybody's. */
static lt_err sum_losses(lt_run *r, double sums[2])
{
    lt_setup *s = &r->setup;
    lt_batcher_options o = lt_setup_batches(s, 0);
    uint64_t mine = (uint64_t)s->engine.shape.n_batch;
    lt_batcher *batches = NULL;
    const lt_batch *b;
    double part;
    lt_err err;

    o.data = s->val;
    o.shuffle = false;
    o.once = true;
    o.step_samples = mine * (uint64_t)r->group->world;
    o.rank_first = mine * (uint64_t)r->group->rank;
    o.rank_samples = mine;
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
        sums[0] += part;
        sums[1] += (double)b->n_target_tokens;
        lt_batcher_release(batches);
    }
    err = lt_ranks_sum(r->group, sums, 2);
fail:
    lt_batcher_close(batches);
    return err;
}

lt_err lt_run_evaluate(lt_run *r, lt_step_metrics *m)
{
    double sums[2] = { 0, 0 }; /* losses, tokens */
    lt_err err;

    LT_TRY(err = sum_losses(r, sums));
    m->has_val = true;
    m->val_loss = sums[0] / sums[1];
    m->perplexity = exp(m->val_loss);
    lt_log_info("step %llu: validation loss %.4f, perplexity %.2f over %lld tokens",
                (unsigned long long)r->state.step, m->val_loss, m->perplexity, (long long)sums[1]);
fail:
    return err;
}

typedef struct buf_sink {
    lt_generate_sink sink;
    lt_buf text;
} buf_sink;

static lt_err buf_put(lt_generate_sink *sink, const char *text, size_t n)
{
    lt_buf_append(&((buf_sink *)sink)->text, text, n);
    return LT_OK;
}

/* All ranks write the same text, since at stage 3 all of them are needed; rank 0 shows it. */
lt_err lt_run_show_samples(lt_run *r)
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

lt_err lt_run_save(lt_run *r)
{
    lt_err err = LT_OK;

    LT_TRY(err = lt_run_forgive(r, lt_saver_finish(r->saver))); /* the one before */
    r->saved_step = r->state.step;
    if (r->log)
        err = lt_metrics_log_sync(r->log);
    LT_TRY(err = lt_ranks_agree(r->group, err));
    err = lt_saver_start(r->saver, &r->state);
    r->saved_at = lt_now();
fail:
    return err;
}

/* When the disk refuses, or the folder is taken away under a save, what was saved before stays
 * and training goes on; the next checkpoint that is due, or the last of the run, tries again. */
lt_err lt_run_forgive(lt_run *r, lt_err err)
{
    if (err != LT_EIO && err != LT_ENOENT)
        return err;
    if (r->group->rank == 0)
        lt_log_error("step %llu: no checkpoint: %s; training goes on",
                     (unsigned long long)r->saved_step, lt_err_text());
    r->saved_step = NEVER_SAVED;
    lt_ranks_go_on();
    return LT_OK;
}

lt_err lt_run_fail_together(lt_run *r, lt_err err)
{
    lt_err_record why;

    if (err == LT_OK)
        return LT_OK;
    lt_err_take(&why);
    if (lt_run_forgive(r, lt_saver_finish(r->saver)) != LT_OK)
        lt_log_warn("%s", lt_err_text()); /* err came first */
    return lt_ranks_agree(r->group, lt_err_give(&why));
}

/* A picture of what is saved anyway: that it cannot be drawn does not fail the run. */
void lt_run_draw_curve(const lt_run *r)
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
