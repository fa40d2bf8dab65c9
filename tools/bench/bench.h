/* tools/bench/bench.h - the subcommands of lt-bench, one file each.  argv[0] is the subcommand. */
#ifndef LT_TOOLS_BENCH_H
#define LT_TOOLS_BENCH_H

#include "base/dtype.h"
#include "base/kinds.h"
#include "base/options.h"

LT_MUST_USE lt_err bench_golden(int argc, char **argv);
LT_MUST_USE lt_err bench_train(int argc, char **argv);
LT_MUST_USE lt_err bench_ops(int argc, char **argv);

/* Words of options; LT_EUSAGE names the option and what was expected. */
LT_MUST_USE lt_err bench_parse_precision(lt_dtype *out, const char *word);
LT_MUST_USE lt_err bench_parse_recompute(lt_recompute *out, const char *word);

extern const lt_command bench_golden_command, bench_train_command, bench_ops_command;

#endif
