/* dataparallel.c - lt-bench dataparallel: the table that holds ZeRO against DataParallel.
 *
 * Ranks and PyTorch run as children; the baseline (data_parallel.h) runs in this process, last, so
 * that it holds no memory of a GPU while others are measured. */
#include "bar_chart.h"
#include "base/clock.h"
#include "base/log.h"
#include "bench.h"
#include "bench_job.h"
#include "bench_step.h"
#include "data_parallel.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_BATCHES = 8, MOST_KINDS = 7, LABEL_BYTES = 64 };

typedef struct table_args {
    bench_job job;
    const char *batch, *rows, *chart;
    int64_t gpus, epoch_samples;
    bool json;
} table_args;

static const lt_option options[] = {
    BENCH_JOB_OPTIONS(table_args, job),
    { "batch", 0, LT_OPT_STRING, offsetof(table_args, batch), "B,...",
      "sequences on each GPU (default 32)" },
    { "gpus", 0, LT_OPT_INT, offsetof(table_args, gpus), "N", "GPUs, or CPU ranks (default 2)", 1,
      1024 },
    { "rows", 0, LT_OPT_STRING, offsetof(table_args, rows), "NAME,...",
      "of dataparallel, stage0 to stage3, torch-dp, torch-ddp (default all)" },
    { "epoch-samples", 0, LT_OPT_INT, offsetof(table_args, epoch_samples), "N",
      "sequences of an epoch (default 100000)", 1, INT64_C(1000000000000) },
    { "peer", 0, LT_OPT_STRING, offsetof(table_args, job.peer), "FILE",
      "the script of PyTorch's rows (default tests/peers/gpt2_torch.py)" },
    { "python", 0, LT_OPT_STRING, offsetof(table_args, job.python), "CMD",
      "runs it (default python3)" },
    { "chart", 0, LT_OPT_STRING, offsetof(table_args, chart), "FILE",
      "write the table as bars, SVG" },
    { "json", 0, LT_OPT_FLAG, offsetof(table_args, json), NULL,
      "one JSON object on standard output" },
    { 0 },
};

const lt_command bench_dataparallel_command = {
    "lt-bench dataparallel", "[options]", "ZeRO against DataParallel, and PyTorch",
    "dataparallel is our own engine driven as torch.nn.DataParallel drives its: one process, weights\n"
    "copied from device 0 in every step, inputs scattered, gradients added up and the optimizer run\n"
    "on device 0.  stage0 to stage3: mpirun -n N lt-bench train.  torch-dp, torch-ddp: PyTorch's\n"
    "nn.DataParallel, and DistributedDataParallel with torch.compile (not on a CPU), where python3 has\n"
    "torch.  Every row trains the same model with the same batch on each GPU: bf16 or fp32 compute,\n"
    "fp32 masters, AdamW, clipping.  samples/s come from the best step; memory is what was allocated\n"
    "on the device that has most.  A row that fails has no figures, and the exit status is 1.",
    options
};

/* In the order of the table. */
static const struct {
    const char *name;
    int stage;            /* -1: none */
    const char *parallel; /* PyTorch's */
    int colour;
} kinds[MOST_KINDS] = { { "dataparallel", -1, NULL, 0 }, { "stage0", 0, NULL, 1 },
                        { "stage1", 1, NULL, 1 },        { "stage2", 2, NULL, 1 },
                        { "stage3", 3, NULL, 1 },        { "torch-dp", -1, "dp", 2 },
                        { "torch-ddp", -1, "ddp", 3 } };

typedef struct table_row {
    int kind;
    int64_t batch;
    bool done;
    double best_ms, mean_ms, loss; /* loss: of the last step; 0 where nobody says */
    int64_t bytes, used;
    double samples_per_s;
} table_row;

typedef struct table {
    const table_args *args;
    int64_t batches[MOST_BATCHES];
    int n_batches;
    bool wanted[MOST_KINDS];
    table_row rows[MOST_BATCHES * MOST_KINDS];
    int n_rows, n_failed;
    char device[160];
} table;

static table_row *find(table *t, const char *name, int64_t batch)
{
    for (int i = 0; i < t->n_rows; i++)
        if (strcmp(kinds[t->rows[i].kind].name, name) == 0 && t->rows[i].batch == batch)
            return &t->rows[i];
    return NULL;
}

static void complete(table *t, table_row *r)
{
    r->samples_per_s = (double)(r->batch * t->args->gpus) / (r->best_ms * 1e-3);
    r->done = true;
}

/* ---- rows by children */

static lt_err read_row(table *t, table_row *r, const json_t *o)
{
    const char *device;
    lt_err err;

    LT_TRY(err = lt_json_opt_real(o, "ms_per_step", &r->best_ms, "row"));
    LT_TRY(err = lt_json_opt_real(o, "mean_ms_per_step", &r->mean_ms, "row"));
    LT_TRY(err = lt_json_opt_real(o, "loss", &r->loss, "row"));
    LT_TRY(err = lt_json_opt_int(o, "peak_bytes", 0, INT64_MAX, &r->bytes, "row"));
    LT_TRY(err = lt_json_opt_int(o, "device_used_bytes", 0, INT64_MAX, &r->used, "row"));
    LT_TRY(err = lt_json_string(o, "device", &device, "row"));
    if (!(r->best_ms > 0))
        return lt_fail(LT_EFAULT, "no ms_per_step in what it printed");
    if (!kinds[r->kind].parallel)
        snprintf(t->device, sizeof t->device, "%s", device);
    complete(t, r);
fail:
    return err;
}

static lt_err run_child(table *t, table_row *r)
{
    const table_args *a = t->args;
    const char *parallel = kinds[r->kind].parallel;
    json_t *o = NULL;
    lt_err err;

    if (parallel)
        LT_TRY(err = bench_job_peer(&o, &a->job, a->gpus, r->batch, parallel));
    else
        LT_TRY(err = bench_job_train(&o, &a->job, a->gpus, r->batch, kinds[r->kind].stage));
    err = read_row(t, r, o);
fail:
    json_decref(o);
    return err;
}

/* ---- the baseline */

static lt_err time_baseline(const table *t, table_row *r, data_parallel *p)
{
    int64_t n = t->args->job.steps;
    lt_err err;

    for (int i = 0; i < BENCH_WARM_UP; i++)
        LT_TRY(err = data_parallel_step(p, i == BENCH_WARM_UP - 1, &r->loss));
    r->best_ms = 1e30;
    for (int64_t i = 0; i < n; i++) {
        double start = lt_now(), ms;

        LT_TRY(err = data_parallel_step(p, true, &r->loss));
        ms = (lt_now() - start) * 1e3;
        r->best_ms = ms < r->best_ms ? ms : r->best_ms;
        r->mean_ms += ms / (double)n;
        lt_log_progress("step %lld of %lld: %.1f ms", (long long)i + 1, (long long)n, ms);
    }
fail:
    lt_log_progress_end();
    return err;
}

static lt_err run_baseline(table *t, table_row *r)
{
    const bench_job *j = &t->args->job;
    int64_t share = lt_cpu_count() / t->args->gpus;
    lt_model_config config;
    data_parallel *p = NULL;
    data_parallel_options o = { .config = &config,
                                .shape = { .n_batch = r->batch, .seq = j->seq },
                                .device = j->device,
                                .n_devices = (int)t->args->gpus,
                                .n_threads = (int)(j->threads ? j->threads
                                                   : share    ? share
                                                              : 1) };
    lt_err err;

    LT_BUG_ON(!lt_model_config_named(&config, j->model));
    if (j->layers)
        config.n_layer = j->layers;
    LT_TRY(err = bench_parse_precision(&o.shape.act, j->precision));
    LT_TRY(err = bench_parse_recompute(&o.shape.recompute, j->recompute));
    lt_log_info("dataparallel, %lld sequences on each of %lld devices", (long long)r->batch,
                (long long)t->args->gpus);
    LT_TRY(err = data_parallel_open(&p, &o));
    LT_TRY(err = time_baseline(t, r, p));
    r->bytes = (int64_t)data_parallel_bytes(p);
    r->used = (int64_t)data_parallel_used(p);
    data_parallel_describe(p, t->device, sizeof t->device);
    complete(t, r);
fail:
    data_parallel_close(p);
    return err;
}

/* A row that fails does not take the others with it. */
static void run_rows(table *t)
{
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < t->n_rows; i++) {
            table_row *r = &t->rows[i];
            bool own = kinds[r->kind].stage < 0 && !kinds[r->kind].parallel;

            if (own != (pass == 1))
                continue;
            if ((own ? run_baseline(t, r) : run_child(t, r)) == LT_OK) {
                lt_log_info("%s, batch %lld: %.1f ms, %.1f samples/s", kinds[r->kind].name,
                            (long long)r->batch, r->best_ms, r->samples_per_s);
                continue;
            }
            lt_log_error("%s, batch %lld: %s", kinds[r->kind].name, (long long)r->batch,
                         lt_err_text());
            t->n_failed++;
        }
}

/* ---- figures */

static double ratio(table *t, const table_row *r, const char *to)
{
    const table_row *base = find(t, to, r->batch);

    return base && base->done && r->done ? r->samples_per_s / base->samples_per_s : 0;
}

static double epoch_seconds(const table *t, const table_row *r)
{
    return (double)t->args->epoch_samples / r->samples_per_s;
}

static void put_real(const char *key, double x, bool known)
{
    if (known)
        printf(", \"%s\": %.12g", key, x);
    else
        printf(", \"%s\": null", key);
}

static void report_json(table *t)
{
    const bench_job *j = &t->args->job;

    printf("{\"model\": \"%s\", \"precision\": \"%s\", \"seq\": %lld, \"gpus\": %lld, \"device\": "
           "\"%s\", \"steps\": %lld, \"epoch_samples\": %lld, \"rows\": [",
           j->model, j->precision, (long long)j->seq, (long long)t->args->gpus, t->device,
           (long long)j->steps, (long long)t->args->epoch_samples);
    for (int i = 0; i < t->n_rows; i++) {
        const table_row *r = &t->rows[i];
        double ours = ratio(t, r, "dataparallel"), torch = ratio(t, r, "torch-dp");

        printf("%s\n  {\"row\": \"%s\", \"batch\": %lld", i ? "," : "", kinds[r->kind].name,
               (long long)r->batch);
        put_real("samples_per_s", r->samples_per_s, r->done);
        put_real("ms_per_step", r->best_ms, r->done);
        put_real("mean_ms_per_step", r->mean_ms, r->done);
        put_real("epoch_s", epoch_seconds(t, r), r->done);
        put_real("over_dataparallel", ours, ours > 0);
        put_real("over_torch_dp", torch, torch > 0);
        put_real("loss", r->loss, r->done && r->loss > 0);
        put_real("max_bytes", (double)r->bytes, r->done);
        put_real("device_used_bytes", (double)r->used, r->done && r->used > 0);
        printf("}");
    }
    printf("\n]}\n");
}

static void put_ratio(double x)
{
    if (x > 0)
        printf(" %9.2fx", x);
    else
        printf(" %10s", "-");
}

static void report_table(table *t)
{
    const bench_job *j = &t->args->job;

    printf("%s  %s  T=%lld  %lld x %s\n", j->model, j->precision, (long long)j->seq,
           (long long)t->args->gpus, t->device);
    printf("%6s %-13s %10s %10s %12s %10s %10s %10s\n", "batch", "", "samples/s", "ms/step",
           "MiB/device", "epoch s", "over ours", "over torch");
    for (int i = 0; i < t->n_rows; i++) {
        const table_row *r = &t->rows[i];

        printf("%6lld %-13s", (long long)r->batch, kinds[r->kind].name);
        if (!r->done) {
            printf(" failed\n");
            continue;
        }
        printf(" %10.2f %10.2f %12.0f %10.1f", r->samples_per_s, r->best_ms,
               (double)r->bytes / (1 << 20), epoch_seconds(t, r));
        put_ratio(ratio(t, r, "dataparallel"));
        put_ratio(ratio(t, r, "torch-dp"));
        printf("\n");
    }
    printf(
        "batch: sequences on each device; epoch: %lld sequences; over ours, over torch: samples/s "
        "against dataparallel, torch-dp\n",
        (long long)t->args->epoch_samples);
}

static lt_err write_chart(const table *t)
{
    const bench_job *j = &t->args->job;
    chart_bar bars[MOST_BATCHES * MOST_KINDS];
    char groups[MOST_BATCHES][LABEL_BYTES], title[LABEL_BYTES * 2];

    for (int b = 0; b < t->n_batches; b++)
        snprintf(groups[b], sizeof groups[b], "%lld sequences on each device",
                 (long long)t->batches[b]);
    for (int i = 0; i < t->n_rows; i++) {
        const table_row *r = &t->rows[i];
        int b = 0;

        while (t->batches[b] != r->batch)
            b++;
        bars[i] = (chart_bar){ groups[b], kinds[r->kind].name, r->done ? r->samples_per_s : 0,
                               kinds[r->kind].colour };
    }
    snprintf(title, sizeof title, "%s, %s, T=%lld, %lld devices", j->model, j->precision,
             (long long)j->seq, (long long)t->args->gpus);
    return bar_chart_write(t->args->chart, title, "samples a second", bars, (size_t)t->n_rows);
}

/* ---- the command */

static lt_err parse_rows(table *t, const char *word)
{
    const char *at = word;

    for (bool more = true; more; at += more) {
        size_t n = strcspn(at, ",");
        bool known = false;

        for (int k = 0; k < MOST_KINDS; k++)
            if (strlen(kinds[k].name) == n && strncmp(kinds[k].name, at, n) == 0)
                known = t->wanted[k] = true;
        if (!known)
            return lt_fail(LT_EUSAGE,
                           "--rows: expected dataparallel, stage0 to stage3, torch-dp, torch-ddp "
                           "with commas between, found \"%s\"",
                           word);
        at += n;
        more = *at == ',';
    }
    return LT_OK;
}

/* What is asked for and PyTorch's rows cannot do; NULL: nothing. */
static const char *beyond_peer(const bench_job *j)
{
    return strcmp(j->precision, "fp16") == 0   ? "fp16"
           : strcmp(j->recompute, "none") != 0 ? "recomputation"
                                               : NULL;
}

static lt_err check_peer_rows(const table *t)
{
    const char *beyond = beyond_peer(&t->args->job);

    for (int k = 0; beyond && t->args->rows && k < MOST_KINDS; k++)
        if (t->wanted[k] && kinds[k].parallel)
            return lt_fail(LT_EUSAGE, "--rows: %s: PyTorch's rows know no %s", kinds[k].name,
                           beyond);
    return LT_OK;
}

static bool has_peer(const bench_job *j)
{
    const char *beyond = beyond_peer(j);

    if (beyond)
        lt_log_info("PyTorch's rows know no %s: left out", beyond);
    return !beyond && bench_job_has_peer(j);
}

/* Rows of PyTorch that nobody asked for by name are left out where it, or what they need, is not
 * there: nn.DataParallel knows no CPUs. */
static void choose_rows(table *t)
{
    bool all = !t->args->rows;
    bool no_peer = all && !has_peer(&t->args->job);
    bool no_dp = no_peer || (all && strcmp(t->args->job.device, "cpu") == 0);

    for (int k = 0; k < MOST_KINDS; k++)
        if (kinds[k].parallel && (strcmp(kinds[k].parallel, "dp") == 0 ? no_dp : no_peer))
            t->wanted[k] = false;
    for (int b = 0; b < t->n_batches; b++)
        for (int k = 0; k < MOST_KINDS; k++)
            if (t->wanted[k])
                t->rows[t->n_rows++] = (table_row){ .kind = k, .batch = t->batches[b] };
}

static lt_err check_args(table *t, table_args *a, const lt_opt_list *rest)
{
    lt_err err;

    LT_TRY(err = bench_no_arguments("dataparallel", rest));
    LT_TRY(err = bench_parse_list(t->batches, &t->n_batches, MOST_BATCHES, "batch", a->batch, 1,
                                  65536));
    LT_TRY(err = parse_rows(t, a->rows ? a->rows
                                       : "dataparallel,stage0,stage1,stage2,stage3,torch-dp,"
                                         "torch-ddp"));
    LT_TRY(err = bench_job_check(&a->job, "dataparallel"));
    err = check_peer_rows(t);
fail:
    return err;
}

lt_err bench_dataparallel(int argc, char **argv)
{
    table_args args = {
        .job = bench_job_default(), .batch = "32", .gpus = 2, .epoch_samples = 100000
    };
    table t = { .args = &args };
    lt_opt_list rest = { 0 };
    bool done = false;
    lt_err err;

    LT_TRY(err = lt_options_parse(&bench_dataparallel_command, argc, argv, &args, &rest, &done));
    if (done)
        goto fail;
    LT_TRY(err = check_args(&t, &args, &rest));
    snprintf(t.device, sizeof t.device, "%s", args.job.device);
    choose_rows(&t);
    run_rows(&t);
    if (args.json)
        report_json(&t);
    else
        report_table(&t);
    if (args.chart)
        LT_TRY(err = write_chart(&t));
    if (t.n_failed)
        err = lt_fail(LT_EFAULT, "dataparallel: %d of %d rows failed", t.n_failed, t.n_rows);
fail:
    lt_opt_list_release(&rest);
    return err;
}
