/* comm/mpi/mpi_parts.c - errors of MPI, and waiting for it without burning a core. */
#include "comm/mpi/mpi_parts.h"

#include <stdio.h>
#include <time.h>

enum { LOOKS = 100, SLEEP_NS = 20000 };

lt_err lt_mpi_check(int code, const char *call)
{
    char text[MPI_MAX_ERROR_STRING];
    int n = 0;

    if (code == MPI_SUCCESS)
        return LT_OK;
    if (MPI_Error_string(code, text, &n) != MPI_SUCCESS)
        snprintf(text, sizeof text, "error %d", code);
    return lt_fail(LT_EFAULT, "%s: %s", call, text);
}

lt_err lt_mpi_wait(const lt_group *g, MPI_Request *requests, MPI_Status *statuses, int n)
{
    const struct timespec nap = { .tv_nsec = SLEEP_NS };
    int done = 0, code = MPI_SUCCESS;

    for (int looks = 0; !done && code == MPI_SUCCESS; looks++) {
        if (looks > LOOKS) {
            if (atomic_load(&g->failed))
                return lt_fail(LT_EFAULT, "rank %d (%s) waits for the other ranks no longer",
                               g->rank, g->host);
            nanosleep(&nap, NULL);
        }
        code = MPI_Testall(n, requests, &done, statuses);
    }
    for (int i = 0; code == MPI_ERR_IN_STATUS && i < n; i++)
        if (statuses[i].MPI_ERROR != MPI_SUCCESS && statuses[i].MPI_ERROR != MPI_ERR_PENDING)
            return lt_mpi_check(statuses[i].MPI_ERROR, "MPI_Testall");
    return lt_mpi_check(code, "MPI_Testall");
}
