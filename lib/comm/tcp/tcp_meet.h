/* comm/tcp/tcp_meet.h - how ranks that know only a host and a port find rank 0. */
#ifndef LT_COMM_TCP_MEET_H
#define LT_COMM_TCP_MEET_H

#include "comm/launch.h"

/* Rank 0: listens at launch->port until every other rank has said who it is: fds[r] and hosts[r]
 * for r in 1..world-1, fds[r] -1 before.  On failure the caller closes what has come so far. */
LT_MUST_USE lt_err lt_tcp_accept_ranks(int *fds, char (*hosts)[LT_HOST_NAME_BYTES],
                                       const lt_launch *launch, const char *own_host,
                                       double seconds);

/* Everybody else: connects to launch->first_host, tries again until `seconds` are over. */
LT_MUST_USE lt_err lt_tcp_connect_first(int *fd, const lt_launch *launch, const char *own_host,
                                        double seconds);

#endif
