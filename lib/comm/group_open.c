/* comm/group_open.c - which group the environment asks for.  Apart from group.c, so that a program
 * of one rank needs no MPI to link. */
#include "comm/group_parts.h"

/* srun starts the tasks of all nodes within seconds; a node that boots late is not waited for. */
static const double meet_seconds = 60;

lt_launcher lt_group_peek(int *rank, int *world)
{
    lt_launch launch;

    if (lt_launch_read(&launch, lt_mpi_library()[0] != '\0') != LT_OK)
        launch = (lt_launch){ .launcher = LT_LAUNCH_NONE, .world = 1 }; /* lt_group_open tells */
    *rank = launch.rank;
    *world = launch.world;
    return launch.launcher;
}

lt_err lt_group_open(lt_group **out)
{
    lt_launch launch;
    lt_err err;

    LT_TRY(err = lt_launch_read(&launch, lt_mpi_library()[0] != '\0'));
    if (launch.world == 1) {
        *out = lt_group_self_new();
        (*out)->launcher = launch.launcher;
    } else if (launch.launcher == LT_LAUNCH_MPI) {
        LT_TRY(err = lt_group_mpi_open(out, &launch));
    } else {
        LT_TRY(err = lt_group_tcp_open(out, &launch, meet_seconds));
    }
fail:
    return err;
}
