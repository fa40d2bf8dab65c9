/* attention.c - lt-bench attention: causal attention and its gradient on a packed (R, 3C) matrix as
 * the model calls them, by each of the device's ways to compute it, against double precision. */
#include "attention_check.h"
#include "base/log.h"
#include "base/mem.h"
#include "bench.h"
#include "bench_time.h"
#include "config/model_config.h"
#include "ops_data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 2 };

typedef struct attention_args {
    const char *device, *precision, *model, *kind;
    lt_dtype act; /* of precision */
    int64_t batch, seq, heads, head_dim, threads;
    double seconds, bound;
    bool free_order, json;
} attention_args;

static const lt_option options[] = {
    { "device", 0, LT_OPT_STRING, offsetof(attention_args, device), "NAME",
      "auto, cpu or cuda (default auto)" },
    { "precision", 0, LT_OPT_STRING, offsetof(attention_args, precision), "TYPE",
      "fp32, bf16 or fp16 (default bf16)" },
    { "model", 0, LT_OPT_STRING, offsetof(attention_args, model), "NAME",
      "heads of gpt2, gpt2-medium, gpt2-large, gpt2-xl (default gpt2)" },
    { "batch", 0, LT_OPT_INT, offsetof(attention_args, batch), "B", "sequences (default 4)", 1,
      65536 },
    { "seq", 0, LT_OPT_INT, offsetof(attention_args, seq), "T",
      "tokens in a sequence (default 1024)", 1, 1 << 20 },
    { "heads", 0, LT_OPT_INT, offsetof(attention_args, heads), "H", "instead of the model's", 1,
      4096 },
    { "head-dim", 0, LT_OPT_INT, offsetof(attention_args, head_dim), "D", "instead of the model's",
      1, 256 },
    { "kind", 0, LT_OPT_STRING, offsetof(attention_args, kind), "NAME",
      "cudnn or reference alone (default: all that the device has)" },
    { "free-order", 0, LT_OPT_FLAG, offsetof(attention_args, free_order), NULL,
      "let the gradient's sums come in any order" },
    { "seconds", 0, LT_OPT_REAL, offsetof(attention_args, seconds), "S",
      "how long each runs (default 0.2, 1 on a GPU)", 0, 3600 },
    { "bound", 0, LT_OPT_REAL, offsetof(attention_args, bound), "X",
      "largest error (default: fp32 2e-5, fp16 5e-3, bf16 3e-2)", 0, 1e6 },
    { "threads", 0, LT_OPT_INT, offsetof(attention_args, threads), "N", "CPU threads (default all)",
      1, 4096 },
    { "json", 0, LT_OPT_FLAG, offsetof(attention_args, json), NULL,
      "one JSON object on standard output" },
    { 0 },
};

const lt_command bench_attention_command = {
    "lt-bench attention", "[options]", "time and check attention, forward and backward",
    "FLOPs: 4 B H T^2 D, halved because it is causal; backward 2.5 times as many.  ms and TFLOP/s are\n"
    "steady rates over the second half of --seconds, burst is the best batch of 4 ms.  workspace is\n"
    "what the operation may use beside its operands.  wrong: elements of sampled rows that differ\n"
    "from sums in double by more than the bound times their size plus the root mean square of those\n"
    "rows; any is exit status 1.",
    options
};

typedef struct attention_row {
    const char *kind;
    bool absent; /* the device has no such kind; why was said */
    char device[160];
    bench_seconds forward, backward;
    size_t workspace;
    int64_t wrong, checked;
} attention_row;

typedef struct attention_bench {
    const attention_args *args;
    int64_t heads, head_dim;
    double bound;
    float *block; /* ops_data.h */
    attention_row rows[MAX_ROWS];
    int n_rows;
} attention_bench;

typedef struct attention_call {
    bench_call call;
    lt_attention_grad g; /* with the forward in it */
} attention_call;

static void run_forward(bench_call *call, lt_dev *dev)
{
    dev->ops->attention(dev, &((attention_call *)call)->g.fwd);
}

static void run_backward(bench_call *call, lt_dev *dev)
{
    dev->ops->attention_grad(dev, &((attention_call *)call)->g);
}

static double forward_flops(const attention_bench *b)
{
    const attention_args *a = b->args;

    return 2.0 * (double)(a->batch * b->heads * b->head_dim) * (double)a->seq * (double)a->seq;
}

/* qkv, out, lse, dqkv, dout */
static void list_operands(const attention_bench *b, ops_list *l)
{
    const attention_args *a = b->args;
    int64_t rows = a->batch * a->seq, width = b->heads * b->head_dim;

    *l = (ops_list){ .n = 5 };
    l->items[0] = (ops_tensor){ a->act, rows, 3 * width, OPS_READ, OPS_NORMAL };
    l->items[1] = (ops_tensor){ a->act, rows, width, OPS_WRITTEN, OPS_NORMAL };
    l->items[2] = (ops_tensor){ LT_F32, a->batch * b->heads, a->seq, OPS_WRITTEN, OPS_NORMAL };
    l->items[3] = (ops_tensor){ a->act, rows, 3 * width, OPS_WRITTEN, OPS_NORMAL };
    l->items[4] = (ops_tensor){ a->act, rows, width, OPS_READ, OPS_NORMAL };
}

static lt_attention_grad call_of(const attention_bench *b, const lt_tensor *t)
{
    const attention_args *a = b->args;
    int64_t width = b->heads * b->head_dim, rows = a->batch * a->seq;
    lt_attention_grad g = { .fwd = { .out = t[1], .lse = t[2], .causal = true }, .dout = t[4] };

    g.fwd.q = lt_block(t[0], 0, rows, 0, width);
    g.fwd.k = lt_block(t[0], 0, rows, width, width);
    g.fwd.v = lt_block(t[0], 0, rows, 2 * width, width);
    g.dq = lt_block(t[3], 0, rows, 0, width);
    g.dk = lt_block(t[3], 0, rows, width, width);
    g.dv = lt_block(t[3], 0, rows, 2 * width, width);
    g.fwd.n_batch = a->batch;
    g.fwd.n_head = g.fwd.n_kv_head = b->heads;
    g.fwd.t_q = g.fwd.t_k = g.fwd.kv_rows = a->seq;
    g.fwd.head_dim = b->head_dim;
    g.fwd.scale = 1.0f / sqrtf((float)b->head_dim);
    return g;
}

static lt_err reserve(const attention_bench *b, lt_dev *dev, lt_attention_kind kind)
{
    const attention_args *a = b->args;
    lt_dev_need need = bench_need_products(dev, a->act, a->batch * a->seq, b->heads * b->head_dim);

    need.n_head = need.n_kv_head = b->heads;
    need.head_dim = b->head_dim;
    need.n_batch = a->batch;
    need.t_q = need.t_k = a->seq;
    need.attention = kind;
    return lt_dev_reserve(dev, &need);
}

static lt_err time_and_check(attention_bench *b, lt_dev *dev, attention_row *r)
{
    attention_call c = { .call = { run_forward } };
    double seconds = b->args->seconds > 0              ? b->args->seconds
                     : dev->backend == &lt_backend_cpu ? 0.2
                                                       : 1;
    lt_tensor t[OPS_MAX_TENSORS];
    ops_list l;
    lt_err err;

    list_operands(b, &l);
    LT_TRY(err = ops_make(b->block, dev, &l, &(ops_shape){ 0 }, false, t));
    c.g = call_of(b, t);
    err = bench_time(dev, &c.call, seconds, &r->forward);
    c.call.run = run_backward;
    if (!err)
        err = bench_time(dev, &c.call, seconds, &r->backward);
    if (!err)
        err = attention_check(dev, &c.g.fwd, &c.g, b->bound, &r->wrong, &r->checked);
    ops_release(dev, &l, t);
fail:
    return err;
}

static lt_err measure(attention_bench *b, const char *device, lt_attention_kind kind,
                      const char *name)
{
    lt_dev_options o = { .n_threads = (int)b->args->threads,
                         .deterministic = !b->args->free_order,
                         .attention = kind };
    attention_row *r = &b->rows[b->n_rows++];
    lt_dev *dev = NULL;
    lt_err err;

    *r = (attention_row){ .kind = name };
    lt_log_progress("%s", name);
    LT_TRY(err = lt_dev_open(&dev, device, &o));
    LT_TRY(err = reserve(b, dev, kind));
    r->workspace = dev->scratch_bytes;
    dev->backend->describe(dev, r->device, sizeof r->device);
    LT_TRY(err = time_and_check(b, dev, r));
fail:
    lt_log_progress_end();
    lt_dev_close(dev);
    /* What is not there, or not for this shape, is a row of the table unless it was asked for. */
    if (err == LT_ENOTSUP && kind == LT_ATTENTION_CUDNN && !b->args->kind) {
        lt_log_info("%s", lt_err_text());
        r->absent = true;
        err = LT_OK;
    }
    return err;
}

/* ---- the report */

static void report_json(const attention_bench *b)
{
    const attention_args *a = b->args;
    double flops = forward_flops(b);

    printf("{\"device\": \"%s\", \"precision\": \"%s\", \"batch\": %lld, \"heads\": %lld, "
           "\"seq\": %lld, \"head_dim\": %lld, \"deterministic\": %s, \"kinds\": [",
           b->rows[b->n_rows - 1].device, a->precision, (long long)a->batch, (long long)b->heads,
           (long long)a->seq, (long long)b->head_dim, a->free_order ? "false" : "true");
    for (int i = 0; i < b->n_rows; i++) {
        const attention_row *r = &b->rows[i];

        if (r->absent) {
            printf("%s{\"kind\": \"%s\", \"absent\": true}", i ? ", " : "", r->kind);
            continue;
        }
        printf("%s{\"kind\": \"%s\", \"absent\": false, \"forward_seconds\": %.6g, "
               "\"backward_seconds\": %.6g, \"forward_flops_per_s\": %.6g, "
               "\"backward_flops_per_s\": %.6g, \"forward_burst_seconds\": %.6g, "
               "\"backward_burst_seconds\": %.6g, \"workspace_bytes\": %zu, \"wrong\": %lld, "
               "\"checked\": %lld}",
               i ? ", " : "", r->kind, r->forward.steady, r->backward.steady,
               flops / r->forward.steady, 2.5 * flops / r->backward.steady, r->forward.best,
               r->backward.best, r->workspace, (long long)r->wrong, (long long)r->checked);
    }
    printf("]}\n");
}

static void print_pass(const attention_row *r, const char *pass, const bench_seconds *s,
                       double flops)
{
    printf("%-10s %-9s %10.3f %9.3f %9.3f %9.1f  %lld of %lld\n", r->kind, pass, s->steady * 1e3,
           flops / s->steady * 1e-12, flops / s->best * 1e-12, (double)r->workspace / (1 << 20),
           (long long)r->wrong, (long long)r->checked);
}

static void report_table(const attention_bench *b)
{
    const attention_args *a = b->args;

    printf("(B, H, T, D) = (%lld, %lld, %lld, %lld) causal, %s, %s order of sums\n%s\n",
           (long long)a->batch, (long long)b->heads, (long long)a->seq, (long long)b->head_dim,
           a->precision, a->free_order ? "free" : "fixed", b->rows[b->n_rows - 1].device);
    printf("%-10s %-9s %10s %9s %9s %9s  %s\n", "kind", "pass", "ms", "TFLOP/s", "burst", "MiB",
           "wrong");
    for (int i = 0; i < b->n_rows; i++) {
        const attention_row *r = &b->rows[i];

        if (r->absent) {
            printf("%-10s not there for this shape\n", r->kind);
            continue;
        }
        print_pass(r, "forward", &r->forward, forward_flops(b));
        print_pass(r, "backward", &r->backward, 2.5 * forward_flops(b));
    }
}

static lt_err report(const attention_bench *b)
{
    long long wrong = 0;

    if (b->args->json)
        report_json(b);
    else
        report_table(b);
    for (int i = 0; i < b->n_rows; i++)
        wrong += b->rows[i].wrong;
    return wrong == 0 ? LT_OK : lt_fail(LT_EMISMATCH, "attention: %lld elements are wrong", wrong);
}

/* ---- the run */

static lt_err find_shape(attention_bench *b)
{
    const attention_args *a = b->args;
    lt_model_config c;

    if (!lt_model_config_named(&c, a->model))
        return bench_fail_model(a->model);
    if (a->kind && strcmp(a->kind, "cudnn") != 0 && strcmp(a->kind, "reference") != 0)
        return lt_fail(LT_EUSAGE, "--kind: expected cudnn or reference, found \"%s\"", a->kind);
    b->heads = a->heads ? a->heads : c.n_head;
    b->head_dim = a->head_dim ? a->head_dim : c.head_dim;
    b->bound = a->bound >= 0 ? a->bound : a->act == LT_F32 ? 2e-5 : a->act == LT_F16 ? 5e-3 : 3e-2;
    return LT_OK;
}

/* "auto" is decided once: a GPU that cannot do one kind is no reason to look at the CPU. */
static lt_err find_device(const attention_args *a, const char **device)
{
    lt_dev_options o = { .n_threads = 1, .attention = LT_ATTENTION_REFERENCE };
    lt_dev *dev = NULL;
    lt_err err = lt_dev_open(&dev, a->device, &o);

    if (err == LT_OK)
        *device = dev->backend->name;
    lt_dev_close(dev);
    return err;
}

static lt_err run(attention_bench *b)
{
    const char *only = b->args->kind, *device = NULL;
    bool cpu;
    lt_err err;

    LT_TRY(err = find_shape(b));
    LT_TRY(err = find_device(b->args, &device));
    cpu = strcmp(device, lt_backend_cpu.name) == 0;
    if (cpu && only && strcmp(only, "cudnn") == 0) {
        err = lt_fail(LT_ENOTSUP, "--kind=cudnn: the device is a CPU");
        goto fail;
    }
    b->block = ops_block();
    if (!cpu && (!only || strcmp(only, "cudnn") == 0))
        LT_TRY(err = measure(b, device, LT_ATTENTION_CUDNN, "cudnn"));
    if (!only || strcmp(only, "reference") == 0)
        LT_TRY(err = measure(b, device, LT_ATTENTION_REFERENCE, "reference"));
    err = report(b);
fail:
    return err;
}

lt_err bench_attention(int argc, char **argv)
{
    attention_args args = {
        .device = "auto", .precision = "bf16", .model = "gpt2", .batch = 4, .seq = 1024, .bound = -1
    };
    attention_bench b = { .args = &args };
    lt_opt_list rest = { 0 };
    bool done = false;
    lt_err err;

    LT_TRY(err = lt_options_parse(&bench_attention_command, argc, argv, &args, &rest, &done));
    if (done)
        goto fail;
    LT_TRY(err = bench_no_arguments("attention", &rest));
    LT_TRY(err = bench_parse_precision(&args.act, args.precision));
    err = run(&b);
fail:
    free(b.block);
    lt_opt_list_release(&rest);
    return err;
}
