/* comm/watch_judge.h - when a job has to end, and the sentence that says why; private to the watch.
 *
 * Plain arithmetic on what the hub knows: no sockets, no clock of its own. */
#ifndef LT_COMM_WATCH_JUDGE_H
#define LT_COMM_WATCH_JUDGE_H

#include "comm/watch_wire.h"

/* What the hub knows of a rank; index in its array is the rank. */
typedef struct lt_watch_member {
    bool joined, left; /* left: ended in good order */
    bool died;         /* with `status`, as of waitpid */
    bool closed;       /* its supervisor hung up without a word, at `heard` */
    int status, pid;
    char host[LT_WATCH_HOST_BYTES];
    lt_watch_place place;
    double heard; /* when its supervisor spoke last */
    double moved; /* when the rank itself last gave a sign */
} lt_watch_member;

/* 0: all is well.  Else appends the sentence about the rank that ends the job and returns the exit
 * status for all: that of a rank that gave up, else 1. */
int lt_watch_judge(const lt_watch_member *members, int world, double hang_timeout, double now,
                   lt_buf *why);

/* Appends "rank 3 (node7, pid 4242) died: signal 9 (Killed); last step 41, phase backward". */
void lt_watch_tell_end(lt_buf *out, int rank, const lt_watch_member *m);

/* Appends "rank 0 (node1, pid 4711) has waited 300 s for the others to start: ...", or, when it has
 * left, that it does not end. */
void lt_watch_tell_alone(lt_buf *out, int rank, const lt_watch_member *m, double seconds);

/* Appends "lost contact with rank 3 (node7, pid 4242): not heard of for 8 s; last heard at step 41,
 * phase backward; rank 0 (node1, pid 4711) is at step 41, phase reduce": rank `here` misses
 * `lost`. */
void lt_watch_tell_lost(lt_buf *out, int lost, const lt_watch_member *m, int here,
                        const lt_watch_member *own, double now);

#endif
