/* tools/bench/bench_job.h - a training of N GPUs or N CPU ranks as a job of its own: lt-bench train
 * under mpirun, or PyTorch.  Several subcommands measure such jobs. */
#ifndef LT_TOOLS_BENCH_JOB_H
#define LT_TOOLS_BENCH_JOB_H

#include "base/json.h"
#include "base/options.h"

typedef struct bench_job {
    const char *model, *device, *precision, *recompute, *mpirun, *python, *peer;
    int64_t layers, seq, steps, threads;
} bench_job;

/* Rows of an option table; args is the struct, member its bench_job.  clang-format knows no rows in
 * a macro. */
/* clang-format off */
#define BENCH_JOB_OPTIONS(args, member)                                                 \
    { "model", 0, LT_OPT_STRING, offsetof(args, member.model), "NAME",                  \
      "gpt2, gpt2-medium, gpt2-large, gpt2-xl (default gpt2)" },                        \
    { "layers", 0, LT_OPT_INT, offsetof(args, member.layers), "N",                      \
      "keep only N layers of it", 1, 1000 },                                            \
    { "seq", 0, LT_OPT_INT, offsetof(args, member.seq), "T",                            \
      "tokens in a sequence (default 1024)", 1, 1 << 20 },                              \
    { "precision", 0, LT_OPT_STRING, offsetof(args, member.precision), "TYPE",          \
      "fp32, bf16 or fp16 (default fp32)" },                                            \
    { "recompute", 0, LT_OPT_STRING, offsetof(args, member.recompute), "KIND",          \
      "none, selective or block (default none)" },                                      \
    { "device", 0, LT_OPT_STRING, offsetof(args, member.device), "NAME",                \
      "auto, cpu or cuda (default auto)" },                                             \
    { "threads", 0, LT_OPT_INT, offsetof(args, member.threads), "N",                    \
      "CPU threads of each rank (default a share of all)", 1, 4096 },                   \
    { "steps", 0, LT_OPT_INT, offsetof(args, member.steps), "N",                        \
      "timed steps; the best counts (default 10)", 1, 100000 },                         \
    { "mpirun", 0, LT_OPT_STRING, offsetof(args, member.mpirun), "CMD",                 \
      "starts the ranks, with options if need be (default mpirun)" }
/* clang-format on */

bench_job bench_job_default(void);
/* Checks the words; `auto` becomes the device that is there.  Refused inside a job of many
 * ranks. */
LT_MUST_USE lt_err bench_job_check(bench_job *j, const char *subcommand);

/* lt-bench train on n ranks, batch sequences each; *out is its object. */
LT_MUST_USE lt_err bench_job_train(json_t **out, const bench_job *j, int64_t n, int64_t batch,
                                   int64_t stage);
/* The script that is the peer on n GPUs; parallel: "dp" or "ddp" (compiled). */
LT_MUST_USE lt_err bench_job_peer(json_t **out, const bench_job *j, int64_t n, int64_t batch,
                                  const char *parallel);
/* Script, interpreter and PyTorch are there; else says what is not. */
bool bench_job_has_peer(const bench_job *j);

#endif
