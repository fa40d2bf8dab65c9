/* comm/group.h - the ranks of a job: who they are, how they were started, and small host messages.
 *
 * A process learns from its environment whether mpirun, srun with PMIx, or SLURM alone started it
 * (comm/launch.h).  The group is the control plane: bytes of the host, blocking, callable from any
 * one thread at a time.  Tensors go through lt_comm.
 *
 * After a failure of the group itself (a rank is gone) `failed` is set: later calls return at once,
 * and closing waits for nobody. */
#ifndef LT_COMM_GROUP_H
#define LT_COMM_GROUP_H

#include "base/mem.h"

#include <stdatomic.h>

enum { LT_HOST_NAME_BYTES = 64 };

typedef enum lt_launcher {
    LT_LAUNCH_NONE, /* one process by hand */
    LT_LAUNCH_MPI,  /* mpirun, mpiexec, srun --mpi=pmix|pmi2 */
    LT_LAUNCH_SLURM /* srun without MPI: ranks meet over TCP at the first host */
} lt_launcher;

typedef struct lt_group lt_group;
struct lt_watch; /* comm/watch.h */

typedef struct lt_group_ops {
    /* mine (bytes) of each rank -> all (world * bytes) in rank order, on every rank */
    lt_err (*all_gather)(lt_group *g, void *all, const void *mine, size_t bytes);
    /* data (bytes, the same everywhere) of rank `root` replaces everybody's */
    lt_err (*broadcast)(lt_group *g, void *data, size_t bytes, int root);
    /* mine (bytes[rank]) of each rank r -> parts[r] (bytes[r]) on rank 0, where mine and parts[0]
     * differ; parts is NULL elsewhere */
    lt_err (*gather)(lt_group *g, const void *mine, void *const *parts, const uint64_t *bytes);
    void (*close)(lt_group *g); /* frees; waits for nobody when g->failed */
} lt_group_ops;

/* Implementations embed this as their first member. */
struct lt_group {
    const lt_group_ops *ops;
    lt_launcher launcher;
    int rank, world;
    int local_rank, local_world; /* among the ranks of this host, in rank order */
    int n_hosts;
    char host[LT_HOST_NAME_BYTES];
    struct lt_watch *watch; /* hears of each collective; borrowed, NULL: nobody listens */
    atomic_bool failed;     /* set by lt_group_abandon, and by a failed operation of the group */
};

/* Joins the job that the environment describes; a group of one when it describes none.  With a
 * build without MPI, or ranks that cannot meet, the sentence names the command that works. */
LT_MUST_USE lt_err lt_group_open(lt_group **out);
/* The group of this process alone, whatever the environment says. */
lt_group *lt_group_self_new(void);
void lt_group_close(lt_group *g); /* NULL is fine; all ranks together, unless it failed */

/* This rank leaves alone, after an error that the others do not know of, or because they are lost:
 * its waits for them, here and in collectives, end with an error within about a second, and closing
 * waits for nobody (over MPI: no MPI_Finalize).  When the process then exits with a code that is
 * not 0, the launcher ends the other ranks.  Callable from any thread. */
void lt_group_abandon(lt_group *g);

/* From the environment alone, without joining: the launcher, rank and world. */
lt_launcher lt_group_peek(int *rank, int *world);

LT_MUST_USE lt_err lt_group_all_gather(lt_group *g, void *all, const void *mine, size_t bytes);
LT_MUST_USE lt_err lt_group_barrier(lt_group *g);
/* text of rank `root` replaces *text everywhere */
LT_MUST_USE lt_err lt_group_broadcast(lt_group *g, lt_buf *text, int root);
/* all[world] on rank 0 receive everybody's text (release each); untouched elsewhere */
LT_MUST_USE lt_err lt_group_gather(lt_group *g, const lt_buf *mine, lt_buf *all);
/* LT_OK when every rank passes LT_OK.  Else an error on every rank: the first failing rank's code
 * and sentence, led by "rank R (host): " where it is another's.  Takes this thread's record. */
LT_MUST_USE lt_err lt_group_agree(lt_group *g, lt_err mine);

#endif
