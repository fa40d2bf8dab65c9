/* bench_ranks.c - many ranks of lt-bench. */
#include "bench_ranks.h"

#include "base/log.h"
#include "base/thread.h"
#include "train/ranks.h"

#include <stdlib.h>
#include <string.h>

lt_err bench_ranks_open(lt_group **out)
{
    lt_err err;

    LT_TRY(err = lt_group_open(out));
    lt_ranks_talk(*out, "lt-bench");
fail:
    return err;
}

/* mpirun ends everybody when one rank ends with a failure: what all agreed on is said before. */
void bench_ranks_leave(lt_group *g, lt_err err)
{
    if (!g)
        return;
    if (!lt_ranks_last_word(g, err)) {
        lt_group_abandon(g);
    } else if (err != LT_OK && g->world > 1) {
        lt_err_record why;

        lt_err_take(&why);
        if (g->rank == 0)
            lt_log_error("%s", why.text);
        lt_log_init("lt-bench", LT_LOG_QUIET);
        if (lt_group_barrier(g) != LT_OK)
            lt_group_abandon(g);
        (void)lt_err_give(&why);
    }
}

int bench_rank_threads(const lt_group *g, int64_t asked)
{
    int share = lt_cpu_count() / g->local_world;

    if (asked > 0)
        return (int)asked;
    return g->local_world == 1 ? 0 : share > 1 ? share : 1;
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
