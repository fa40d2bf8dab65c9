/* comm/comm_open.c - which implementation suits the device and the number of ranks.  Apart from
 * comm.c, so that a program of one rank needs no MPI to link. */
#include "comm/comm.h"

#include <stdlib.h>

/* Ranks of other hosts may not have the environment of the first, and all have to compare. */
static lt_err agree_on_debug(bool *debug, lt_group *group)
{
    char mine = *debug || getenv("LT_DEBUG_COMM"), *all = lt_new_array0((size_t)group->world, 1);
    lt_err err = lt_group_all_gather(group, all, &mine, 1);

    for (int r = 0; r < group->world; r++)
        *debug = *debug || all[r];
    free(all);
    return err;
}

lt_err lt_comm_open(lt_comm **out, lt_dev *dev, lt_group *group, bool debug)
{
    lt_err err;

    if (group->world == 1)
        return lt_comm_self_open(out, dev, group);
    err = agree_on_debug(&debug, group);
    if (err != LT_OK)
        return err;
    if (dev->backend != &lt_backend_cpu)
        return lt_comm_nccl_open(out, dev, group, debug);
    if (group->launcher != LT_LAUNCH_MPI)
        return lt_fail(LT_EUSAGE,
                       "%d CPU ranks started by srun alone: CPU ranks need MPI; use srun "
                       "--mpi=pmix, or mpirun inside sbatch",
                       group->world);
    return lt_comm_mpi_open(out, dev, group, debug);
}
