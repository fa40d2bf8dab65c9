/* tools/bench/bench_step.h - the training step that is timed, the same whoever runs it: random
 * tokens, AdamW, and how many steps nobody times. */
#ifndef LT_TOOLS_BENCH_STEP_H
#define LT_TOOLS_BENCH_STEP_H

#include "optim/adamw.h"

/* The first tunes and compiles, the second is recorded, the third is the first of its kind. */
enum { BENCH_WARM_UP = 3 };
#define BENCH_LR 1e-4

lt_optim bench_step_optim(void);

/* n ids and n targets below `vocab`, of micro-batch `index` of rank `rank`. */
void bench_step_tokens(int32_t *ids, int32_t *targets, int64_t n, int64_t vocab, int rank,
                       int64_t index);

#endif
