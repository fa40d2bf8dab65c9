/* tests/zero/thread_ranks.h - threads of one process as the ranks of a job.
 *
 * Each thread has a CPU device of its own, a group and a communicator over memory that all share:
 * a collective is posted, everybody meets at a barrier, everybody reads what it needs from the
 * others, and they meet again.  Collectives run on the communication streams, so ranks that do not
 * call the same ones in the same order are a bug that is seen.  Checks inside ranks are RANK_CHECK:
 * the first that fails is remembered and the rank goes on, because the others wait for it. */
#ifndef THREAD_RANKS_H
#define THREAD_RANKS_H

#include "base/mem.h"
#include "comm/comm_parts.h"
#include "comm/group_parts.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_RANKS = 8, RANK_TEXT = 512 };

typedef enum rank_call { CALL_REDUCE, CALL_GATHER, CALL_BROADCAST, CALL_GROUP, N_CALLS } rank_call;

typedef struct rank_shared {
    int world;
    pthread_barrier_t comm_meet, host_meet;
    struct {
        rank_call call;
        int root;
        lt_tensor in, out;
    } posted[MAX_RANKS];
    const void *message[MAX_RANKS]; /* of the group */
    void *const *parts;             /* of rank 0 */
    pthread_mutex_t lock;
    char failure[RANK_TEXT];
} rank_shared;

typedef struct rank_comm {
    lt_comm base;
    rank_shared *shared;
    int calls[N_CALLS]; /* enqueued so far */
} rank_comm;

typedef struct rank_group {
    lt_group base;
    rank_shared *shared;
} rank_group;

typedef struct thread_rank {
    rank_shared *shared;
    lt_dev *dev;
    lt_group *group;
    lt_comm *comm;
    int rank, world;
    void (*run)(struct thread_rank *me, void *arg);
    void *arg;
} thread_rank;

static inline void rank_fail(thread_rank *me, const char *file, int line, const char *what)
{
    pthread_mutex_lock(&me->shared->lock);
    if (!me->shared->failure[0])
        snprintf(me->shared->failure, RANK_TEXT, "%s:%d: rank %d of %d: %s", file, line, me->rank,
                 me->world, what);
    pthread_mutex_unlock(&me->shared->lock);
}

#define RANK_CHECK(me, cond)                                                                       \
    do {                                                                                           \
        if (!(cond))                                                                               \
            rank_fail(me, __FILE__, __LINE__, #cond);                                              \
    } while (0)
#define RANK_CHECK_OK(me, call)                                                                    \
    do {                                                                                           \
        if ((call) != LT_OK)                                                                       \
            rank_fail(me, __FILE__, __LINE__, lt_err_text());                                      \
    } while (0)

static inline int rank_calls(const thread_rank *me, rank_call call)
{
    return ((const rank_comm *)me->comm)->calls[call];
}

/* ---- collectives */

typedef struct rank_task {
    rank_comm *comm;
    rank_call call;
    int root;
    lt_tensor in, out;
} rank_task;

static inline void rank_sum_parts(rank_comm *c, lt_tensor out)
{
    const void *parts[MAX_RANKS];

    for (int r = 0; r < c->base.world; r++)
        parts[r] = lt_at(c->shared->posted[r].in, 0, c->base.rank * out.cols);
    lt_rank_sum(out.data, out.dtype, parts, c->base.world, (size_t)out.cols);
}

/* Writes nothing that another rank reads: of a sum in place, the part that only this rank wants. */
static inline void rank_collective(void *context)
{
    const rank_task *t = context;
    rank_comm *c = t->comm;
    rank_shared *s = c->shared;
    int me = c->base.rank, world = c->base.world;

    s->posted[me].call = t->call;
    s->posted[me].root = t->root;
    s->posted[me].in = t->in;
    s->posted[me].out = t->out;
    pthread_barrier_wait(&s->comm_meet);
    for (int r = 0; r < world; r++)
        LT_BUG_ON(s->posted[r].call != t->call || s->posted[r].in.cols != t->in.cols ||
                  s->posted[r].in.dtype != t->in.dtype || s->posted[r].root != t->root);
    if (t->call == CALL_REDUCE)
        rank_sum_parts(c, t->out);
    for (int r = 0; r < world && t->call != CALL_REDUCE; r++) {
        lt_tensor in = s->posted[r].in;
        void *to = t->call == CALL_GATHER ? lt_at(t->out, 0, r * in.cols) : t->out.data;

        if (to != in.data && (t->call == CALL_GATHER || r == t->root))
            memcpy(to, in.data, (size_t)in.cols * lt_dtype_bytes(in.dtype));
    }
    pthread_barrier_wait(&s->comm_meet);
}

static inline void rank_enqueue(lt_comm *comm, rank_call call, lt_tensor out, lt_tensor in,
                                int root)
{
    rank_task t = { (rank_comm *)comm, call, root, in, out };

    t.comm->calls[call]++;
    comm->dev->backend->host_task(comm->dev, LT_STREAM_COMM, rank_collective, &t, sizeof t);
}

static inline void rank_reduce_scatter(lt_comm *comm, lt_tensor out, lt_tensor in)
{
    lt_comm_check_reduce(comm, out, in);
    rank_enqueue(comm, CALL_REDUCE, out, in, 0);
}

static inline void rank_all_gather(lt_comm *comm, lt_tensor out, lt_tensor in)
{
    lt_comm_check_gather(comm, out, in);
    rank_enqueue(comm, CALL_GATHER, out, in, 0);
}

static inline void rank_broadcast(lt_comm *comm, lt_tensor x, int root)
{
    lt_comm_check_broadcast(comm, x, root);
    rank_enqueue(comm, CALL_BROADCAST, x, x, root);
}

static inline void rank_group_begin(lt_comm *comm)
{
    ((rank_comm *)comm)->calls[CALL_GROUP]++;
}

static inline void rank_group_end(lt_comm *comm)
{
    (void)comm;
}

static inline lt_err rank_check(lt_comm *comm)
{
    (void)comm;
    return LT_OK;
}

static inline void rank_comm_close(lt_comm *comm)
{
    (void)lt_dev_sync(comm->dev);
    free(comm);
}

static const lt_comm_ops rank_comm_ops = { .name = "threads",
                                           .reduce_scatter = rank_reduce_scatter,
                                           .all_gather = rank_all_gather,
                                           .broadcast = rank_broadcast,
                                           .group_begin = rank_group_begin,
                                           .group_end = rank_group_end,
                                           .check = rank_check,
                                           .close = rank_comm_close };

/* ---- the group */

static inline const void *const *rank_meet(lt_group *g, const void *mine)
{
    rank_shared *s = ((rank_group *)g)->shared;

    s->message[g->rank] = mine;
    pthread_barrier_wait(&s->host_meet);
    return s->message;
}

static inline lt_err rank_leave(lt_group *g)
{
    pthread_barrier_wait(&((rank_group *)g)->shared->host_meet);
    return LT_OK;
}

static inline lt_err rank_group_all_gather(lt_group *g, void *all, const void *mine, size_t bytes)
{
    const void *const *messages = rank_meet(g, mine);

    for (int r = 0; r < g->world; r++)
        memcpy((char *)all + (size_t)r * bytes, messages[r], bytes);
    return rank_leave(g);
}

static inline lt_err rank_group_broadcast(lt_group *g, void *data, size_t bytes, int root)
{
    const void *const *messages = rank_meet(g, data);

    if (g->rank != root)
        memcpy(data, messages[root], bytes);
    return rank_leave(g);
}

static inline lt_err rank_group_gather(lt_group *g, const void *mine, void *const *parts,
                                       const uint64_t *bytes)
{
    const void *const *messages = rank_meet(g, mine);

    for (int r = 0; parts && r < g->world; r++)
        if (bytes[r])
            memcpy(parts[r], messages[r], bytes[r]);
    return rank_leave(g);
}

static inline void rank_group_close(lt_group *g)
{
    free(g);
}

static const lt_group_ops rank_group_ops = { .all_gather = rank_group_all_gather,
                                             .broadcast = rank_group_broadcast,
                                             .gather = rank_group_gather,
                                             .close = rank_group_close };

/* ---- the job */

static inline void *rank_thread(void *arg)
{
    thread_rank *me = arg;
    rank_comm *comm = lt_new0(sizeof *comm);
    rank_group *group = lt_new0(sizeof *group);

    LT_BUG_ON(lt_dev_open(&me->dev, "cpu", &(lt_dev_options){ .n_threads = 1 }) != LT_OK);
    lt_group_init(&group->base, &rank_group_ops, LT_LAUNCH_NONE, me->rank, me->world);
    group->shared = me->shared;
    me->group = &group->base;
    comm->base = (lt_comm){ &rank_comm_ops, me->dev, me->group, me->rank, me->world };
    comm->shared = me->shared;
    me->comm = &comm->base;
    me->run(me, me->arg);
    me->comm->ops->close(me->comm);
    me->group->ops->close(me->group);
    lt_dev_close(me->dev);
    return NULL;
}

/* Runs `run` as every rank; what went wrong first, "" when nothing did (static). */
static inline const char *thread_ranks_run(int world, void (*run)(thread_rank *me, void *arg),
                                           void *arg)
{
    static char failure[RANK_TEXT];
    rank_shared shared = { .world = world };
    thread_rank ranks[MAX_RANKS];
    pthread_t threads[MAX_RANKS];

    LT_BUG_ON(world > MAX_RANKS);
    pthread_barrier_init(&shared.comm_meet, NULL, (unsigned)world);
    pthread_barrier_init(&shared.host_meet, NULL, (unsigned)world);
    pthread_mutex_init(&shared.lock, NULL);
    for (int r = 0; r < world; r++) {
        ranks[r] =
            (thread_rank){ .shared = &shared, .rank = r, .world = world, .run = run, .arg = arg };
        LT_BUG_ON(pthread_create(&threads[r], NULL, rank_thread, &ranks[r]) != 0);
    }
    for (int r = 0; r < world; r++)
        pthread_join(threads[r], NULL);
    pthread_barrier_destroy(&shared.comm_meet);
    pthread_barrier_destroy(&shared.host_meet);
    pthread_mutex_destroy(&shared.lock);
    memcpy(failure, shared.failure, sizeof failure);
    return failure;
}

#endif
