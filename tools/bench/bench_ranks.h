/* tools/bench/bench_ranks.h - what subcommands that run on many ranks share: the slowest one's
 * figures, and a way to end. */
#ifndef LT_TOOLS_BENCH_RANKS_H
#define LT_TOOLS_BENCH_RANKS_H

#include "comm/group.h"

/* With the run's outcome, before anything is closed: an agreed failure is said once, by rank 0; a
 * rank that fails alone waits for nobody.  NULL is fine. */
void bench_ranks_leave(lt_group *g, lt_err err);

/* Of each of n values the largest over all ranks, on every rank. */
LT_MUST_USE lt_err bench_ranks_max(lt_group *g, double *values, int n);

#endif
