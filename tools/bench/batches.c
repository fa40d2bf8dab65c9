/* batches.c - lt-bench batches: what a run of lt-train reads, step by step, for another program
 * that is to train on exactly the same.
 *
 * The file: one line of JSON, then for each step the inputs and then the targets, int32 little
 * endian, (sequences, seq_len) each, rows in the order of the run's micro-batches. */
#include "base/file.h"
#include "bench.h"
#include "train/setup.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct batches_args {
    const char *out;
    int64_t steps;
} batches_args;

static const lt_option options[] = {
    { "out", 'o', LT_OPT_STRING, offsetof(batches_args, out), "FILE", "write here; - is stdout" },
    { "steps", 0, LT_OPT_INT, offsetof(batches_args, steps), "N",
      "the first N steps (default: all of the run)", 1, 1e12 },
    { 0 },
};

const lt_command bench_batches_command = {
    "lt-bench batches",
    "CONFIG.yaml [--section.key=value...] [--steps N] -o FILE",
    "write the batches of a run",
    "FILE begins with one line of JSON: steps, sequences (of a step), micro_batches, seq_len,\n"
    "vocab_size, total_steps (of the run), ignore (a target that is not counted), document_masking, lr\n"
    "(of each step).  Behind it, for each step, inputs and then targets as int32, little endian,\n"
    "(sequences, seq_len) each.",
    options,
};

/* w NULL: standard output. */
static lt_err put(lt_writer *w, const void *data, size_t n)
{
    return w ? lt_writer_write(w, data, n) : lt_fd_write(STDOUT_FILENO, data, n, "standard output");
}

static lt_err write_header(lt_writer *w, const lt_setup *s, uint64_t steps)
{
    lt_buf line = { 0 };
    lt_err err;

    lt_buf_printf(
        &line,
        "{\"steps\": %llu, \"sequences\": %llu, \"micro_batches\": %d, \"seq_len\": %lld, "
        "\"vocab_size\": %lld, \"total_steps\": %llu, \"ignore\": %d, "
        "\"document_masking\": %s, \"lr\": [",
        (unsigned long long)steps, (unsigned long long)s->step_samples, s->n_micro,
        (long long)s->config->data.seq_len, (long long)s->config->model.dims.vocab_size,
        (unsigned long long)s->total_steps, LT_IGNORE,
        s->config->data.document_masking ? "true" : "false");
    for (uint64_t i = 1; i <= steps; i++)
        lt_buf_printf(&line, "%s%.17g", i > 1 ? ", " : "", lt_lr_at(&s->schedule, (int64_t)i));
    lt_buf_printf(&line, "]}\n");
    err = put(w, line.data, line.size);
    lt_buf_release(&line);
    return err;
}

static lt_err write_steps(lt_writer *w, const lt_setup *s, uint64_t steps)
{
    lt_batcher_options o = lt_setup_batches(s, 0);
    size_t bytes = (size_t)(o.step_samples * o.seq_len) * sizeof(int32_t);
    lt_batcher *batches = NULL;
    const lt_batch *b;
    lt_err err;

    o.rank_first = 0;
    o.rank_samples = o.step_samples;
    o.max_steps = steps;
    LT_TRY(err = lt_batcher_open(&batches, &o));
    for (;;) {
        LT_TRY(err = lt_batcher_next(batches, &b));
        if (!b)
            break;
        LT_TRY(err = put(w, b->inputs, bytes));
        LT_TRY(err = put(w, b->targets, bytes));
        lt_batcher_release(batches);
    }
fail:
    lt_batcher_close(batches);
    return err;
}

static lt_err write_batches(const batches_args *a, lt_config *config)
{
    lt_setup s = { 0 };
    lt_writer *w = NULL;
    uint64_t steps;
    lt_err err;

    LT_TRY(err = lt_setup_open(&s, config, NULL, true));
    steps = a->steps ? (uint64_t)a->steps : s.total_steps;
    if (steps > s.total_steps) {
        err = lt_fail(LT_EUSAGE, "--steps: expected at most the run's %llu, found %llu",
                      (unsigned long long)s.total_steps, (unsigned long long)steps);
        goto fail;
    }
    if (strcmp(a->out, "-") != 0)
        LT_TRY(err = lt_writer_open(&w, a->out));
    LT_TRY(err = write_header(w, &s, steps));
    LT_TRY(err = write_steps(w, &s, steps));
    if (w)
        err = lt_writer_commit(w);
    w = NULL;
fail:
    lt_writer_abort(w);
    lt_setup_release(&s);
    return err;
}

lt_err bench_batches(int argc, char **argv)
{
    batches_args args = { 0 };
    lt_config *config = NULL;
    lt_err err;

    LT_TRY(err = bench_options_config(&bench_batches_command, argc, argv, &args, &config));
    if (!config)
        goto fail;
    err =
        args.out ? write_batches(&args, config) : lt_fail(LT_EUSAGE, "batches: -o FILE is missing");
fail:
    lt_config_free(config);
    return err;
}
