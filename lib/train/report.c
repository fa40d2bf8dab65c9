/* train/report.c - plans and explanations. */
#include "train/report.h"

#include "text/decoder.h"
#include "train/ranks.h"
#include "train/saver.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- --plan */

/* One class of bytes and where they lie. */
typedef enum plan_place { ON_DEVICE, ON_HOST, IN_FILE, N_PLACES } plan_place;

typedef struct plan_row {
    const char *what, *key, *note;
    uint64_t bytes;
    plan_place place;
} plan_row;

enum { PLAN_ROWS = 16 };

/* What CUDA, cuBLASLt and cuDNN keep for themselves: 1.14 to 1.26 GB seen on H200, driver 580. */
#define LIBRARY_BYTES 1260000000u

static void fill_rows(plan_row rows[PLAN_ROWS], bool gpu, const lt_engine_bytes *b,
                      uint64_t snapshot)
{
    const lt_zero_bytes *z = &b->state;
    const plan_row all[PLAN_ROWS] = {
        { "parameters", "parameters", "", z->params, ON_DEVICE },
        { "gathered parameters", "gathered", "slots of units", z->gathered, ON_DEVICE },
        { "gradients", "gradients", "", z->grads, ON_DEVICE },
        { "gradient buckets", "buckets", "slots of units", z->buckets, ON_DEVICE },
        { "master weights", "master", z->master ? "fp32" : "", z->master, ON_DEVICE },
        { "first moments", "moment1", "fp32", z->moment1, ON_DEVICE },
        { "second moments", "moment2", "fp32", z->moment2, ON_DEVICE },
        { "offload staging", "staging", "", z->staging, ON_DEVICE },
        { "activations", "activations", "", b->activations, ON_DEVICE },
        { "KV cache", "kv_cache", "", b->kv_cache, ON_DEVICE },
        { "batch and step state", "batch", "", b->batch, ON_DEVICE },
        { "operations' scratch", "scratch", "", b->scratch, ON_DEVICE },
        { "CUDA's libraries", "libraries", "at most, as measured", gpu ? LIBRARY_BYTES : 0,
          ON_DEVICE },
        { "offload and transfers", "host", "in host memory", b->host, ON_HOST },
        { "checkpoint snapshot", "snapshot", "in host memory", snapshot, ON_HOST },
        { "offload", "file", "in files", z->file, IN_FILE },
    };

    memcpy(rows, all, sizeof all);
}

static uint64_t sum_rows(const plan_row *rows, plan_place place)
{
    uint64_t sum = 0;

    for (int i = 0; i < PLAN_ROWS; i++)
        sum += rows[i].place == place ? rows[i].bytes : 0;
    return sum;
}

static void print_row(FILE *out, const char *what, uint64_t bytes, const char *note)
{
    fprintf(out, "  %-24s %16" PRIu64 "  %10.2f MiB%s%s\n", what, bytes, (double)bytes / (1 << 20),
            note[0] ? "  " : "", note);
}

static void print_plan(FILE *out, const lt_config *c, const lt_plan_request *rq,
                       const plan_row *rows)
{
    static const char *const stages[] = { "everything on every rank",
                                          "optimizer state cut over the ranks",
                                          "optimizer state and gradients cut over the ranks",
                                          "everything cut over the ranks" };
    static const char *const totals[N_PLACES] = { "total on the device", "total in host memory",
                                                  "total in files" };
    int stage = (int)c->deepspeed.zero_optimization.stage;

    fprintf(out, "plan: one of %lld ranks, device %s%s, ZeRO stage %d (%s), %s\n",
            (long long)rq->ranks, rq->device,
            c->device == LT_DEVICE_AUTO ? " (auto; --device=cuda plans for a GPU)" : "", stage,
            stages[stage], lt_dtype_name(c->model.precision));
    fprintf(out, "  %-24s %16s\n", "class", "bytes");
    for (int place = 0; place < N_PLACES; place++) {
        if (place != ON_DEVICE && sum_rows(rows, (plan_place)place) == 0)
            continue;
        for (int i = 0; i < PLAN_ROWS; i++)
            if ((int)rows[i].place == place && (rows[i].bytes || place == ON_DEVICE))
                print_row(out, rows[i].what, rows[i].bytes, rows[i].note);
        print_row(out, totals[place], sum_rows(rows, (plan_place)place), "");
    }
}

static void print_plan_json(FILE *out, const lt_plan_request *rq, const plan_row *rows)
{
    fprintf(out, "{\"ranks\": %lld, \"device\": \"%s\"", (long long)rq->ranks, rq->device);
    for (int i = 0; i < PLAN_ROWS; i++)
        fprintf(out, ", \"%s\": %" PRIu64, rows[i].key, rows[i].bytes);
    fprintf(out,
            ", \"host_total\": %" PRIu64 ", \"file_total\": %" PRIu64 ", \"total\": %" PRIu64 "}\n",
            sum_rows(rows, ON_HOST), sum_rows(rows, IN_FILE), sum_rows(rows, ON_DEVICE));
}

lt_err lt_report_plan(lt_config *config, const lt_plan_request *request, FILE *out)
{
    lt_plan_request own = *request, *rq = &own;
    plan_row rows[PLAN_ROWS];
    lt_setup s = { 0 };
    lt_engine_bytes b;
    uint64_t total, snapshot = 0;
    int rank = 0, world = 1;
    lt_err err;

    (void)lt_group_peek(&rank, &world);
    if (!own.ranks)
        own.ranks = world;
    LT_TRY(err = lt_config_resolve_batch(config, rq->ranks));
    LT_TRY(err = lt_setup_open(&s, config, NULL, false));
    s.engine.device = rq->device;
    s.engine.world = (int)rq->ranks;
    /* all of them here */
    s.engine.dev.n_threads = lt_ranks_threads((int)rq->ranks, config->threads);
    LT_TRY(err = lt_engine_plan(&b, &s.engine));
    if (config->checkpoint.async)
        snapshot = lt_saver_bytes(b.owned);
    fill_rows(rows, strcmp(rq->device, "cuda") == 0, &b, snapshot);
    if (rq->json)
        print_plan_json(out, rq, rows);
    else
        print_plan(out, config, rq, rows);
    total = sum_rows(rows, ON_DEVICE);
    if (rq->memory && total > rq->memory)
        err =
            lt_fail(LT_ENOMEM,
                    "plan: %" PRIu64 " bytes on the device of one rank, --gpu-memory has %" PRIu64,
                    total, rq->memory);
fail:
    lt_setup_release(&s);
    return err;
}

/* ---- --dry-run and --explain-step */

static lt_err print_text(FILE *out, const lt_setup *s, const int32_t *ids, int64_t n)
{
    lt_decoder decoder;
    lt_buf text = { 0 };
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
        fprintf(out, "step %d: samples %" PRIu64 " to %" PRIu64 ", %" PRId64 " counted tokens\n",
                step, b->first_sample, b->first_sample + b->n_samples - 1, b->n_target_tokens);
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

    LT_TRY(err = lt_setup_open(&s, config, NULL, true));
    fprintf(out, "%" PRIu64 " steps of %" PRIu64 " sequences of %" PRId64 " tokens\n",
            s.total_steps, s.step_samples, config->data.seq_len);
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

    LT_TRY(err = lt_setup_open(&s, config, NULL, true));
    if (step < 1 || (uint64_t)step > s.total_steps) {
        err = lt_fail(LT_EUSAGE, "--explain-step: expected 1 to %" PRIu64 ", found %" PRId64,
                      s.total_steps, step);
        goto fail;
    }
    o = lt_setup_batches(&s, 0);
    first = (uint64_t)(step - 1) * s.step_samples;
    for (uint64_t k = first; k < first + s.step_samples; k++)
        LT_TRY(err = lt_batch_explain(&o, k, &text));
    fprintf(out, "step %" PRId64 ", learning rate %.6e\n%s", step, lt_lr_at(&s.schedule, step),
            lt_buf_cstr(&text));
fail:
    lt_buf_release(&text);
    lt_setup_release(&s);
    return err;
}
