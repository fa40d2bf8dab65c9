/* tools/bench/bench.h - the subcommands of lt-bench, one file each.  argv[0] is the subcommand. */
#ifndef LT_TOOLS_BENCH_H
#define LT_TOOLS_BENCH_H

#include "base/dtype.h"
#include "base/kinds.h"
#include "base/options.h"
#include "config/config.h"

LT_MUST_USE lt_err bench_golden(int argc, char **argv);
LT_MUST_USE lt_err bench_train(int argc, char **argv);
LT_MUST_USE lt_err bench_ops(int argc, char **argv);
LT_MUST_USE lt_err bench_gemm(int argc, char **argv);
LT_MUST_USE lt_err bench_attention(int argc, char **argv);
LT_MUST_USE lt_err bench_load(int argc, char **argv);
LT_MUST_USE lt_err bench_tokenize(int argc, char **argv);
LT_MUST_USE lt_err bench_batches(int argc, char **argv);
LT_MUST_USE lt_err bench_init(int argc, char **argv);
LT_MUST_USE lt_err bench_comm(int argc, char **argv);
LT_MUST_USE lt_err bench_dataparallel(int argc, char **argv);
LT_MUST_USE lt_err bench_scale(int argc, char **argv);

/* Words of options; LT_EUSAGE names the option and what was expected. */
LT_MUST_USE lt_err bench_parse_precision(lt_dtype *out, const char *word);
LT_MUST_USE lt_err bench_parse_recompute(lt_recompute *out, const char *word);
/* "1,2,4": at most `most` whole numbers of bottom to top; LT_EUSAGE names the option. */
LT_MUST_USE lt_err bench_parse_list(int64_t *out, int *n, int most, const char *option,
                                    const char *word, int64_t bottom, int64_t top);

LT_MUST_USE lt_err bench_fail_model(const char *word); /* the sentence for an unknown --model */
LT_MUST_USE lt_err bench_no_arguments(const char *subcommand, const lt_opt_list *rest);

/* Options, one CONFIG.yaml and any --section.key=value.  *config stays NULL when --help, --man or
 * --version was answered. */
LT_MUST_USE lt_err bench_options_config(const lt_command *command, int argc, char **argv,
                                        void *values, lt_config **config);

extern const lt_command bench_golden_command, bench_train_command, bench_ops_command,
    bench_gemm_command, bench_attention_command, bench_load_command, bench_tokenize_command,
    bench_batches_command, bench_init_command, bench_comm_command, bench_dataparallel_command,
    bench_scale_command;

#endif
