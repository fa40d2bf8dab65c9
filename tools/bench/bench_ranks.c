/* bench_ranks.c - many ranks of lt-bench. */
#include "bench_ranks.h"

#include "train/ranks.h"

#include <stdlib.h>

/* mpirun ends everybody when one rank ends with a failure: rank 0 has spoken before any does. */
void bench_ranks_leave(lt_group *g, lt_err err)
{
    if (g && (!lt_ranks_last_word(g, err) || (err != LT_OK && lt_group_barrier(g) != LT_OK)))
        lt_group_abandon(g);
}

lt_err bench_ranks_max(lt_group *g, double *values, int n)
{
    double *all = lt_new_array0((size_t)(g->world * n), sizeof *all);
    lt_err err;

    LT_TRY(err = lt_group_all_gather(g, all, values, (size_t)n * sizeof *values));
    for (int r = 0; r < g->world; r++)
        for (int i = 0; i < n; i++)
            values[i] = all[r * n + i] > values[i] ? all[r * n + i] : values[i];
fail:
    free(all);
    return err;
}
