/* tools/train/generate_cli.h - the subcommand lt-train generate. */
#ifndef LT_TOOLS_TRAIN_GENERATE_CLI_H
#define LT_TOOLS_TRAIN_GENERATE_CLI_H

#include "base/err.h"

LT_MUST_USE lt_err generate_main(int argc, char **argv);

#endif
