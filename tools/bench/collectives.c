/* collectives.c - lt-bench comm: time, bandwidth and errors of each collective on the device.
 *
 * Values are whole numbers so small that every sum of them is exact in each type, in any order: an
 * element is right or it is wrong. */
#include "base/clock.h"
#include "base/log.h"
#include "bench.h"
#include "bench_ranks.h"
#include "comm/comm.h"
#include "train/rank_life.h"
#include "train/ranks.h"

#include <stdlib.h>
#include <string.h>

typedef struct comm_args {
    const char *device, *precision, *only;
    uint64_t min, max;
    int64_t factor;
    double seconds;
    bool json;
} comm_args;

static const lt_option options[] = {
    { "only", 0, LT_OPT_STRING, offsetof(comm_args, only), "NAME",
      "all_gather, reduce_scatter, all_reduce or broadcast (default all four)" },
    { "min", 0, LT_OPT_SIZE, offsetof(comm_args, min), "SIZE", "smallest size (default 4KiB)" },
    { "max", 0, LT_OPT_SIZE, offsetof(comm_args, max), "SIZE", "largest size (default 256MiB)" },
    { "factor", 0, LT_OPT_INT, offsetof(comm_args, factor), "N",
      "from one size to the next (default 4)", 2, 1 << 20 },
    { "precision", 0, LT_OPT_STRING, offsetof(comm_args, precision), "TYPE",
      "fp32, bf16 or fp16 (default fp32 and bf16)" },
    { "seconds", 0, LT_OPT_REAL, offsetof(comm_args, seconds), "S", "time for a row (default 0.1)",
      0, 60 },
    { "device", 0, LT_OPT_STRING, offsetof(comm_args, device), "NAME",
      "auto, cpu or cuda (default auto)" },
    { "json", 0, LT_OPT_FLAG, offsetof(comm_args, json), NULL,
      "one JSON object on standard output" },
    { 0 },
};

const lt_command bench_comm_command = {
    "lt-bench comm", "[options]", "time and errors of the collectives, under mpirun",
    "mpirun -n N lt-bench comm: collectives as training calls them, MPI among CPU ranks, NCCL among\n"
    "GPU ranks; all_reduce is a reduce_scatter, then an all_gather, as at stage 0.  size: bytes of the\n"
    "larger side, which all_gather writes, reduce_scatter reads and broadcast sends; as in NCCL's\n"
    "tests algbw = size / time, and busbw = algbw x (N - 1) / N for all_gather and reduce_scatter,\n"
    "twice that for all_reduce, algbw for broadcast.  Time: the slowest rank's, the mean of calls that\n"
    "follow one another.  wrong: elements of all ranks that are not exactly what they must be; any is\n"
    "exit status 1.",
    options
};

typedef struct collectives {
    const comm_args *args;
    lt_group *group;
    lt_dev *dev;
    lt_comm *comm;
    void *send, *receive; /* device, args->max bytes each */
    char *host;           /* the same, typed */
    float *values;        /* an element each of the smallest type */
    int64_t n_wrong;
    bool any; /* a row was printed */
} collectives;

/* One row: `whole` elements of the larger side, `part` of each rank. */
typedef struct collective {
    const char *name;
    void (*run)(const collectives *c, lt_dtype type, int64_t part);
    bool sends_whole, receives_whole, adds;
    bool in_place; /* receive alone is used */
    int passes;    /* busbw counts what leaves a rank, (N - 1) / N of the size each; 0: the size */
} collective;

static void run_all_gather(const collectives *c, lt_dtype type, int64_t part)
{
    c->comm->ops->all_gather(c->comm, lt_vector(c->receive, type, part * c->comm->world),
                             lt_vector(c->send, type, part));
}

static void run_reduce_scatter(const collectives *c, lt_dtype type, int64_t part)
{
    c->comm->ops->reduce_scatter(c->comm, lt_vector(c->receive, type, part),
                                 lt_vector(c->send, type, part * c->comm->world));
}

static void run_all_reduce(const collectives *c, lt_dtype type, int64_t part)
{
    lt_tensor whole = lt_vector(c->receive, type, part * c->comm->world);
    lt_tensor own = lt_vector(lt_at(whole, 0, part * c->comm->rank), type, part);

    c->comm->ops->reduce_scatter(c->comm, own, lt_vector(c->send, type, whole.cols));
    c->comm->ops->all_gather(c->comm, whole, own);
}

static void run_broadcast(const collectives *c, lt_dtype type, int64_t part)
{
    c->comm->ops->broadcast(c->comm, lt_vector(c->receive, type, part * c->comm->world), 0);
}

static const collective kinds[] = {
    { "all_gather", run_all_gather, .receives_whole = true, .passes = 1 },
    { "reduce_scatter", run_reduce_scatter, .sends_whole = true, .adds = true, .passes = 1 },
    { "all_reduce", run_all_reduce, .sends_whole = true, .receives_whole = true, .adds = true,
      .passes = 2 },
    { "broadcast", run_broadcast, .sends_whole = true, .receives_whole = true, .in_place = true },
};

/* Element i of what rank r has.  Another 32 ranks for each i have something: their sum, at most
 * 224, stays within the 8 bits of bf16 whatever the number of ranks. */
static int64_t value_of(const collectives *c, int64_t r, int64_t i)
{
    int64_t turn = (r + i) % c->comm->world;

    return turn < 32 ? 1 + (i + turn) % 7 : 0;
}

static void put(collectives *c, void *device, lt_dtype type, int64_t n)
{
    lt_convert(c->host, type, c->values, LT_F32, (size_t)n);
    lt_dev_copy(c->dev, LT_STREAM_COMPUTE, device, c->host, (size_t)n * lt_dtype_bytes(type));
}

/* What goes in, and something else where results will be. */
static lt_err prepare(collectives *c, const collective *k, lt_dtype type, int64_t part)
{
    int64_t whole = part * c->comm->world, n = k->sends_whole ? whole : part;
    bool sends = !k->in_place || c->comm->rank == 0;
    lt_err err;

    for (int64_t i = 0; i < whole; i++)
        c->values[i] = -1;
    put(c, c->receive, type, whole);
    LT_TRY(err = lt_dev_sync(c->dev)); /* host memory is written again */
    for (int64_t i = 0; i < n; i++)
        c->values[i] = (float)value_of(c, c->comm->rank, i);
    if (sends)
        put(c, k->in_place ? c->receive : c->send, type, n);
    err = lt_dev_sync(c->dev);
fail:
    return err;
}

static double expected(const collectives *c, const collective *k, int64_t part, int64_t i)
{
    double sum = 0;

    if (k->in_place)
        return (double)value_of(c, 0, i);
    if (!k->adds)
        return (double)value_of(c, i / part, i % part);
    for (int64_t r = 0; r < c->comm->world; r++)
        sum += (double)value_of(c, r, k->receives_whole ? i : c->comm->rank * part + i);
    return sum;
}

static lt_err count_wrong(collectives *c, const collective *k, lt_dtype type, int64_t part,
                          double *n_wrong)
{
    int64_t n = k->receives_whole ? part * c->comm->world : part;
    lt_err err;

    lt_dev_copy(c->dev, LT_STREAM_COMPUTE, c->host, c->receive, (size_t)n * lt_dtype_bytes(type));
    LT_TRY(err = lt_dev_sync(c->dev));
    lt_convert(c->values, LT_F32, c->host, type, (size_t)n);
    *n_wrong = 0;
    for (int64_t i = 0; i < n; i++)
        *n_wrong += (double)c->values[i] != expected(c, k, part, i);
    err = lt_ranks_sum(c->group, n_wrong, 1);
fail:
    return err;
}

/* Seconds of n calls one behind the other, of the slowest rank. */
static lt_err time_calls(collectives *c, const collective *k, lt_dtype type, int64_t part,
                         int64_t n, double *seconds)
{
    double start;
    lt_err err;

    LT_TRY(err = lt_group_barrier(c->group));
    start = lt_now();
    for (int64_t i = 0; i < n; i++)
        k->run(c, type, part);
    LT_TRY(err = lt_dev_sync(c->dev));
    *seconds = lt_now() - start;
    LT_TRY(err = c->comm->ops->check(c->comm));
    err = bench_ranks_max(c->group, seconds, 1);
fail:
    return err;
}

static void report_row(collectives *c, const collective *k, lt_dtype type, int64_t part,
                       const double row[2])
{
    double bytes = (double)(part * c->comm->world) * (double)lt_dtype_bytes(type);
    double alg = bytes / row[0], n = c->comm->world,
           bus = k->passes ? alg * k->passes * (n - 1) / n : alg;

    if (c->group->rank > 0)
        return;
    if (c->args->json)
        printf(
            "%s\n  {\"collective\": \"%s\", \"type\": \"%s\", \"bytes\": %.0f, \"seconds\": %.6g, "
            "\"algbw_bytes_per_s\": %.6g, \"busbw_bytes_per_s\": %.6g, \"wrong\": %.0f}",
            c->any ? "," : "", k->name, lt_dtype_name(type), bytes, row[0], alg, bus, row[1]);
    else
        printf("%-16s %-5s %12.0f %12.1f %10.3f %10.3f %8.0f\n", k->name, lt_dtype_name(type),
               bytes, row[0] * 1e6, alg * 1e-9, bus * 1e-9, row[1]);
    fflush(stdout);
    c->any = true;
}

static lt_err run_row(collectives *c, const collective *k, lt_dtype type, int64_t part)
{
    double once, row[2]; /* seconds, wrong */
    int64_t n;
    lt_err err;

    LT_TRY(err = prepare(c, k, type, part));
    LT_TRY(err = time_calls(c, k, type, part, 2, &once)); /* connections are made */
    LT_TRY(err = time_calls(c, k, type, part, 2, &once));
    n = (int64_t)(c->args->seconds / (once / 2));
    n = n < 3 ? 3 : n > 1000 ? 1000 : n;
    LT_TRY(err = time_calls(c, k, type, part, n, &row[0]));
    row[0] /= (double)n;
    LT_TRY(err = count_wrong(c, k, type, part, &row[1]));
    c->n_wrong += (int64_t)row[1];
    report_row(c, k, type, part, row);
fail:
    return err;
}

static lt_err run_rows(collectives *c)
{
    static const lt_dtype both[] = { LT_F32, LT_BF16 };
    lt_dtype one;
    const lt_dtype *types = both;
    int n_types = 2;
    lt_err err = LT_OK;

    if (c->args->precision) {
        LT_TRY(err = bench_parse_precision(&one, c->args->precision));
        types = &one;
        n_types = 1;
    }
    for (size_t k = 0; k < LT_COUNT(kinds); k++)
        for (int t = 0; t < n_types; t++)
            for (uint64_t bytes = c->args->min; bytes <= c->args->max;
                 bytes *= (uint64_t)c->args->factor) {
                uint64_t each = lt_dtype_bytes(types[t]) * (uint64_t)c->comm->world;

                if (!c->args->only || strcmp(c->args->only, kinds[k].name) == 0)
                    LT_TRY(err = run_row(c, &kinds[k], types[t], (int64_t)(bytes / each)));
            }
fail:
    return err;
}

static lt_err open_device(collectives *c)
{
    const comm_args *a = c->args;
    lt_dev_options o = { .n_threads = lt_ranks_threads(c->group->local_world, 0),
                         .ordinal = c->group->local_rank };
    lt_err err;

    LT_TRY(err = lt_dev_open(&c->dev, a->device, &o));
    LT_TRY(err = lt_dev_alloc(c->dev, LT_MEMORY_DEVICE, a->max, &c->send));
    LT_TRY(err = lt_dev_alloc(c->dev, LT_MEMORY_DEVICE, a->max, &c->receive));
    LT_TRY(err = lt_alloc_array(&c->host, a->max, 1, "--max"));
    err = lt_alloc_array(&c->values, a->max / 2, sizeof(float), "--max");
fail:
    return err;
}

static void report_head(collectives *c)
{
    char device[160];

    if (c->group->rank > 0)
        return;
    c->dev->backend->describe(c->dev, device, sizeof device);
    if (c->args->json)
        printf(
            "{\"device\": \"%s\", \"library\": \"%s\", \"ranks\": %d, \"hosts\": %d, \"rows\": [",
            device, c->comm->ops->name, c->comm->world, c->group->n_hosts);
    else
        printf("%s\n%d ranks on %d host%s, %s\n%-16s %-5s %12s %12s %10s %10s %8s\n", device,
               c->comm->world, c->group->n_hosts, c->group->n_hosts > 1 ? "s" : "",
               c->comm->ops->name, "collective", "type", "bytes", "us", "algbw GB/s", "busbw GB/s",
               "wrong");
}

static lt_err check_args(const comm_args *a, const lt_opt_list *rest)
{
    lt_dtype type;
    bool known = !a->only;
    lt_err err;

    LT_TRY(err = bench_no_arguments("comm", rest));
    if (a->precision)
        LT_TRY(err = bench_parse_precision(&type, a->precision));
    for (size_t k = 0; k < LT_COUNT(kinds); k++)
        known = known || strcmp(a->only, kinds[k].name) == 0;
    if (!known)
        return lt_fail(
            LT_EUSAGE,
            "--only: expected all_gather, reduce_scatter, all_reduce or broadcast, found "
            "\"%s\"",
            a->only);
    if (a->min < 4096 || a->max < a->min || a->max > (uint64_t)1 << 40)
        err = lt_fail(LT_EUSAGE,
                      "--min, --max: expected 4 KiB <= min <= max <= 1 TiB, found %llu and %llu",
                      (unsigned long long)a->min, (unsigned long long)a->max);
fail:
    return err;
}

static lt_err run(collectives *c)
{
    lt_err err;

    LT_TRY(err = lt_rank_join(&c->group, "lt-bench"));
    LT_TRY(err = lt_ranks_agree(c->group, open_device(c)));
    LT_TRY(err = lt_comm_open(&c->comm, c->dev, c->group, false));
    report_head(c);
    err = run_rows(c);
    if (c->args->json && c->group->rank == 0)
        printf("\n]}\n"); /* whole also when rows are missing */
    LT_TRY(err);
    if (c->n_wrong)
        err = lt_ranks_agree(c->group, lt_fail(LT_EMISMATCH, "comm: %lld elements are wrong",
                                               (long long)c->n_wrong));
fail:
    return err;
}

lt_err bench_comm(int argc, char **argv)
{
    comm_args args = {
        .device = "auto", .min = 4 << 10, .max = 256 << 20, .factor = 4, .seconds = 0.1
    };
    collectives c = { .args = &args };
    lt_opt_list rest = { 0 };
    bool done = false;
    lt_err err;

    LT_TRY(err = lt_options_parse(&bench_comm_command, argc, argv, &args, &rest, &done));
    if (done)
        goto fail;
    LT_TRY(err = check_args(&args, &rest));
    err = run(&c);
fail:
    bench_ranks_leave(c.group, err);
    lt_comm_close(c.comm);
    if (c.dev) {
        lt_dev_free(c.dev, LT_MEMORY_DEVICE, c.send);
        lt_dev_free(c.dev, LT_MEMORY_DEVICE, c.receive);
    }
    lt_dev_close(c.dev);
    lt_group_close(c.group);
    free(c.host);
    free(c.values);
    lt_opt_list_release(&rest);
    return err;
}
