/* comm/mpi/mpi_parts.h - what the two users of MPI share.  Without mpi.h, so that it compiles in a
 * tree without MPI. */
#ifndef LT_COMM_MPI_PARTS_H
#define LT_COMM_MPI_PARTS_H

#include "base/err.h"

/* What MPI returned, as an error of ours: "MPI_Bcast: ...". */
LT_MUST_USE lt_err lt_mpi_check(int code, const char *call);

#endif
