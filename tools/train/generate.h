/* tools/train/generate.h - the subcommand lt-train generate. */
#ifndef LT_TOOLS_TRAIN_GENERATE_H
#define LT_TOOLS_TRAIN_GENERATE_H

#include "base/err.h"

LT_MUST_USE lt_err generate_main(int argc, char **argv);

#endif
