/* train.c - lt-bench train: whole optimizer steps on random tokens, against the GEMM peak that the
 * same run measures first with the same library and threads. */
#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "bench.h"
#include "device/profile.h"
#include "train/engine.h"

#include <stdlib.h>
#include <string.h>

typedef struct train_args {
    const char *model, *device, *precision, *recompute;
    lt_dtype act;      /* of precision */
    lt_recompute keep; /* of recompute */
    int64_t batch, seq, steps, threads, accumulation, layers, gemm;
    bool json;
} train_args;

static const lt_option options[] = {
    { "model", 0, LT_OPT_STRING, offsetof(train_args, model), "NAME",
      "gpt2, gpt2-medium, gpt2-large, gpt2-xl (default gpt2)" },
    { "layers", 0, LT_OPT_INT, offsetof(train_args, layers), "N", "keep only N layers of it", 1,
      1000 },
    { "batch", 0, LT_OPT_INT, offsetof(train_args, batch), "B",
      "sequences in a micro-batch (default 4)", 1, 65536 },
    { "seq", 0, LT_OPT_INT, offsetof(train_args, seq), "T", "tokens in a sequence (default 64)", 1,
      1 << 20 },
    { "accumulation", 0, LT_OPT_INT, offsetof(train_args, accumulation), "N",
      "micro-batches in a step (default 1)", 1, 65536 },
    { "precision", 0, LT_OPT_STRING, offsetof(train_args, precision), "TYPE",
      "fp32, bf16 or fp16 (default fp32)" },
    { "recompute", 0, LT_OPT_STRING, offsetof(train_args, recompute), "KIND",
      "none, selective or block (default none)" },
    { "device", 0, LT_OPT_STRING, offsetof(train_args, device), "NAME",
      "auto, cpu or cuda (default auto)" },
    { "threads", 0, LT_OPT_INT, offsetof(train_args, threads), "N", "CPU threads (default all)", 1,
      4096 },
    { "steps", 0, LT_OPT_INT, offsetof(train_args, steps), "N",
      "timed steps; the best counts (default 5)", 1, 100000 },
    { "gemm-size", 0, LT_OPT_INT, offsetof(train_args, gemm), "N",
      "side of the square that measures the peak (default 2048)", 64, 32768 },
    { "json", 0, LT_OPT_FLAG, offsetof(train_args, json), NULL,
      "one JSON object on standard output" },
    { 0 },
};

const lt_command bench_train_command = {
    "lt-bench train", "[options]", "time whole training steps on random tokens",
    "The peak is the best rate of a square matrix product in the same precision, measured with the\n"
    "same threads right before and right after the steps.  FLOPs of a step: 6 per weight of a matrix\n"
    "and token, plus causal attention; recomputation is not counted.  One more step is timed\n"
    "operation by operation for the breakdown.",
    options
};

typedef struct bench_run {
    const train_args *args;
    lt_model_config config;
    lt_engine *engine;
    lt_engine_batch *micro;
    int32_t *tokens;
    double best_s, mean_s, peak, flops;
    lt_profile profile;
} bench_run;

/* Best rate of D = A B^T over squares, in FLOP/s. */
static lt_err gemm_peak(lt_dev *dev, lt_dtype act, int64_t n, double *flops_per_s)
{
    lt_dev_need need = { .act = act,
                         .grad = LT_F32,
                         .rows = n,
                         .n_embd = n,
                         .n_inner = n,
                         .n_vocab = n,
                         .chunk_rows = n,
                         .n_head = 1,
                         .n_kv_head = 1,
                         .head_dim = 64,
                         .n_batch = 1,
                         .t_q = 1,
                         .t_k = 1,
                         .n_threads = dev->pool ? lt_pool_size(dev->pool) : 0 };
    size_t bytes = (size_t)(n * n) * lt_dtype_bytes(act);
    void *m[3] = { NULL };
    float *host = lt_new_array0((size_t)(n * n), sizeof *host);
    void *typed = lt_new0(bytes);
    double best = 1e30;
    lt_err err;

    for (int64_t i = 0; i < n * n; i++)
        host[i] = (float)lt_random_unit(1, 2, (uint64_t)i) - 0.5f;
    lt_convert(typed, act, host, LT_F32, (size_t)(n * n));
    LT_TRY(err = lt_dev_reserve(dev, &need));
    for (int i = 0; i < 3; i++) {
        LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_DEVICE, bytes, &m[i]));
        lt_dev_copy(dev, LT_STREAM_COMPUTE, m[i], typed, bytes);
    }
    for (int i = 0; i < 6; i++) {
        double start;

        LT_TRY(err = lt_dev_sync(dev));
        start = lt_now();
        dev->ops->matmul(dev, &(lt_matmul){ .d = lt_matrix(m[0], act, n, n),
                                            .a = lt_matrix(m[1], act, n, n),
                                            .b = lt_matrix(m[2], act, n, n),
                                            .trans_b = true });
        LT_TRY(err = lt_dev_sync(dev));
        if (lt_now() - start < best)
            best = lt_now() - start;
    }
    if (2.0 * (double)n * (double)n * (double)n / best > *flops_per_s)
        *flops_per_s = 2.0 * (double)n * (double)n * (double)n / best;
fail:
    for (int i = 0; i < 3; i++)
        lt_dev_free(dev, LT_MEMORY_DEVICE, m[i]);
    free(host);
    free(typed);
    return err;
}

static lt_err open_run(bench_run *b)
{
    const train_args *a = b->args;
    lt_engine_options o = {
        .config = &b->config,
        .shape = { .n_batch = a->batch,
                   .seq = a->seq,
                   .act = a->act,
                   .grad = LT_F32,
                   .recompute = a->keep,
                   .uses = { [LT_USE_TRAIN] = true } },
        .device = a->device,
        .dev = { .n_threads = (int)a->threads, .deterministic = true },
        .optim = { .beta1 = 0.9f,
                   .beta2 = 0.95f,
                   .eps = 1e-8f,
                   .weight_decay = 0.1f,
                   .decoupled = true,
                   .max_norm = 1.0f },
        .training = true,
    };
    lt_err err;

    if (!lt_model_config_named(&b->config, a->model))
        return lt_fail(LT_EUSAGE,
                       "--model: expected gpt2, gpt2-medium, gpt2-large or gpt2-xl, found \"%s\"",
                       a->model);
    if (a->layers)
        b->config.n_layer = a->layers;
    LT_TRY(err = lt_engine_open(&b->engine, &o));
    LT_TRY(err = lt_engine_init_weights(b->engine, 1));
    b->flops = lt_model_flops_per_token(lt_engine_model(b->engine));
fail:
    return err;
}

static void make_tokens(bench_run *b)
{
    int64_t r = b->args->batch * b->args->seq, n = b->args->accumulation;

    b->tokens = lt_new_array0((size_t)(r * n * 2 + r), sizeof *b->tokens);
    b->micro = lt_new_array0((size_t)n, sizeof *b->micro);
    for (int64_t i = 0; i < r; i++)
        b->tokens[r * n * 2 + i] = (int32_t)(i % b->args->seq);
    for (int64_t i = 0; i < r * n * 2; i++)
        b->tokens[i] = (int32_t)(lt_random_u64(7, 0, (uint64_t)i) % (uint64_t)b->config.vocab_size);
    for (int64_t m = 0; m < n; m++)
        b->micro[m] = (lt_engine_batch){ .ids = b->tokens + 2 * m * r,
                                         .targets = b->tokens + (2 * m + 1) * r,
                                         .positions = b->tokens + r * n * 2 };
}

static lt_err one_step(bench_run *b, double *seconds)
{
    const train_args *a = b->args;
    lt_engine_result result;
    double start = lt_now();
    lt_err err = lt_engine_step(b->engine, b->micro, (int)a->accumulation,
                                a->batch * a->seq * a->accumulation, 1e-4, &result);

    *seconds = lt_now() - start;
    return err;
}

static lt_err measure(bench_run *b)
{
    lt_dev *dev = lt_engine_device(b->engine);
    double s;
    lt_err err;

    LT_TRY(err = gemm_peak(dev, b->args->act, b->args->gemm, &b->peak));
    LT_TRY(err = one_step(b, &s)); /* first touch of the moments */
    b->best_s = 1e30;
    for (int64_t i = 0; i < b->args->steps; i++) {
        LT_TRY(err = one_step(b, &s));
        b->best_s = s < b->best_s ? s : b->best_s;
        b->mean_s += s / (double)b->args->steps;
        lt_log_progress("step %lld of %lld: %.1f ms", (long long)i + 1, (long long)b->args->steps,
                        s * 1e3);
    }
    LT_TRY(err = gemm_peak(dev, b->args->act, b->args->gemm, &b->peak));
    lt_profile_attach(dev, &b->profile);
    err = one_step(b, &s);
    lt_profile_detach(dev);
fail:
    lt_log_progress_end();
    return err;
}

static void report(bench_run *b)
{
    const train_args *a = b->args;
    double tokens = (double)(a->batch * a->seq * a->accumulation), rate = tokens / b->best_s;
    double flops = rate * b->flops, total = 0;
    lt_engine_bytes bytes = lt_engine_bytes_used(b->engine);
    char device[128];

    lt_engine_device(b->engine)->backend->describe(lt_engine_device(b->engine), device,
                                                   sizeof device);
    for (int c = 0; c < LT_N_CLASSES; c++)
        total += b->profile.seconds[c];
    if (a->json) {
        printf(
            "{\"model\": \"%s\", \"device\": \"%s\", \"precision\": \"%s\", \"batch\": %lld, \"seq\": %lld, "
            "\"accumulation\": %lld, \"tokens_per_s\": %.6g, \"ms_per_step\": %.6g, \"mean_ms_per_step\": %.6g, "
            "\"flops_per_s\": %.6g, \"gemm_peak_flops_per_s\": %.6g, \"peak_bytes\": %llu, \"ms_by_class\": {",
            a->model, device, a->precision, (long long)a->batch, (long long)a->seq,
            (long long)a->accumulation, rate, b->best_s * 1e3, b->mean_s * 1e3, flops, b->peak,
            (unsigned long long)bytes.total);
        for (int c = 0; c < LT_N_CLASSES; c++)
            printf("%s\"%s\": %.4g", c ? ", " : "", lt_op_class_name((lt_op_class)c),
                   b->profile.seconds[c] * 1e3);
        printf("}}\n");
        return;
    }
    printf("%s  %s  B=%lld T=%lld accumulation %lld  recompute %s\n%s\n", a->model, a->precision,
           (long long)a->batch, (long long)a->seq, (long long)a->accumulation, a->recompute,
           device);
    printf("  step          %10.2f ms best, %.2f ms mean of %lld\n", b->best_s * 1e3,
           b->mean_s * 1e3, (long long)a->steps);
    printf("  throughput    %10.1f tokens/s\n", rate);
    printf(
        "  rate          %10.1f GFLOP/s, %.1f %% of the GEMM peak of %.1f GFLOP/s (%lld squares)\n",
        flops * 1e-9, 100 * flops / b->peak, b->peak * 1e-9, (long long)a->gemm);
    printf("  memory        %10.1f MiB on the device\n", (double)bytes.total / (1 << 20));
    for (int c = 0; c < LT_N_CLASSES; c++)
        printf("  %-13s %10.2f ms  %5.1f %%  %llu calls\n", lt_op_class_name((lt_op_class)c),
               b->profile.seconds[c] * 1e3, 100 * b->profile.seconds[c] / total,
               (unsigned long long)b->profile.calls[c]);
}

static lt_err check_args(train_args *a, const lt_opt_list *rest)
{
    lt_err err;

    if (rest->n)
        return lt_fail(LT_EUSAGE, "train: unexpected argument \"%s\"", rest->items[0]);
    LT_TRY(err = bench_parse_precision(&a->act, a->precision));
    LT_TRY(err = bench_parse_recompute(&a->keep, a->recompute));
fail:
    return err;
}

lt_err bench_train(int argc, char **argv)
{
    train_args args = { .model = "gpt2",
                        .device = "auto",
                        .precision = "fp32",
                        .recompute = "none",
                        .batch = 4,
                        .seq = 64,
                        .steps = 5,
                        .accumulation = 1,
                        .gemm = 2048 };
    bench_run b = { .args = &args };
    lt_opt_list rest = { 0 };
    bool done = false;
    lt_err err;

    LT_TRY(err = lt_options_parse(&bench_train_command, argc, argv, &args, &rest, &done));
    if (done)
        goto fail;
    LT_TRY(err = check_args(&args, &rest));
    LT_TRY(err = open_run(&b));
    make_tokens(&b);
    LT_TRY(err = measure(&b));
    report(&b);
fail:
    lt_engine_close(b.engine);
    free(b.tokens);
    free(b.micro);
    lt_opt_list_release(&rest);
    return err;
}
