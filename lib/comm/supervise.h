/* comm/supervise.h - two processes for a rank: the one that trains and the one that watches it.
 *
 * The launcher starts and sees the supervisor; the rank is its only child and neither outlives the
 * other.  SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 go on to the rank, which has a process group
 * of its own so that a launcher that signals groups does not reach it twice.  The supervisor ends
 * with the rank's exit status or 128 + N when signal N ended it; when the watch ended the job, with
 * 1, or with the status of the rank that gave up. */
#ifndef LT_COMM_SUPERVISE_H
#define LT_COMM_SUPERVISE_H

#include "comm/watch.h"

/* First thing in the main of a rank: threads do not survive it.  Returns twice: in the rank with
 * its watch; in the supervisor, when all is over, with *out NULL and the exit status for main.
 * `rank` is for sentences about a rank that dies before it joined. */
LT_MUST_USE lt_err lt_supervise_start(lt_watch **out, int rank, int *status);

#endif
