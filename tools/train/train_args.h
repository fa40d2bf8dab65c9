/* tools/train/train_args.h - the command line of lt-train, and the configuration that it names. */
#ifndef LT_TOOLS_TRAIN_ARGS_H
#define LT_TOOLS_TRAIN_ARGS_H

#include "config/config.h"

typedef struct train_args {
    bool plan, print_config, dry_run, docs, json, quiet;
    int64_t explain_step, ranks;
    uint64_t gpu_memory;
    const char *resume, *device;
} train_args;

/* *config stays NULL when --help and the like have said all, and with --config-docs. */
LT_MUST_USE lt_err train_args_read(train_args *a, lt_config **config, int argc, char **argv);

#endif
