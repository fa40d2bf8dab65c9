/* ops.c - lt-bench ops: the operations that live on memory bandwidth, against the rate of a copy
 * that the same run measures first, and against the CPU table in fp32.
 *
 * A case is run twice: on a few rows, here and on the CPU, to compare;
 * then at full size to time. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bench.h"
#include "ops_data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCHES = 5, CHECK_ROWS = 96, CHECK_FLAT = 1 << 18 };

typedef struct ops_args {
    const char *device, *precision, *size, *only;
    int64_t rows, threads;
    bool json;
} ops_args;

static const lt_option options[] = {
    { "device", 0, LT_OPT_STRING, offsetof(ops_args, device), "NAME",
      "auto, cpu or cuda (default auto)" },
    { "precision", 0, LT_OPT_STRING, offsetof(ops_args, precision), "TYPE",
      "fp32, bf16 or fp16 (default bf16)" },
    { "size", 0, LT_OPT_STRING, offsetof(ops_args, size), "NAME",
      "d12, d24 or d48: GPT-2 of 12, 24 or 48 layers (default d12)" },
    { "case", 0, LT_OPT_STRING, offsetof(ops_args, only), "NAME",
      "only this case, and copy (default all)" },
    { "rows", 0, LT_OPT_INT, offsetof(ops_args, rows), "R",
      "rows of activations (default 65536, 32768 or 16384)", 1, 1 << 24 },
    { "threads", 0, LT_OPT_INT, offsetof(ops_args, threads), "N", "CPU threads (default all)", 1,
      4096 },
    { "json", 0, LT_OPT_FLAG, offsetof(ops_args, json), NULL,
      "one JSON object on standard output" },
    { 0 },
};

const lt_command bench_ops_command = {
    "lt-bench ops", "[options]", "time the operations that live on memory bandwidth",
    "GB/s are the bytes that an operation must move, each input read once and each output written\n"
    "once, over its time.  wrong is the largest error on a few rows against the CPU in fp32,\n"
    "relative to the value plus the root mean square of the tensor.  C is the width of the model,\n"
    "V its vocabulary, R the rows, H at most 8192 of them, n = V C.  Cross entropy is head_loss\n"
    "less the three matrix products in it.",
    options
};

typedef struct row {
    double seconds, bytes_per_s, wrong; /* wrong < 0: not compared */
} row;

typedef struct ops_bench {
    const ops_args *args;
    ops_shape shape;
    lt_dev *dev, *cpu;
    float *block; /* see ops_data.h */
    row *rows;
} ops_bench;

/* ---- right? */

static lt_err compare(ops_bench *b, const ops_case *c, double *wrong)
{
    ops_shape s = b->shape;
    ops_list l = { 0 };
    lt_tensor here[OPS_MAX_TENSORS], there[OPS_MAX_TENSORS];
    lt_err err;

    s.rows = s.rows < CHECK_ROWS ? s.rows : CHECK_ROWS;
    s.head_rows = s.rows;
    s.flat = CHECK_FLAT;
    *wrong = -1;
    c->list(&l, &s);
    LT_TRY(err = ops_make(b->block, b->dev, &l, &s, false, here));
    err = ops_make(b->block, b->cpu, &l, &s, true, there);
    if (err) {
        ops_release(b->dev, &l, here);
        return err;
    }
    c->call(b->dev, here, &s);
    c->call(b->cpu, there, &s);
    for (int i = 0; i < l.n; i++) {
        double e = -1;

        if (l.items[i].use != OPS_WRITTEN && l.items[i].use != OPS_UPDATED)
            continue;
        err = ops_error(b->dev, here[i], b->cpu, there[i], &e);
        if (err)
            break;
        *wrong = fmax(*wrong, e);
    }
    ops_release(b->dev, &l, here);
    ops_release(b->cpu, &l, there);
fail:
    return err;
}

/* ---- fast? */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Median over batches of calls that follow one another without a wait. */
static lt_err time_call(ops_bench *b, void (*call)(lt_dev *, const lt_tensor *, const ops_shape *),
                        const lt_tensor *t, double *seconds)
{
    double batch[BATCHES], start, once;
    int n = 1;
    lt_err err;

    call(b->dev, t, &b->shape);
    LT_TRY(err = lt_dev_sync(b->dev));
    start = lt_now();
    call(b->dev, t, &b->shape);
    LT_TRY(err = lt_dev_sync(b->dev));
    once = lt_now() - start;
    while (n < 100 && n * once < 4e-3)
        n *= 2;
    for (int i = 0; i < BATCHES; i++) {
        start = lt_now();
        for (int j = 0; j < n; j++)
            call(b->dev, t, &b->shape);
        LT_TRY(err = lt_dev_sync(b->dev));
        batch[i] = (lt_now() - start) / n;
    }
    qsort(batch, BATCHES, sizeof *batch, by_size);
    *seconds = batch[BATCHES / 2];
fail:
    return err;
}

static double traffic(const ops_list *l)
{
    double bytes = (double)l->more_bytes;

    for (int i = 0; i < l->n; i++) {
        const ops_tensor *x = &l->items[i];
        double once = (double)(x->rows * x->cols) * (double)lt_dtype_bytes(x->dtype);

        bytes += x->use == OPS_ASIDE ? 0 : x->use == OPS_UPDATED ? 2 * once : once;
    }
    return bytes;
}

static lt_err measure(ops_bench *b, const ops_case *c, row *r)
{
    ops_list l = { 0 };
    lt_tensor t[OPS_MAX_TENSORS];
    double less = 0;
    lt_err err;

    LT_TRY(err = compare(b, c, &r->wrong));
    c->list(&l, &b->shape);
    LT_TRY(err = ops_make(b->block, b->dev, &l, &b->shape, false, t));
    err = time_call(b, c->call, t, &r->seconds);
    if (!err && c->less)
        err = time_call(b, c->less, t, &less);
    ops_release(b->dev, &l, t);
    r->seconds -= less;
    r->bytes_per_s = r->seconds > 0 ? traffic(&l) / r->seconds : 0;
fail:
    return err;
}

/* ---- the run */

static lt_err find_shape(ops_bench *b)
{
    static const struct {
        const char *name;
        int64_t rows, width;
    } sizes[] = { { "d12", 65536, 768 }, { "d24", 32768, 1024 }, { "d48", 16384, 1600 } };
    const ops_args *a = b->args;
    ops_shape *s = &b->shape;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (strcmp(a->size, sizes[i].name) == 0)
            *s = (ops_shape){ .rows = sizes[i].rows, .width = sizes[i].width };
    if (!s->width)
        return lt_fail(LT_EUSAGE, "--size: expected d12, d24 or d48, found \"%s\"", a->size);
    if (a->rows)
        s->rows = a->rows;
    s->head_rows = s->rows < 8192 ? s->rows : 8192;
    s->vocab = 50304;
    s->n_vocab = 50257;
    s->flat = s->vocab * s->width;
    for (s->act = LT_F32; s->act <= LT_F16; s->act++)
        if (strcmp(a->precision, lt_dtype_name(s->act)) == 0)
            return LT_OK;
    return lt_fail(LT_EUSAGE, "--precision: expected fp32, bf16 or fp16, found \"%s\"",
                   a->precision);
}

static lt_err open_device(ops_bench *b, lt_dev **dev, const char *name, lt_dtype act)
{
    const ops_shape *s = &b->shape;
    lt_dev_options o = { .n_threads = (int)b->args->threads, .deterministic = true };
    lt_dev_need need = { .act = act,
                         .grad = LT_F32,
                         .rows = s->rows,
                         .n_embd = s->width,
                         .n_inner = 4 * s->width,
                         .n_head = s->width / 64,
                         .n_kv_head = s->width / 64,
                         .head_dim = 64,
                         .n_batch = 1,
                         .t_q = 1,
                         .t_k = 1,
                         .chunk_rows = s->head_rows,
                         .n_vocab = s->vocab,
                         .n_threads = (int)b->args->threads };
    lt_err err;

    LT_TRY(err = lt_dev_open(dev, name, &o));
    LT_TRY(err = lt_dev_reserve(*dev, &need));
fail:
    return err;
}

static bool is_asked_for(const ops_bench *b, int i)
{
    const char *only = b->args->only;

    return i == 0 || !only || strcmp(only, ops_cases[i].name) == 0;
}

/* --case names one, or is not given */
static bool has_case(const ops_bench *b)
{
    bool found = !b->args->only;

    for (int i = 0; i < ops_n_cases; i++)
        found = found || strcmp(b->args->only, ops_cases[i].name) == 0;
    return found;
}

static void report(const ops_bench *b)
{
    const ops_shape *s = &b->shape;
    char device[160];

    b->dev->backend->describe(b->dev, device, sizeof device);
    if (b->args->json)
        printf("{\"device\": \"%s\", \"precision\": \"%s\", \"size\": \"%s\", \"rows\": %lld, "
               "\"copy_bytes_per_s\": %.6g, \"cases\": [",
               device, b->args->precision, b->args->size, (long long)s->rows,
               b->rows[0].bytes_per_s);
    else
        printf("%s  %s  R=%lld C=%lld V=%lld H=%lld\n%s\n%-14s %-15s %10s %9s %8s  %s\n",
               b->args->size, b->args->precision, (long long)s->rows, (long long)s->width,
               (long long)s->vocab, (long long)s->head_rows, device, "case", "size", "us", "GB/s",
               "% copy", "wrong");
    for (int i = 0; i < ops_n_cases; i++) {
        const row *r = &b->rows[i];
        double share = 100 * r->bytes_per_s / b->rows[0].bytes_per_s;
        char wrong[32] = "-";

        if (!is_asked_for(b, i))
            continue;
        if (r->wrong >= 0)
            snprintf(wrong, sizeof wrong, "%.1e", r->wrong);
        if (b->args->json)
            printf("%s{\"case\": \"%s\", \"size\": \"%s\", \"seconds\": %.6g, "
                   "\"bytes_per_s\": %.6g, \"percent_of_copy\": %.4g, \"wrong\": %s}",
                   i ? ", " : "", ops_cases[i].name, ops_cases[i].size, r->seconds, r->bytes_per_s,
                   share, isfinite(r->wrong) && r->wrong >= 0 ? wrong : "null");
        else
            printf("%-14s %-15s %10.1f %9.1f %8.1f  %s\n", ops_cases[i].name, ops_cases[i].size,
                   r->seconds * 1e6, r->bytes_per_s * 1e-9, share, wrong);
    }
    if (b->args->json)
        printf("]}\n");
}

static lt_err run(ops_bench *b)
{
    lt_err err;

    if (!has_case(b))
        return lt_fail(LT_EUSAGE,
                       "--case: expected the name of a case, as \"residual_norm\", "
                       "found \"%s\"",
                       b->args->only);
    LT_TRY(err = find_shape(b));
    LT_TRY(err = open_device(b, &b->dev, b->args->device, b->shape.act));
    LT_TRY(err = open_device(b, &b->cpu, "cpu", LT_F32));
    b->rows = lt_new_array0((size_t)ops_n_cases, sizeof *b->rows);
    b->block = ops_block();
    for (int i = 0; i < ops_n_cases; i++) {
        if (!is_asked_for(b, i))
            continue;
        lt_log_progress("%s, %s", ops_cases[i].name, ops_cases[i].size);
        LT_TRY(err = measure(b, &ops_cases[i], &b->rows[i]));
    }
    lt_log_progress_end();
    report(b);
fail:
    lt_log_progress_end();
    return err;
}

lt_err bench_ops(int argc, char **argv)
{
    ops_args args = { .device = "auto", .precision = "bf16", .size = "d12" };
    ops_bench b = { .args = &args };
    lt_opt_list rest = { 0 };
    bool done = false;
    lt_err err;

    LT_TRY(err = lt_options_parse(&bench_ops_command, argc, argv, &args, &rest, &done));
    if (done)
        goto fail;
    if (rest.n)
        err = lt_fail(LT_EUSAGE, "ops: unexpected argument \"%s\"", rest.items[0]);
    else
        err = run(&b);
fail:
    lt_dev_close(b.dev);
    lt_dev_close(b.cpu);
    free(b.block);
    free(b.rows);
    lt_opt_list_release(&rest);
    return err;
}
