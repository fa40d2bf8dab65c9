/* train/report.c - plans and explanations. */
#include "train/report.h"

#include "text/decoder.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- --plan */

static void plan_row(FILE *out, const char *what, uint64_t bytes, const char *note)
{
    fprintf(out, "  %-24s %16" PRIu64 "  %10.2f MiB  %s\n", what, bytes, (double)bytes / (1 << 20), note);
}

static void print_plan(FILE *out, const lt_config *c, const lt_plan_request *rq, const lt_engine_bytes *b,
                       const lt_zero_bytes *state, uint64_t total)
{
    static const char *const stages[] = { "everything on every rank", "optimizer state cut over the ranks",
                                          "and gradients", "and parameters" };
    int stage = (int)c->deepspeed.zero_optimization.stage;

    fprintf(out, "plan: one of %lld ranks, device %s, ZeRO stage %d (%s), %s\n", (long long)rq->ranks, rq->device,
            stage, stages[stage], lt_dtype_name(c->model.precision));
    fprintf(out, "  %-24s %16s\n", "class", "bytes");
    plan_row(out, "parameters", state->params, "");
    plan_row(out, "gradients", state->grads, "");
    plan_row(out, "master weights", state->master, state->master ? "fp32" : "are the parameters");
    plan_row(out, "first moments", state->moment1, "fp32");
    plan_row(out, "second moments", state->moment2, "fp32");
    plan_row(out, "activations", b->activations, "");
    plan_row(out, "KV cache", b->kv_cache, "");
    plan_row(out, "batch and step state", b->batch, "");
    plan_row(out, "operations' scratch", b->scratch, "");
    plan_row(out, "total", total, "");
}

lt_err lt_report_plan(lt_config *config, const lt_plan_request *rq, FILE *out)
{
    lt_setup s = { 0 };
    lt_engine_bytes b;
    lt_param_table *table = NULL;
    lt_zero_plan *plan = NULL;
    lt_zero_bytes state;
    lt_zero_settings set;
    uint64_t total;
    lt_err err;

    LT_TRY(err = lt_config_resolve_batch(config, rq->ranks));
    LT_TRY(err = lt_setup_open(&s, config, false));
    s.engine.device = rq->device;
    if (s.engine.shape.act == LT_F16) /* planned as bf16: the same bytes; running it is refused elsewhere */
        s.engine.shape.act = LT_BF16;
    s.engine.stage = 0;
    LT_TRY(err = lt_engine_plan(&b, &s.engine));
    set = (lt_zero_settings){ .stage = (int)config->deepspeed.zero_optimization.stage,
                              .world = (int)rq->ranks,
                              .compute = s.engine.shape.act,
                              .grad = s.engine.shape.grad };
    table = lt_param_table_new(s.engine.config);
    LT_TRY(err = lt_zero_plan_new(&plan, table, &set));
    state = lt_zero_plan_bytes(plan);
    total = state.params + state.grads + state.master + state.moment1 + state.moment2 + b.activations + b.kv_cache +
            b.batch + b.scratch;
    if (rq->json)
        fprintf(out,
                "{\"ranks\": %lld, \"parameters\": %" PRIu64 ", \"gradients\": %" PRIu64 ", \"master\": %" PRIu64
                ", \"moment1\": %" PRIu64 ", \"moment2\": %" PRIu64 ", \"activations\": %" PRIu64
                ", \"kv_cache\": %" PRIu64 ", \"batch\": %" PRIu64 ", \"scratch\": %" PRIu64 ", \"total\": %" PRIu64
                "}\n",
                (long long)rq->ranks, state.params, state.grads, state.master, state.moment1, state.moment2,
                b.activations, b.kv_cache, b.batch, b.scratch, total);
    else
        print_plan(out, config, rq, &b, &state, total);
    if (rq->memory && total > rq->memory)
        err = lt_fail(LT_ENOMEM, "plan: %" PRIu64 " bytes a rank, --gpu-memory has %" PRIu64, total, rq->memory);
fail:
    lt_zero_plan_free(plan);
    lt_param_table_free(table);
    lt_setup_release(&s);
    return err;
}

/* ---- --dry-run and --explain-step */

static lt_err print_text(FILE *out, const lt_setup *s, const int32_t *ids, int64_t n)
{
    lt_decoder decoder;
    lt_buf text = { 0 }, quoted = { 0 };
    lt_err err = LT_OK;

    if (!s->tokenizer)
        return LT_OK;
    lt_decoder_init(&decoder, s->tokenizer);
    for (int64_t i = 0; i < n; i++)
        LT_TRY(err = lt_decoder_push(&decoder, (uint32_t)ids[i], &text));
    lt_decoder_finish(&decoder, &text);
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] == '\n')
            text.data[i] = ' ';
    fprintf(out, "    \"%s...\"\n", lt_buf_cstr(&text));
fail:
    lt_buf_release(&text);
    lt_buf_release(&quoted);
    return err;
}

static lt_err print_batches(FILE *out, const lt_setup *s)
{
    enum { STEPS = 3, SHOWN_ROWS = 2, SHOWN_TOKENS = 24 };
    lt_batcher_options o = lt_setup_batches(s, 0);
    int64_t t = (int64_t)o.seq_len, shown = t < SHOWN_TOKENS ? t : SHOWN_TOKENS;
    lt_batcher *batches = NULL;
    const lt_batch *b;
    lt_err err;

    o.max_steps = STEPS;
    LT_TRY(err = lt_batcher_open(&batches, &o));
    for (int step = 1; step <= STEPS; step++) {
        LT_TRY(err = lt_batcher_next(batches, &b));
        fprintf(out, "step %d: samples %" PRIu64 " to %" PRIu64 ", %" PRId64 " counted tokens\n", step,
                b->first_sample, b->first_sample + b->n_samples - 1, b->n_target_tokens);
        for (int64_t row = 0; row < SHOWN_ROWS && row < (int64_t)b->n_samples; row++) {
            fprintf(out, "  row %" PRId64 ":", row);
            for (int64_t i = 0; i < shown; i++)
                fprintf(out, " %d", b->inputs[row * t + i]);
            fputc('\n', out);
            LT_TRY(err = print_text(out, s, b->inputs + row * t, shown));
        }
        lt_batcher_release(batches);
    }
fail:
    lt_batcher_close(batches);
    return err;
}

lt_err lt_report_dry_run(lt_config *config, FILE *out)
{
    enum { POINTS = 10 };
    lt_setup s = { 0 };
    lt_err err;

    LT_TRY(err = lt_setup_open(&s, config, true));
    fprintf(out, "%" PRIu64 " steps of %" PRIu64 " sequences of %" PRId64 " tokens\n", s.total_steps,
            s.step_samples, config->data.seq_len);
    LT_TRY(err = print_batches(out, &s));
    fprintf(out, "learning rate\n");
    for (int i = 0; i < POINTS; i++) {
        int64_t step = 1 + (int64_t)((double)(s.total_steps - 1) * i / (POINTS - 1));

        fprintf(out, "  step %10" PRId64 "  %.6e\n", step, lt_lr_at(&s.schedule, step));
    }
fail:
    lt_setup_release(&s);
    return err;
}

lt_err lt_report_explain(lt_config *config, int64_t step, FILE *out)
{
    lt_setup s = { 0 };
    lt_batcher_options o;
    lt_buf text = { 0 };
    uint64_t first;
    lt_err err;

    LT_TRY(err = lt_setup_open(&s, config, true));
    if (step < 1 || (uint64_t)step > s.total_steps) {
        err = lt_fail(LT_EUSAGE, "--explain-step: expected 1 to %" PRIu64 ", found %" PRId64, s.total_steps, step);
        goto fail;
    }
    o = lt_setup_batches(&s, 0);
    first = (uint64_t)(step - 1) * s.step_samples;
    for (uint64_t k = first; k < first + s.step_samples; k++)
        LT_TRY(err = lt_batch_explain(&o, k, &text));
    fprintf(out, "step %" PRId64 ", learning rate %.6e\n%s", step, lt_lr_at(&s.schedule, step), lt_buf_cstr(&text));
fail:
    lt_buf_release(&text);
    lt_setup_release(&s);
    return err;
}
