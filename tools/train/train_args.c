/* tools/train/train_args.c - options and configuration keys, which both begin with "--". */
#include "train_args.h"

#include "base/log.h"
#include "base/options.h"

#include <stdlib.h>
#include <string.h>
#include <string.h>

static const lt_option options[] = {
    { NULL, 0, LT_OPT_HEADING, 0, NULL, "Instead of training" },
    { "plan", 0, LT_OPT_FLAG, offsetof(train_args, plan), NULL,
      "bytes of one rank by class; opens no device: --device=cuda plans for a GPU elsewhere" },
    { "ranks", 0, LT_OPT_INT, offsetof(train_args, ranks), "N",
      "ranks to plan for (default: as many as were started)", 1, 1 << 20 },
    { "gpu-memory", 0, LT_OPT_SIZE, offsetof(train_args, gpu_memory), "BYTES",
      "with --plan: fail when it does not fit, e.g. 141GB" },
    { "print-config", 0, LT_OPT_FLAG, offsetof(train_args, print_config), NULL,
      "every effective value and where it came from" },
    { "dry-run", 0, LT_OPT_FLAG, offsetof(train_args, dry_run), NULL,
      "the first batches, and the learning rate at ten points" },
    { "explain-step", 0, LT_OPT_INT, offsetof(train_args, explain_step), "N",
      "which shards, frames and documents step N reads", 1, 1e18 },
    { "config-docs", 0, LT_OPT_FLAG, offsetof(train_args, docs), NULL,
      "the reference of all configuration keys, as Markdown" },
    { "json", 0, LT_OPT_FLAG, offsetof(train_args, json), NULL, "with --plan: one JSON object" },
    { NULL, 0, LT_OPT_HEADING, 0, NULL, "Training" },
    { "resume", 0, LT_OPT_STRING, offsetof(train_args, resume), "auto|PATH|never",
      "short for --checkpoint.resume" },
    { "device", 0, LT_OPT_STRING, offsetof(train_args, device), "auto|cpu|cuda",
      "short for the key device" },
    { "quiet", 'q', LT_OPT_FLAG, offsetof(train_args, quiet), NULL, "warnings and errors only" },
    { 0 },
};

static const lt_command command = {
    "lt-train",
    "CONFIG.yaml [--section.key=value...] [options]\n       lt-train generate [options]",
    "train a language model",
    "Reads CONFIG.yaml (\"-\" is standard input); --section.key=value wins over the file; --config-docs\n"
    "describes every key.  Checkpoints go to checkpoint.dir, metrics.jsonl, TensorBoard events\n"
    "and the loss curve to logging.dir.  Started again, the same command goes on where it stopped.\n\n"
    "SIGTERM, SIGINT and SIGUSR1 finish the step, save a checkpoint and exit with status 75.\n\n"
    "lt-train generate --help tells how to write text with a checkpoint.",
    options,
};

/* `--training.lr 1e-4` is no second file. */
static lt_err check_overrides(int n, const char *const *overrides)
{
    for (int i = 0; i < n; i++)
        if (!strchr(overrides[i], '='))
            return lt_fail(LT_EUSAGE, "%s: expected %s=VALUE, in one argument", overrides[i],
                           overrides[i]);
    return LT_OK;
}

/* At most one thing instead of training, and what goes with it only there. */
static lt_err check_modes(const train_args *a)
{
    if (a->plan + a->dry_run + (a->explain_step > 0) > 1)
        return lt_fail(LT_EUSAGE, "expected one of --plan, --dry-run and --explain-step");
    if (a->ranks && !a->plan)
        return lt_fail(LT_EUSAGE,
                       "--ranks: goes with --plan; mpirun -n %lld lt-train ... starts as many",
                       (long long)a->ranks);
    if ((a->gpu_memory || a->json) && !a->plan)
        return lt_fail(LT_EUSAGE, "--%s: goes with --plan", a->json ? "json" : "gpu-memory");
    return LT_OK;
}

lt_err train_args_read(train_args *a, lt_config **config, int argc, char **argv)
{
    lt_opt_list rest = { 0 };
    const char **overrides = calloc((size_t)argc + 2, sizeof *overrides);
    char *resume = NULL, *device = NULL;
    bool done = false;
    int n = lt_config_take_options(&argc, argv, overrides);
    lt_err err;

    LT_TRY(err = lt_options_parse(&command, argc, argv, a, &rest, &done));
    if (done || a->docs)
        goto fail;
    LT_TRY(err = check_overrides(n, overrides));
    LT_TRY(err = check_modes(a));
    if (rest.n != 1) {
        err = lt_fail(LT_EUSAGE,
                      "expected one CONFIG.yaml, found %zu arguments; lt-train --help tells more",
                      rest.n);
        goto fail;
    }
    if (a->quiet)
        lt_log_init("lt-train", LT_LOG_WARN);
    if (a->resume)
        overrides[n++] = resume = lt_asprintf("--checkpoint.resume=%s", a->resume);
    if (a->device)
        overrides[n++] = device = lt_asprintf("--device=%s", a->device);
    err = lt_config_load(config, rest.items[0], n, overrides);
fail:
    lt_opt_list_release(&rest);
    free(overrides);
    free(resume);
    free(device);
    return err;
}
