/* gemm.c - lt-bench gemm: every matrix product of a training step as the model calls it, against
 * the largest square product of the same run and against double precision. */
#include "base/log.h"
#include "base/mem.h"
#include "bench.h"
#include "bench_time.h"
#include "gemm_cases.h"
#include "gemm_check.h"
#include "ops_data.h"

#include <stdlib.h>
#include <string.h>

typedef struct gemm_args {
    const char *device, *precision, *model, *only;
    lt_dtype act; /* of precision */
    int64_t batch, seq, m, n, k, square, threads;
    double seconds, bound;
    bool json;
} gemm_args;

static const lt_option options[] = {
    { "device", 0, LT_OPT_STRING, offsetof(gemm_args, device), "NAME",
      "auto, cpu or cuda (default auto)" },
    { "precision", 0, LT_OPT_STRING, offsetof(gemm_args, precision), "TYPE",
      "fp32, bf16 or fp16 (default bf16)" },
    { "model", 0, LT_OPT_STRING, offsetof(gemm_args, model), "NAME",
      "gpt2, gpt2-medium, gpt2-large, gpt2-xl (default gpt2)" },
    { "batch", 0, LT_OPT_INT, offsetof(gemm_args, batch), "B",
      "sequences in a micro-batch (default 4)", 1, 65536 },
    { "seq", 0, LT_OPT_INT, offsetof(gemm_args, seq), "T", "tokens in a sequence (default 1024)", 1,
      1 << 20 },
    { "case", 0, LT_OPT_STRING, offsetof(gemm_args, only), "WORDS",
      "only the products whose name has these words, as \"fc dgrad\" or wgrad" },
    { "m", 0, LT_OPT_INT, offsetof(gemm_args, m), "M", "instead of a model: one size, rows of D", 1,
      1 << 20 },
    { "n", 0, LT_OPT_INT, offsetof(gemm_args, n), "N", "columns of D", 1, 1 << 20 },
    { "k", 0, LT_OPT_INT, offsetof(gemm_args, k), "K", "length of the sums", 1, 1 << 20 },
    { "gemm-size", 0, LT_OPT_INT, offsetof(gemm_args, square), "N",
      "side of the square that measures the peak (default 2048, 8192 on a GPU)", 64, 32768 },
    { "seconds", 0, LT_OPT_REAL, offsetof(gemm_args, seconds), "S",
      "how long each product runs (default 0.2, 1 on a GPU)", 0, 3600 },
    { "bound", 0, LT_OPT_REAL, offsetof(gemm_args, bound), "X",
      "an element is wrong beyond X times what its type explains (default 1)", 0, 1e6 },
    { "threads", 0, LT_OPT_INT, offsetof(gemm_args, threads), "N", "CPU threads (default all)", 1,
      4096 },
    { "json", 0, LT_OPT_FLAG, offsetof(gemm_args, json), NULL,
      "one JSON object on standard output" },
    { 0 },
};

const lt_command bench_gemm_command = {
    "lt-bench gemm", "[options]", "time and check the matrix products of a training step",
    "D (M, N) is a sum over K.  fprop has its bias and activation, fcproj dgrad the activation's\n"
    "gradient and column sums; wgrad writes fp32.  ms and TFLOP/s are steady rates, over the second\n"
    "half of --seconds; burst is the best batch of 4 ms: a GPU cannot hold it.  % of the square of\n"
    "the same run, steady against steady.  wrong: of 64 sampled elements and more, those off by more\n"
    "than rounding explains, against sums in double of the very inputs; any is exit status 1.",
    options
};

typedef struct gemm_row {
    bench_seconds s;
    int wrong, checked;
} gemm_row;

typedef struct gemm_bench {
    const gemm_args *args;
    lt_dev *dev;
    float *block; /* ops_data.h */
    gemm_list list;
    gemm_row rows[GEMM_MAX_CASES];
    bench_seconds square;
    int64_t side;
    double seconds;
} gemm_bench;

typedef struct product_call {
    bench_call call;
    lt_matmul m;
} product_call;

static void run_product(bench_call *call, lt_dev *dev)
{
    dev->ops->matmul(dev, &((product_call *)call)->m);
}

/* The operands of a case as a list to be made: d, a, b, and what else there is, in this order. */
static void list_operands(ops_list *l, const gemm_case *c)
{
    bool weights = !c->trans_a; /* b holds weights, small as in a model; of a wgrad activations */

#define PUT(dtype_, rows_, cols_, use_, fill_)                                                     \
    l->items[l->n++] = (ops_tensor){ dtype_, rows_, cols_, use_, fill_ }
    PUT(c->d, c->m, c->n, OPS_WRITTEN, OPS_NORMAL);
    PUT(c->act, c->trans_a ? c->k : c->m, c->trans_a ? c->m : c->k, OPS_READ, OPS_NORMAL);
    PUT(c->act, c->trans_b ? c->n : c->k, c->trans_b ? c->k : c->n, OPS_READ,
        weights ? OPS_SMALL : OPS_NORMAL);
    if (c->bias)
        PUT(c->act, 1, c->n, OPS_READ, OPS_NORMAL);
    if (c->epilogue != LT_EPI_NONE)
        PUT(c->act, c->m, c->n, OPS_READ, OPS_NORMAL);
    if (c->col_sum)
        PUT(LT_F32, 1, c->n, OPS_WRITTEN, OPS_NORMAL);
#undef PUT
}

static lt_matmul product_of(const gemm_case *c, const lt_tensor *t)
{
    lt_matmul m = { .d = t[0],
                    .a = t[1],
                    .b = t[2],
                    .trans_a = c->trans_a,
                    .trans_b = c->trans_b,
                    .epilogue = c->epilogue,
                    .act = c->epilogue == LT_EPI_NONE ? LT_ACT_NONE : LT_ACT_GELU_TANH };
    int at = 3;

    if (c->bias)
        m.bias = t[at++];
    if (c->epilogue != LT_EPI_NONE)
        m.aux = t[at++];
    if (c->col_sum)
        m.col_sum = t[at];
    return m;
}

static lt_err measure(gemm_bench *b, const gemm_case *c, gemm_row *row)
{
    product_call product = { .call = { run_product } };
    lt_tensor t[OPS_MAX_TENSORS];
    ops_list l = { 0 };
    lt_err err;

    list_operands(&l, c);
    LT_TRY(err = ops_make(b->block, b->dev, &l, &(ops_shape){ 0 }, false, t));
    product.m = product_of(c, t);
    err = bench_time(b->dev, &product.call, b->seconds, &row->s);
    if (!err)
        err = gemm_check(b->dev, &product.m, b->args->bound, &row->wrong, &row->checked);
    ops_release(b->dev, &l, t);
fail:
    return err;
}

static lt_err time_square(gemm_bench *b)
{
    bench_seconds s = { 0 };
    lt_err err = bench_time_square(b->dev, b->args->act, b->side, b->seconds, &s);

    if (!err && (b->square.best == 0 || s.best < b->square.best))
        b->square.best = s.best;
    if (!err && (b->square.steady == 0 || s.steady < b->square.steady))
        b->square.steady = s.steady;
    return err;
}

static bool is_asked_for(const gemm_bench *b, int i)
{
    return !b->args->only || strstr(b->list.items[i].name, b->args->only);
}

/* ---- the report */

static double tera(const gemm_case *c, double seconds)
{
    return gemm_flops(c) / seconds * 1e-12;
}

static void report_json(const gemm_bench *b, const char *device)
{
    const char *comma = "";

    printf("{\"device\": \"%s\", \"precision\": \"%s\", \"gemm_size\": %lld, "
           "\"gemm_peak_flops_per_s\": %.6g, \"gemm_burst_flops_per_s\": %.6g, \"cases\": [",
           device, b->args->precision, (long long)b->side,
           bench_square_rate(b->side, b->square.steady),
           bench_square_rate(b->side, b->square.best));
    for (int i = 0; i < b->list.n; i++) {
        const gemm_case *c = &b->list.items[i];
        const gemm_row *r = &b->rows[i];

        if (!is_asked_for(b, i))
            continue;
        printf("%s{\"case\": \"%s\", \"m\": %lld, \"n\": %lld, \"k\": %lld, \"calls\": %lld, "
               "\"seconds\": %.6g, \"flops_per_s\": %.6g, \"burst_flops_per_s\": %.6g, "
               "\"percent_of_peak\": %.4g, \"wrong\": %d, \"checked\": %d}",
               comma, c->name, (long long)c->m, (long long)c->n, (long long)c->k,
               (long long)c->calls, r->s.steady, 1e12 * tera(c, r->s.steady),
               1e12 * tera(c, r->s.best),
               100e12 * tera(c, r->s.steady) / bench_square_rate(b->side, b->square.steady),
               r->wrong, r->checked);
        comma = ", ";
    }
    printf("]}\n");
}

static void report_table(const gemm_bench *b, const char *device)
{
    double peak = bench_square_rate(b->side, b->square.steady) * 1e-12, ms = 0, flops = 0;

    printf("%s  %s\nsquare of %lld: %.3f TFLOP/s steady, %.3f in a burst\n", device,
           b->args->precision, (long long)b->side, peak,
           bench_square_rate(b->side, b->square.best) * 1e-12);
    printf("%-14s %7s %7s %7s %6s %10s %9s %9s %7s  %s\n", "case", "M", "N", "K", "calls", "ms",
           "TFLOP/s", "burst", "% peak", "wrong");
    for (int i = 0; i < b->list.n; i++) {
        const gemm_case *c = &b->list.items[i];
        const gemm_row *r = &b->rows[i];

        if (!is_asked_for(b, i))
            continue;
        printf("%-14s %7lld %7lld %7lld %6lld %10.3f %9.3f %9.3f %7.1f  %d of %d\n", c->name,
               (long long)c->m, (long long)c->n, (long long)c->k, (long long)c->calls,
               r->s.steady * 1e3, tera(c, r->s.steady), tera(c, r->s.best),
               100 * tera(c, r->s.steady) / peak, r->wrong, r->checked);
        ms += (double)c->calls * r->s.steady * 1e3;
        flops += (double)c->calls * gemm_flops(c);
    }
    printf("%-14s %30s %10.3f %9.3f %9s %7.1f\n", "all calls", "", ms, flops / ms * 1e-9, "",
           100 * flops / ms * 1e-9 / peak);
}

static lt_err report(const gemm_bench *b)
{
    char device[160];
    int wrong = 0;

    b->dev->backend->describe(b->dev, device, sizeof device);
    if (b->args->json)
        report_json(b, device);
    else
        report_table(b, device);
    for (int i = 0; i < b->list.n; i++)
        wrong += b->rows[i].wrong;
    return wrong == 0 ? LT_OK : lt_fail(LT_EMISMATCH, "gemm: %d elements are wrong", wrong);
}

/* ---- the run */

static lt_err find_cases(gemm_bench *b)
{
    const gemm_args *a = b->args;
    int64_t rows = a->batch * a->seq, head = b->dev->backend == &lt_backend_cpu ? 512 : 8192;
    lt_model_config config;
    bool found = false;

    if ((a->m || a->n || a->k) && !(a->m && a->n && a->k))
        return lt_fail(LT_EUSAGE, "gemm: --m, --n and --k go together");
    if (!lt_model_config_named(&config, a->model))
        return bench_fail_model(a->model);
    if (a->m)
        gemm_cases_of_size(&b->list, a->act, a->m, a->n, a->k);
    else
        gemm_cases_of_model(&b->list, &config, a->act, rows, rows < head ? rows : head);
    for (int i = 0; i < b->list.n; i++)
        found = found || is_asked_for(b, i);
    return found ? LT_OK
                 : lt_fail(LT_EUSAGE,
                           "--case: expected words of a name, as \"fc dgrad\", found "
                           "\"%s\"",
                           a->only);
}

static lt_err reserve(gemm_bench *b)
{
    int64_t rows = 1, cols = 1;
    lt_dev_need need;

    for (int i = 0; i < b->list.n; i++) {
        const gemm_case *c = &b->list.items[i];

        rows = c->m > rows ? c->m : rows;
        cols = c->n > cols ? c->n : cols;
        cols = c->k > cols ? c->k : cols;
    }
    need = bench_need_products(b->dev, b->args->act, rows, cols);
    return lt_dev_reserve(b->dev, &need);
}

static lt_err run(gemm_bench *b)
{
    const gemm_args *a = b->args;
    lt_dev_options o = { .n_threads = (int)a->threads, .deterministic = true };
    bool gpu;
    lt_err err;

    LT_TRY(err = lt_dev_open(&b->dev, a->device, &o));
    gpu = b->dev->backend != &lt_backend_cpu;
    b->side = a->square ? a->square : gpu ? 8192 : 2048;
    b->seconds = a->seconds > 0 ? a->seconds : gpu ? 1 : 0.2;
    LT_TRY(err = find_cases(b));
    LT_TRY(err = reserve(b));
    b->block = ops_block();
    LT_TRY(err = time_square(b));
    for (int i = 0; i < b->list.n; i++) {
        if (!is_asked_for(b, i))
            continue;
        lt_log_progress("%s", b->list.items[i].name);
        LT_TRY(err = measure(b, &b->list.items[i], &b->rows[i]));
    }
    LT_TRY(err = time_square(b));
    lt_log_progress_end();
    err = report(b);
fail:
    lt_log_progress_end();
    return err;
}

lt_err bench_gemm(int argc, char **argv)
{
    gemm_args args = {
        .device = "auto", .precision = "bf16", .model = "gpt2", .batch = 4, .seq = 1024, .bound = 1
    };
    gemm_bench b = { .args = &args };
    lt_opt_list rest = { 0 };
    bool done = false;
    lt_err err;

    LT_TRY(err = lt_options_parse(&bench_gemm_command, argc, argv, &args, &rest, &done));
    if (done)
        goto fail;
    LT_TRY(err = bench_no_arguments("gemm", &rest));
    LT_TRY(err = bench_parse_precision(&args.act, args.precision));
    err = run(&b);
fail:
    lt_dev_close(b.dev);
    free(b.block);
    lt_opt_list_release(&rest);
    return err;
}
