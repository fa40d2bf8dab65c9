/* load.c - lt-bench load: the batches of a run from its shards, as fast as they come: rate, and the
 * CPU time that they take. */
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "batch/batch.h"
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { MAX_READERS = 64 };

typedef struct load_args {
    int64_t seq, batch, readers, steps;
    double seconds, rate;
    bool shuffle, mask, json;
} load_args;

static const lt_option options[] = {
    { "seq", 0, LT_OPT_INT, offsetof(load_args, seq), "T", "tokens in a sequence (default 1024)", 1,
      1 << 24 },
    { "batch", 0, LT_OPT_INT, offsetof(load_args, batch), "B",
      "sequences in a batch of one reader (default 16)", 1, 65536 },
    { "threads", 'j', LT_OPT_INT, offsetof(load_args, readers), "N",
      "readers at once, each as a rank of a run (default 1)", 1, MAX_READERS },
    { "steps", 0, LT_OPT_INT, offsetof(load_args, steps), "N", "stop behind N batches", 1, 1e15 },
    { "seconds", 0, LT_OPT_REAL, offsetof(load_args, seconds), "S",
      "stop behind this time (default 3, none with --steps)", 0, 1e6 },
    { "rate", 0, LT_OPT_REAL, offsetof(load_args, rate), "R",
      "tokens/s to be fed, for the cores that it takes (default 2e6)", 1, 1e12 },
    { "shuffle", 0, LT_OPT_FLAG, offsetof(load_args, shuffle), NULL,
      "windows in random order (default); --no-shuffle: one after another" },
    { "document-masking", 0, LT_OPT_FLAG, offsetof(load_args, mask), NULL,
      "documents do not see each other" },
    { "json", 0, LT_OPT_FLAG, offsetof(load_args, json), NULL,
      "one JSON object on standard output" },
    { 0 },
};

const lt_command bench_load_command = {
    "lt-bench load", "[options] DIR|MANIFEST", "time the batches that shards give",
    "DIR stands for DIR/train.manifest.  Batches are made by the reader of lt-train and thrown away.\n"
    "CPU time is that of the whole process, cores is CPU time over wall time, and \"cores for R\" the\n"
    "share of one core that feeding R tokens/s takes.  decoded: whole frames are decoded, of which a\n"
    "batch may use a part.",
    options
};

typedef struct reader {
    lt_dataset *data;
    lt_batcher *batches;
} reader;

typedef struct load_bench {
    const load_args *args;
    char *path;
    reader readers[MAX_READERS];
    double wall_s, cpu_s, opening_s;
    uint64_t steps, tokens, data_tokens;
    lt_shard_work work;
} load_bench;

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
           1e-6 * ((double)u.ru_utime.tv_usec + (double)u.ru_stime.tv_usec);
}

static lt_err open_reader(load_bench *b, int i)
{
    const load_args *a = b->args;
    reader *r = &b->readers[i];
    lt_batcher_options o = { .seq_len = (uint64_t)a->seq,
                             .shuffle = a->shuffle,
                             .document_mask = a->mask,
                             .step_samples = (uint64_t)(a->batch * a->readers),
                             .rank_first = (uint64_t)(a->batch * i),
                             .rank_samples = (uint64_t)a->batch,
                             .depth = 3 };
    lt_err err;

    LT_TRY(err = lt_dataset_open(&r->data, b->path));
    o.data = r->data;
    LT_TRY(err = lt_batcher_open(&r->batches, &o));
fail:
    return err;
}

static bool is_over(const load_bench *b, double start)
{
    const load_args *a = b->args;

    return a->steps ? b->steps == (uint64_t)a->steps : lt_now() - start >= a->seconds;
}

/* One batch of every reader is a step. */
static lt_err one_step(load_bench *b)
{
    lt_err err = LT_OK;

    for (int i = 0; i < b->args->readers; i++) {
        const lt_batch *batch;

        LT_TRY(err = lt_batcher_next(b->readers[i].batches, &batch));
        lt_batcher_release(b->readers[i].batches);
        b->tokens += (uint64_t)(b->args->batch * b->args->seq);
    }
    b->steps++;
fail:
    return err;
}

static lt_err measure(load_bench *b)
{
    double start = lt_now(), cpu;
    lt_err err = LT_OK;

    for (int i = 0; i < b->args->readers; i++)
        LT_TRY(err = open_reader(b, i));
    b->data_tokens = lt_dataset_tokens(b->readers[0].data);
    b->opening_s = lt_now() - start;
    start = lt_now();
    cpu = cpu_seconds();
    while (!is_over(b, start))
        LT_TRY(err = one_step(b));
    b->wall_s = lt_now() - start;
    b->cpu_s = cpu_seconds() - cpu;
    for (int i = 0; i < b->args->readers; i++) {
        lt_batcher_close(b->readers[i].batches); /* its thread writes the counts */
        b->readers[i].batches = NULL;
        lt_dataset_work(b->readers[i].data, &b->work);
    }
fail:
    return err;
}

static void report(const load_bench *b)
{
    const load_args *a = b->args;
    double tokens = (double)b->tokens, rate = tokens / b->wall_s, per_cpu = tokens / b->cpu_s;
    double stored = (double)b->work.stored_bytes / b->wall_s;
    double raw = (double)b->work.raw_bytes / b->wall_s;
    lt_buf out = { 0 };

    if (a->json) {
        lt_buf_printf(&out, "{\"data\": ");
        lt_json_quote(&out, b->path, strlen(b->path));
        lt_buf_printf(&out,
                      ", \"data_tokens\": %llu, \"seq\": %lld, \"batch\": %lld, \"threads\": %lld, "
                      "\"shuffle\": %s, \"steps\": %llu, \"tokens\": %llu, \"tokens_per_s\": %.6g, "
                      "\"cpu_seconds\": %.6g, \"wall_seconds\": %.6g, \"cores\": %.4g, "
                      "\"tokens_per_cpu_s\": %.6g, \"rate\": %.6g, \"cores_for_rate\": %.4g, "
                      "\"frames\": %llu, \"stored_bytes_per_s\": %.6g, \"raw_bytes_per_s\": %.6g, "
                      "\"peak_rss_bytes\": %llu}",
                      (unsigned long long)b->data_tokens, (long long)a->seq, (long long)a->batch,
                      (long long)a->readers, a->shuffle ? "true" : "false",
                      (unsigned long long)b->steps, (unsigned long long)b->tokens, rate, b->cpu_s,
                      b->wall_s, b->cpu_s / b->wall_s, per_cpu, a->rate, a->rate / per_cpu,
                      (unsigned long long)b->work.frames, stored, raw,
                      (unsigned long long)lt_peak_rss());
        printf("%s\n", lt_buf_cstr(&out));
        lt_buf_release(&out);
        return;
    }
    printf("%s  %llu tokens  B=%lld T=%lld  %lld readers%s\n", b->path,
           (unsigned long long)b->data_tokens, (long long)a->batch, (long long)a->seq,
           (long long)a->readers, a->shuffle ? "" : ", in order");
    printf("  rate          %10.3f Mtokens/s in %llu steps\n", rate * 1e-6,
           (unsigned long long)b->steps);
    printf("  decoded       %10.1f MB/s compressed, %.1f MB/s raw, %.2f tokens for each "
           "that is used\n",
           stored * 1e-6, raw * 1e-6, (double)b->work.tokens / tokens);
    printf("  CPU           %10.3f s in %.3f s: %.2f cores, %.3f Mtokens/s a core\n", b->cpu_s,
           b->wall_s, b->cpu_s / b->wall_s, per_cpu * 1e-6);
    printf("  cores for %-4.3g %9.3f\n", a->rate, a->rate / per_cpu);
    printf("  memory        %10.1f MiB at most; opened in %.1f ms\n",
           (double)lt_peak_rss() / (1 << 20), b->opening_s * 1e3);
}

lt_err bench_load(int argc, char **argv)
{
    load_args args = {
        .seq = 1024, .batch = 16, .readers = 1, .seconds = 3, .rate = 2e6, .shuffle = true
    };
    load_bench b = { .args = &args };
    lt_opt_list rest = { 0 };
    bool done = false;
    lt_err err;

    LT_TRY(err = lt_options_parse(&bench_load_command, argc, argv, &args, &rest, &done));
    if (done)
        goto fail;
    if (rest.n != 1) {
        err = lt_fail(LT_EUSAGE, "load: expected one folder or manifest, found %zu arguments",
                      rest.n);
        goto fail;
    }
    b.path = lt_is_dir(rest.items[0]) ? lt_path_join(rest.items[0], "train.manifest")
                                      : lt_strdup(rest.items[0]);
    LT_TRY(err = measure(&b));
    report(&b);
fail:
    for (int i = 0; i < MAX_READERS; i++) {
        lt_batcher_close(b.readers[i].batches);
        lt_dataset_close(b.readers[i].data);
    }
    free(b.path);
    lt_opt_list_release(&rest);
    return err;
}
