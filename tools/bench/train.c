/* train.c - lt-bench train: whole optimizer steps on random tokens, against the GEMM peak that the
 * same run measures first with the same library and threads.  On many ranks each has a micro-batch
 * of its own; the slowest rank's times count, and the first rank reports. */
#include "base/clock.h"
#include "base/log.h"
#include "bench.h"
#include "bench_ranks.h"
#include "bench_step.h"
#include "bench_time.h"
#include "bench_zero.h"
#include "device/profile.h"
#include "train/engine.h"
#include "train/rank_life.h"
#include "train/ranks.h"
#include "train_floor.h"

#include <stdlib.h>
#include <string.h>

typedef struct train_args {
    const char *model, *device, *precision, *recompute;
    lt_dtype act;      /* of precision */
    lt_recompute keep; /* of recompute */
    int64_t batch, seq, steps, threads, accumulation, layers, gemm;
    bench_zero zero;
    bool json;
} train_args;

static const lt_option options[] = {
    { "model", 0, LT_OPT_STRING, offsetof(train_args, model), "NAME",
      "gpt2, gpt2-medium, gpt2-large, gpt2-xl (default gpt2)" },
    { "layers", 0, LT_OPT_INT, offsetof(train_args, layers), "N", "keep only N layers of it", 1,
      1000 },
    { "batch", 0, LT_OPT_INT, offsetof(train_args, batch), "B",
      "sequences in a micro-batch of each rank (default 4)", 1, 65536 },
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
    { "threads", 0, LT_OPT_INT, offsetof(train_args, threads), "N",
      "CPU threads (default all, shared by the ranks of a host)", 1, 4096 },
    BENCH_ZERO_OPTIONS(train_args, zero),
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
    "same threads right before and right after the steps.  FLOPs of a token: 6 per weight of a matrix\n"
    "(the tied table once, positions not) and 6 L T H D for causal attention; recomputation is not\n"
    "counted.  MFU: FLOPs of a token x tokens/s over the dense peak of the GPU's data sheet.  One more\n"
    "step is timed operation by operation; its floor is every product at the GEMM peak and every\n"
    "other byte at the rate of a copy, both of this run.\n\n"
    "mpirun -n N lt-bench train measures N ranks: tokens and FLOPs are those of all of them, time is\n"
    "the slowest one's; the GEMM peak, memory, classes and floor are the first rank's.",
    options
};

typedef struct bench_run {
    const train_args *args;
    lt_group *group;
    lt_model_config config;
    lt_engine *engine;
    lt_engine_batch *micro;
    int32_t *tokens;
    double *seconds;                          /* of each timed step: then of its slowest rank */
    double best_s, mean_s, peak, flops, loss; /* loss: of the last timed step */
    double copy;                              /* bytes a second */
    lt_profile profile;
    lt_dev_health health; /* right behind the last step */
} bench_run;

/* The best rate of a square product so far, in *flops_per_s. */
static lt_err gemm_peak(lt_dev *dev, lt_dtype act, int64_t n, double *flops_per_s)
{
    bench_seconds s = { 0 };
    lt_err err = bench_time_square(dev, act, n, 0.05, &s);

    if (err == LT_OK && bench_square_rate(n, s.best) > *flops_per_s)
        *flops_per_s = bench_square_rate(n, s.best);
    return err;
}

/* What is said in words. */
static lt_err choose(bench_run *b, lt_zero_settings *zero)
{
    if (!lt_model_config_named(&b->config, b->args->model))
        return bench_fail_model(b->args->model);
    if (b->args->layers)
        b->config.n_layer = b->args->layers;
    return bench_zero_settings(zero, &b->args->zero);
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
        .dev = { .n_threads = lt_ranks_threads(b->group->local_world, a->threads),
                 .ordinal = b->group->local_rank,
                 .deterministic = true },
        .optim = bench_step_optim(),
        .group = b->group,
        .training = true,
    };
    lt_err err;

    LT_TRY(err = lt_ranks_agree(b->group, choose(b, &o.zero)));
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
    for (int64_t m = 0; m < n; m++) {
        int32_t *ids = b->tokens + 2 * m * r, *targets = ids + r;

        bench_step_tokens(ids, targets, r, b->config.vocab_size, b->group->rank, m);
        b->micro[m] =
            (lt_engine_batch){ .ids = ids, .targets = targets, .positions = b->tokens + r * n * 2 };
    }
}

/* Of all ranks. */
static int64_t tokens_per_step(const bench_run *b)
{
    return b->args->batch * b->args->seq * b->args->accumulation * b->group->world;
}

static lt_err one_step(bench_run *b, double *seconds)
{
    lt_engine_result result;
    double start = lt_now();
    lt_err err;

    LT_TRY(err = lt_engine_step(b->engine, b->micro, (int)b->args->accumulation, tokens_per_step(b),
                                BENCH_LR, &result));
    *seconds = lt_now() - start;
    b->loss = result.loss;
fail:
    return err;
}

static lt_err time_steps(bench_run *b)
{
    double s;
    lt_err err;

    for (int i = 0; i < BENCH_WARM_UP; i++)
        LT_TRY(err = one_step(b, &s));
    b->seconds = lt_new_array0((size_t)b->args->steps, sizeof *b->seconds);
    for (int64_t i = 0; i < b->args->steps; i++) {
        LT_TRY(err = one_step(b, &s));
        b->seconds[i] = s;
        lt_log_progress("step %lld of %lld: %.1f ms", (long long)i + 1, (long long)b->args->steps,
                        s * 1e3);
    }
fail:
    return err;
}

/* Of each step the time of its slowest rank; memory in use where it is most. */
static lt_err slowest(bench_run *b)
{
    double used = (double)b->health.memory_used;
    int n = (int)b->args->steps;
    lt_err err;

    LT_TRY(err = bench_ranks_max(b->group, &used, 1));
    b->health.memory_used = (uint64_t)used;
    LT_TRY(err = bench_ranks_max(b->group, b->seconds, n));
    b->best_s = b->seconds[0];
    for (int i = 0; i < n; i++) {
        b->best_s = b->seconds[i] < b->best_s ? b->seconds[i] : b->best_s;
        b->mean_s += b->seconds[i] / n;
    }
fail:
    return err;
}

/* More than any cache holds, and little beside the model. */
static int64_t copy_bytes(const lt_dev *dev)
{
    return dev->backend == &lt_backend_cpu ? 64 << 20 : 512 << 20;
}

static lt_err measure(bench_run *b)
{
    lt_dev *dev = lt_engine_device(b->engine);
    double s, loss;
    lt_err err;

    LT_TRY(err = gemm_peak(dev, b->args->act, b->args->gemm, &b->peak));
    LT_TRY(err = time_steps(b));
    if (dev->backend->health)
        dev->backend->health(dev, &b->health);
    LT_TRY(err = slowest(b));
    LT_TRY(err = gemm_peak(dev, b->args->act, b->args->gemm, &b->peak));
    LT_TRY(err = bench_copy_rate(dev, copy_bytes(dev), &b->copy));
    loss = b->loss;
    lt_profile_attach(dev, &b->profile);
    err = one_step(b, &s);
    lt_profile_detach(dev);
    b->loss = loss;
fail:
    lt_log_progress_end();
    return err;
}

/* What follows from the measurements. */
typedef struct train_figures {
    char device[160];
    double tokens_per_s, flops_per_s;
    double sheet, mfu; /* sheet: of one device; both 0 when no data sheet is known */
    double floor[LT_N_CLASSES], floor_sum, profiled;
    lt_engine_bytes bytes;
} train_figures;

static train_figures figure(bench_run *b)
{
    const train_args *a = b->args;
    lt_dev *dev = lt_engine_device(b->engine);
    floor_rates rates = { b->peak, b->copy };
    train_figures f = { .bytes = lt_engine_bytes_used(b->engine) };

    dev->backend->describe(dev, f.device, sizeof f.device);
    f.tokens_per_s = (double)tokens_per_step(b) / b->best_s;
    f.flops_per_s = f.tokens_per_s * b->flops;
    f.sheet = bench_data_sheet_peak(f.device, a->act);
    f.mfu = f.sheet > 0 ? f.flops_per_s / (f.sheet * b->group->world) : 0;
    bench_floor(f.floor, &b->config, lt_engine_table(b->engine), a->act, a->batch, a->seq,
                a->accumulation, &rates);
    for (int c = 0; c < LT_N_CLASSES; c++) {
        f.floor_sum += f.floor[c];
        f.profiled += b->profile.seconds[c];
    }
    return f;
}

enum { N_BYTES = 12 };

static void bytes_by_class(const lt_engine_bytes *b, const char *names[N_BYTES],
                           uint64_t bytes[N_BYTES])
{
    const lt_zero_bytes *z = &b->state;
    const char *const all[N_BYTES] = { "parameters",  "gathered", "gradients", "buckets",
                                       "master",      "moment1",  "moment2",   "staging",
                                       "activations", "kv_cache", "batch",     "scratch" };
    const uint64_t sizes[N_BYTES] = { z->params,      z->gathered, z->grads,   z->buckets,
                                      z->master,      z->moment1,  z->moment2, z->staging,
                                      b->activations, b->kv_cache, b->batch,   b->scratch };

    memcpy(names, all, sizeof all);
    memcpy(bytes, sizes, sizeof sizes);
}

static void report_json(const bench_run *b, const train_figures *f)
{
    const train_args *a = b->args;
    const char *names[N_BYTES];
    uint64_t bytes[N_BYTES];

    bytes_by_class(&f->bytes, names, bytes);
    printf("{\"model\": \"%s\", \"device\": \"%s\", \"precision\": \"%s\", \"batch\": %lld, "
           "\"seq\": %lld, \"accumulation\": %lld, \"ranks\": %d, \"stage\": %lld, \"loss\": %.9g, "
           "\"tokens_per_s\": %.6g, \"ms_per_step\": %.6g, \"mean_ms_per_step\": %.6g, "
           "\"flops_per_token\": %.12g, \"flops_per_s\": %.6g, \"gemm_peak_flops_per_s\": %.6g, "
           "\"copy_bytes_per_s\": %.6g, ",
           a->model, f->device, a->precision, (long long)a->batch, (long long)a->seq,
           (long long)a->accumulation, b->group->world, (long long)a->zero.stage, b->loss,
           f->tokens_per_s, b->best_s * 1e3, b->mean_s * 1e3, b->flops, f->flops_per_s, b->peak,
           b->copy);
    if (f->sheet > 0)
        printf("\"data_sheet_flops_per_s\": %.6g, \"mfu\": %.4g, ", f->sheet, f->mfu);
    else
        printf("\"data_sheet_flops_per_s\": null, \"mfu\": null, ");
    printf("\"peak_bytes\": %llu, \"device_used_bytes\": %llu, \"bytes_by_class\": {",
           (unsigned long long)f->bytes.total, (unsigned long long)b->health.memory_used);
    for (int i = 0; i < N_BYTES; i++)
        printf("%s\"%s\": %llu", i ? ", " : "", names[i], (unsigned long long)bytes[i]);
    printf("}, \"ms_by_class\": {");
    for (int c = 0; c < LT_N_CLASSES; c++)
        printf("%s\"%s\": %.4g", c ? ", " : "", lt_op_class_name((lt_op_class)c),
               b->profile.seconds[c] * 1e3);
    printf("}, \"floor_ms_by_class\": {");
    for (int c = 0; c < LT_N_CLASSES; c++)
        printf("%s\"%s\": %.4g", c ? ", " : "", lt_op_class_name((lt_op_class)c),
               f->floor[c] * 1e3);
    printf("}}\n");
}

static void report_memory(const bench_run *b, const train_figures *f)
{
    const char *names[N_BYTES];
    uint64_t bytes[N_BYTES];

    bytes_by_class(&f->bytes, names, bytes);
    printf("  memory        %10.1f MiB on the device:", (double)f->bytes.total / (1 << 20));
    for (int i = 0; i < N_BYTES; i++)
        if (bytes[i])
            printf(" %s %.1f", names[i], (double)bytes[i] / (1 << 20));
    printf("\n");
    if (b->health.memory_used)
        printf("  in use        %10.1f MiB of the device by everybody (NVML)\n",
               (double)b->health.memory_used / (1 << 20));
}

static void report_classes(const bench_run *b, const train_figures *f)
{
    printf("  %-13s %13s %8s %13s\n", "class", "time", "share", "floor");
    for (int c = 0; c < LT_N_CLASSES; c++)
        printf("  %-13s %10.2f ms %6.1f %% %10.2f ms  %llu calls\n",
               lt_op_class_name((lt_op_class)c), b->profile.seconds[c] * 1e3,
               100 * b->profile.seconds[c] / f->profiled, f->floor[c] * 1e3,
               (unsigned long long)b->profile.calls[c]);
    printf("  %-13s %10.2f ms %8s %10.2f ms  products at %.1f GFLOP/s, memory at %.1f GB/s\n",
           "all", f->profiled * 1e3, "", f->floor_sum * 1e3, b->peak * 1e-9, b->copy * 1e-9);
}

static void report(bench_run *b)
{
    const train_args *a = b->args;
    train_figures f = figure(b);

    if (b->group->rank > 0)
        return;
    if (a->json) {
        report_json(b, &f);
        return;
    }
    printf("%s  %s  B=%lld T=%lld accumulation %lld  recompute %s", a->model, a->precision,
           (long long)a->batch, (long long)a->seq, (long long)a->accumulation, a->recompute);
    if (b->group->world > 1)
        printf("  %d ranks, stage %lld", b->group->world, (long long)a->zero.stage);
    printf("\n%s\n", f.device);
    printf("  step          %10.2f ms best, %.2f ms mean of %lld\n", b->best_s * 1e3,
           b->mean_s * 1e3, (long long)a->steps);
    printf("  throughput    %10.1f tokens/s\n", f.tokens_per_s);
    printf(
        "  rate          %10.1f GFLOP/s, %.1f %% of the GEMM peak of %.1f GFLOP/s (%lld squares)\n",
        f.flops_per_s * 1e-9, 100 * f.flops_per_s / (b->peak * b->group->world), b->peak * 1e-9,
        (long long)a->gemm);
    if (f.sheet > 0)
        printf("  MFU           %10.1f %% = %.6g FLOPs a token x %.1f tokens/s / %.1f TFLOP/s "
               "(data sheet, dense)\n",
               100 * f.mfu, b->flops, f.tokens_per_s, f.sheet * 1e-12);
    else
        printf("  MFU           no data sheet is known for this device; %.6g FLOPs a token\n",
               b->flops);
    report_memory(b, &f);
    report_classes(b, &f);
}

static lt_err check_args(train_args *a, const lt_opt_list *rest)
{
    lt_err err;

    LT_TRY(err = bench_no_arguments("train", rest));
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
    LT_TRY(err = lt_rank_join(&b.group, "lt-bench"));
    LT_TRY(err = open_run(&b));
    make_tokens(&b);
    LT_TRY(err = measure(&b));
    report(&b);
fail:
    bench_ranks_leave(b.group, err);
    lt_engine_close(b.engine);
    lt_group_close(b.group);
    free(b.tokens);
    free(b.micro);
    free(b.seconds);
    lt_opt_list_release(&rest);
    return err;
}
