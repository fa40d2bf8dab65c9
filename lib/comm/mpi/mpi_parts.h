/* comm/mpi/mpi_parts.h - what the two users of MPI share. */
#ifndef LT_COMM_MPI_PARTS_H
#define LT_COMM_MPI_PARTS_H

#include "comm/group.h"

#include <mpi.h>

/* What MPI returned, as an error of ours: "MPI_Ibcast: ...". */
LT_MUST_USE lt_err lt_mpi_check(int code, const char *call);

/* Until all n requests are done, or g is abandoned.  Whoever waits longer than an exchange takes
 * sleeps between looks, because the core is needed: a rank's other threads fill its cores. */
LT_MUST_USE lt_err lt_mpi_wait(const lt_group *g, MPI_Request *requests, MPI_Status *statuses,
                               int n);

#endif
