/* comm/group_parts.h - what implementations of a group share among themselves and with tests. */
#ifndef LT_COMM_GROUP_PARTS_H
#define LT_COMM_GROUP_PARTS_H

#include "comm/group.h"
#include "comm/launch.h"

/* Fills what needs no message: a group of `world` on hosts yet unknown, and this host's name. */
void lt_group_init(lt_group *g, const lt_group_ops *ops, lt_launcher launcher, int rank, int world);

/* The ranks tell each other their hosts: local_rank, local_world, n_hosts. */
LT_MUST_USE lt_err lt_group_find_hosts(lt_group *g);

/* mpi/group_mpi.c or mpi_absent.c */
LT_MUST_USE lt_err lt_group_mpi_open(lt_group **out, const lt_launch *launch);
const char *lt_mpi_library(void); /* "Open MPI v4.1.4", "MPICH 4.0.2"; "" in a build without MPI */

/* tcp/group_tcp.c: the ranks meet at launch->first_host; `seconds` bounds the wait. */
LT_MUST_USE lt_err lt_group_tcp_open(lt_group **out, const lt_launch *launch, double seconds);

#endif
