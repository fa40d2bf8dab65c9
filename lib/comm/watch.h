/* comm/watch.h - life signs of a job of several ranks, apart from its collectives.
 *
 * Each rank has a supervisor (comm/supervise.h), a process of its own that outlives any fault of
 * the rank: kill -9, a stop, an endless loop.  The supervisors are members of one hub, rank 0's
 * supervisor, over TCP; each tells it four times a second where its rank is.  The hub prints one
 * line about the first rank that died, fell silent or holds all others up, and ends the whole job.
 *
 * This is the rank's side: where it is in the run, in memory that the supervisor sees, and the four
 * messages meet, hub, join and leave.  A NULL lt_watch is a process without supervisor: phases are
 * then free.  One thread tells steps and phases; collectives may be told from any. */
#ifndef LT_COMM_WATCH_H
#define LT_COMM_WATCH_H

#include "base/mem.h"

enum { LT_WATCH_HOST_BYTES = 64 };

/* In the order of a step: of two ranks at one step, the one in the earlier phase is behind. */
typedef enum lt_phase {
    LT_PHASE_START,
    LT_PHASE_LOAD,
    LT_PHASE_TUNE,
    LT_PHASE_DATA,
    LT_PHASE_FORWARD,
    LT_PHASE_BACKWARD,
    LT_PHASE_REDUCE,
    LT_PHASE_UPDATE,
    LT_PHASE_EVALUATE,
    LT_PHASE_SAMPLE,
    LT_PHASE_SAVE,
    LT_PHASE_END,
    LT_N_PHASES
} lt_phase;

typedef struct lt_watch_rank {
    int rank, world, local_rank;
    char host[LT_WATCH_HOST_BYTES];
} lt_watch_rank;

typedef struct lt_watch lt_watch;

/* Before this rank joins and after it leaves, its supervisor is alone with it: from here on it ends
 * the rank, and the job, when either takes longer than ten times hang_timeout; 0: never.  MPI waits
 * for ever for a host that was cut off meanwhile.  NULL is fine. */
void lt_watch_meet(lt_watch *w, double hang_timeout);

/* Rank 0: makes its supervisor the hub of `world` ranks; appends the address that the others need,
 * one word of text. */
LT_MUST_USE lt_err lt_watch_open_hub(lt_watch *w, int world, lt_buf *address);

/* Every rank, rank 0 too: the supervisor joins the hub.  The job ends when for hang_timeout seconds
 * and for ten steps no rank has moved; ten times hang_timeout holds for the first steps and for the
 * phases start, load, tune, evaluate, sample, save, end.  0: only death and silence end the job. */
LT_MUST_USE lt_err lt_watch_join(lt_watch *w, const lt_watch_rank *me, const char *address,
                                 double hang_timeout);

/* `step` steps are done and `phase` begins; a call counts as a sign of life even when nothing has
 * changed, so a long phase may repeat it. */
void lt_watch_phase(lt_watch *w, uint64_t step, lt_phase phase);
/* One more collective begins: of ranks in the same phase, the one that has begun fewest is what the
 * others wait for.  On a GPU it is enqueued rather than begun.  NULL is fine. */
void lt_watch_collective(lt_watch *w);

/* The end in good order, after the last collective: whatever follows ends this rank alone, within
 * the time of lt_watch_meet. */
void lt_watch_leave(lt_watch *w);
void lt_watch_close(lt_watch *w); /* the rank's end of it; NULL is fine */

const char *lt_phase_name(lt_phase phase);

#endif
