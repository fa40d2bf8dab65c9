/* comm/comm_open.c - which implementation suits the device and the number of ranks.  Apart from
 * comm.c, so that a program of one rank needs no MPI to link. */
#include "comm/comm.h"

lt_err lt_comm_open(lt_comm **out, lt_dev *dev, lt_group *group, bool debug)
{
    if (group->world == 1)
        return lt_comm_self_open(out, dev, group);
    if (dev->backend != &lt_backend_cpu)
        return lt_comm_nccl_open(out, dev, group, debug);
    if (group->launcher != LT_LAUNCH_MPI)
        return lt_fail(LT_EUSAGE,
                       "%d CPU ranks started by srun alone: CPU ranks need MPI; use srun "
                       "--mpi=pmix, or mpirun inside sbatch",
                       group->world);
    return lt_comm_mpi_open(out, dev, group, debug);
}
