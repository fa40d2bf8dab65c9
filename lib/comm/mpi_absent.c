/* comm/mpi_absent.c - stands in for mpi/ in a build without MPI: says so when it is needed. */
#include "comm/comm_parts.h"
#include "comm/group_parts.h"

const char *lt_mpi_library(void)
{
    return "";
}

lt_err lt_group_mpi_open(lt_group **out, const lt_launch *launch)
{
    (void)out;
    return lt_fail(LT_ENOTSUP,
                   "started by %s as rank %d of %d, but this lt was built without MPI; install "
                   "libopenmpi-dev and openmpi-bin, then: make clean && make MPI=1",
                   launch->by, launch->rank, launch->world);
}

lt_err lt_comm_mpi_open_sized(lt_comm **out, lt_dev *dev, lt_group *group, bool debug,
                              size_t piece_bytes, size_t message_bytes)
{
    (void)out, (void)dev, (void)group, (void)debug, (void)piece_bytes, (void)message_bytes;
    return lt_fail(LT_ENOTSUP, "collectives among CPU ranks: this lt was built without MPI; make "
                               "clean && make MPI=1");
}

lt_err lt_comm_mpi_open(lt_comm **out, lt_dev *dev, lt_group *group, bool debug)
{
    return lt_comm_mpi_open_sized(out, dev, group, debug, 0, 0);
}
