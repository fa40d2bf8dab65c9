/* scale.c - lt-bench scale: the same batch on each of more and more GPUs, stage by stage. */
#include "base/log.h"
#include "bench.h"
#include "bench_job.h"

enum { MOST_COUNTS = 16, MOST_STAGES = 4 };

typedef struct scale_args {
    bench_job job;
    const char *gpus, *stages;
    int64_t batch;
    bool json;
} scale_args;

static const lt_option options[] = {
    BENCH_JOB_OPTIONS(scale_args, job),
    { "batch", 0, LT_OPT_INT, offsetof(scale_args, batch), "B",
      "sequences on each GPU (default 32)", 1, 65536 },
    { "gpus", 0, LT_OPT_STRING, offsetof(scale_args, gpus), "N,...",
      "GPUs, or CPU ranks (default 1,2)" },
    { "stages", 0, LT_OPT_STRING, offsetof(scale_args, stages), "S,...",
      "ZeRO stages (default 0,1,2,3)" },
    { "json", 0, LT_OPT_FLAG, offsetof(scale_args, json), NULL,
      "one JSON object on standard output" },
    { 0 },
};

const lt_command bench_scale_command = {
    "lt-bench scale", "[options]", "throughput by number of GPUs and ZeRO stage",
    "Runs lt-bench train, under mpirun, for each count and stage; the batch is that of each GPU.\n"
    "efficiency: tokens/s of a GPU against those with the first count of the same stage.  A run that\n"
    "fails has no figures, and the exit status is 1.",
    options
};

typedef struct scale_row {
    int64_t gpus, stage;
    double tokens_per_s, ms, efficiency; /* tokens_per_s 0: it failed */
    int64_t bytes;
} scale_row;

typedef struct scale {
    const scale_args *args;
    int64_t counts[MOST_COUNTS], stages[MOST_STAGES];
    int n_counts, n_stages, n_rows, n_failed;
    scale_row rows[MOST_COUNTS * MOST_STAGES];
} scale;

static lt_err run_row(const scale *s, scale_row *r)
{
    json_t *o = NULL;
    double tokens = 0;
    lt_err err;

    LT_TRY(err = bench_job_train(&o, &s->args->job, r->gpus, s->args->batch, r->stage));
    LT_TRY(err = lt_json_opt_real(o, "tokens_per_s", &tokens, "row"));
    LT_TRY(err = lt_json_opt_real(o, "ms_per_step", &r->ms, "row"));
    LT_TRY(err = lt_json_opt_int(o, "peak_bytes", 0, INT64_MAX, &r->bytes, "row"));
    if (!(tokens > 0))
        LT_TRY(err = lt_fail(LT_EFAULT, "no tokens_per_s in what it printed"));
    r->tokens_per_s = tokens;
fail:
    json_decref(o);
    return err;
}

static void run_rows(scale *s)
{
    for (int i = 0; i < s->n_stages; i++) {
        const scale_row *first = &s->rows[s->n_rows];

        for (int k = 0; k < s->n_counts; k++) {
            scale_row *r = &s->rows[s->n_rows++];

            *r = (scale_row){ .gpus = s->counts[k], .stage = s->stages[i] };
            if (run_row(s, r) != LT_OK) {
                lt_log_error("stage %lld on %lld: %s", (long long)r->stage, (long long)r->gpus,
                             lt_err_text());
                s->n_failed++;
                continue;
            }
            lt_log_info("stage %lld on %lld: %.1f ms, %.1f tokens/s", (long long)r->stage,
                        (long long)r->gpus, r->ms, r->tokens_per_s);
            if (first->tokens_per_s > 0)
                r->efficiency =
                    r->tokens_per_s / (double)r->gpus / (first->tokens_per_s / (double)first->gpus);
        }
    }
}

static void report_json(const scale *s)
{
    const bench_job *j = &s->args->job;

    printf("{\"model\": \"%s\", \"precision\": \"%s\", \"batch\": %lld, \"seq\": %lld, \"device\": "
           "\"%s\", \"rows\": [",
           j->model, j->precision, (long long)s->args->batch, (long long)j->seq, j->device);
    for (int i = 0; i < s->n_rows; i++) {
        const scale_row *r = &s->rows[i];

        printf("%s\n  {\"stage\": %lld, \"gpus\": %lld, ", i ? "," : "", (long long)r->stage,
               (long long)r->gpus);
        if (r->tokens_per_s > 0)
            printf("\"tokens_per_s\": %.6g, \"ms_per_step\": %.6g, ", r->tokens_per_s, r->ms);
        else
            printf("\"tokens_per_s\": null, \"ms_per_step\": null, ");
        if (r->efficiency > 0)
            printf("\"efficiency\": %.4g, ", r->efficiency);
        else
            printf("\"efficiency\": null, ");
        printf("\"max_bytes\": %lld}", (long long)r->bytes);
    }
    printf("\n]}\n");
}

static void report_table(const scale *s)
{
    const bench_job *j = &s->args->job;

    printf("%s  %s  B=%lld T=%lld  %s\n%6s %6s %14s %10s %11s %12s\n", j->model, j->precision,
           (long long)s->args->batch, (long long)j->seq, j->device, "stage", "GPUs", "tokens/s",
           "ms/step", "efficiency", "MiB/device");
    for (int i = 0; i < s->n_rows; i++) {
        const scale_row *r = &s->rows[i];

        printf("%6lld %6lld", (long long)r->stage, (long long)r->gpus);
        if (r->tokens_per_s > 0)
            printf(" %14.1f %10.2f %9.1f %% %12.0f\n", r->tokens_per_s, r->ms, 100 * r->efficiency,
                   (double)r->bytes / (1 << 20));
        else
            printf(" failed\n");
    }
}

static lt_err check_args(scale *s, scale_args *a, const lt_opt_list *rest)
{
    lt_err err;

    LT_TRY(err = bench_no_arguments("scale", rest));
    LT_TRY(err = bench_parse_list(s->counts, &s->n_counts, MOST_COUNTS, "gpus", a->gpus, 1, 1024));
    LT_TRY(err = bench_parse_list(s->stages, &s->n_stages, MOST_STAGES, "stages", a->stages, 0, 3));
    err = bench_job_check(&a->job, "scale");
fail:
    return err;
}

lt_err bench_scale(int argc, char **argv)
{
    scale_args args = {
        .job = bench_job_default(), .batch = 32, .gpus = "1,2", .stages = "0,1,2,3"
    };
    scale s = { .args = &args };
    lt_opt_list rest = { 0 };
    bool done = false;
    lt_err err;

    LT_TRY(err = lt_options_parse(&bench_scale_command, argc, argv, &args, &rest, &done));
    if (done)
        goto fail;
    LT_TRY(err = check_args(&s, &args, &rest));
    run_rows(&s);
    if (args.json)
        report_json(&s);
    else
        report_table(&s);
    if (s.n_failed)
        err = lt_fail(LT_EFAULT, "scale: %d of %d runs failed", s.n_failed, s.n_rows);
fail:
    lt_opt_list_release(&rest);
    return err;
}
