/* comm/mpi/comm_mpi.c - collectives among CPU ranks.
 *
 * Each is a task of LT_STREAM_COMM, so one thread makes all calls to these communicators, in the
 * order in which the plan enqueued them.  reduce_scatter is ours: every rank sends every other its
 * part, a piece at a time, and sums what it received in the order of the ranks, while the next
 * piece is under way.  Scratch for two pieces is taken when the communicator is opened.
 *
 * The first failure is kept under a lock and ends all later work.  A failure of MPI also abandons
 * the group, because MPI_Finalize could wait for ever. */
#include "comm/call_mark.h"
#include "comm/comm_parts.h"
#include "comm/mpi/mpi_parts.h"
#include "comm/watch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    SCRATCH_BYTES = 4 << 20, /* of one set of pieces, about */
    PIECE_MIN = 64 << 10,
    PIECE_MAX = 1 << 20,
    MESSAGE_BYTES = 1 << 30, /* MPI counts in int */
    TAG_PIECE = 1,
    TAG_GATHER = 2
};

typedef struct mpi_comm {
    lt_comm base;
    MPI_Comm data;
    MPI_Comm marks; /* debug only */
    size_t piece_bytes, message_bytes;
    char *scratch;         /* (2, world, piece_bytes), each aligned for floats */
    MPI_Request *requests; /* (2, 2 * (world - 1)) */
    MPI_Status *statuses;  /* (2 * (world - 1)) */
    const void **parts;    /* (world) of a sum */

    int64_t n_calls;
    lt_call_mark *all_marks;           /* (world); NULL unless debug */
    char (*hosts)[LT_HOST_NAME_BYTES]; /* (world); NULL unless debug */

    pthread_mutex_t lock;
    lt_err_record fault; /* under lock; code LT_OK: none */
} mpi_comm;

/* A task of the communication stream. */
typedef struct mpi_call {
    mpi_comm *m;
    lt_call_kind kind;
    int root;
    lt_tensor out, in;
} mpi_call;

static mpi_comm *mpi_of(lt_comm *comm)
{
    return (mpi_comm *)comm;
}

/* Asks every rank for elements [first, first + n) of part `rank`, and sends every other its own. */
static lt_err post_pieces(mpi_comm *m, const mpi_call *q, int set, int64_t first, int64_t n)
{
    const int rank = m->base.rank, world = m->base.world;
    const size_t size = lt_dtype_bytes(q->in.dtype);
    MPI_Request *requests = m->requests + set * 2 * (world - 1);
    lt_err err = LT_OK;

    /* Neighbours first: no rank is everybody's first target. */
    for (int d = 1; d < world; d++) {
        int from = (rank - d + world) % world, to = (rank + d) % world;
        char *piece = m->scratch + (size_t)(set * world + from) * m->piece_bytes;

        LT_TRY(err = lt_mpi_check(MPI_Irecv(piece, (int)((size_t)n * size), MPI_BYTE, from,
                                            TAG_PIECE, m->data, requests++),
                                  "MPI_Irecv"));
        LT_TRY(err = lt_mpi_check(MPI_Isend(lt_at(q->in, 0, to * q->out.cols + first),
                                            (int)((size_t)n * size), MPI_BYTE, to, TAG_PIECE,
                                            m->data, requests++),
                                  "MPI_Isend"));
    }
fail:
    return err;
}

/* Waits for a posted set and sums it.  Own elements are read and written here only, so out may be
 * their place in the input. */
static lt_err sum_pieces(mpi_comm *m, const mpi_call *q, int set, int64_t first, int64_t n)
{
    const int rank = m->base.rank, world = m->base.world, n_requests = 2 * (world - 1);
    lt_err err;

    LT_TRY(err =
               lt_mpi_wait(m->base.group, m->requests + set * n_requests, m->statuses, n_requests));
    for (int r = 0; r < world; r++)
        m->parts[r] = m->scratch + (size_t)(set * world + r) * m->piece_bytes;
    m->parts[rank] = lt_at(q->in, 0, rank * q->out.cols + first);
    lt_rank_sum(lt_at(q->out, 0, first), q->out.dtype, m->parts, world, (size_t)n);
fail:
    return err;
}

static lt_err reduce_scatter(mpi_comm *m, const mpi_call *q)
{
    const int64_t n = q->out.cols;
    const int64_t piece = (int64_t)(m->piece_bytes / lt_dtype_bytes(q->in.dtype));
    int set = 0;
    lt_err err;

    LT_TRY(err = post_pieces(m, q, set, 0, n < piece ? n : piece));
    for (int64_t first = 0; first < n; first += piece, set = !set) {
        int64_t next = first + piece;

        if (next < n)
            LT_TRY(err = post_pieces(m, q, !set, next, n - next < piece ? n - next : piece));
        LT_TRY(err = sum_pieces(m, q, set, first, next < n ? piece : n - first));
    }
fail:
    return err;
}

/* Bytes [first, first + n) of this rank's part to everybody, and of everybody's part to here. */
static lt_err exchange_range(mpi_comm *m, const mpi_call *q, size_t first, int n)
{
    const int rank = m->base.rank, world = m->base.world;
    const size_t part_bytes = (size_t)q->in.cols * lt_dtype_bytes(q->in.dtype);
    MPI_Request *requests = m->requests;
    lt_err err;

    for (int d = 1; d < world; d++) {
        int from = (rank - d + world) % world, to = (rank + d) % world;

        LT_TRY(err = lt_mpi_check(MPI_Irecv((char *)q->out.data + (size_t)from * part_bytes + first,
                                            n, MPI_BYTE, from, TAG_GATHER, m->data, requests++),
                                  "MPI_Irecv"));
        LT_TRY(err = lt_mpi_check(MPI_Isend((const char *)q->in.data + first, n, MPI_BYTE, to,
                                            TAG_GATHER, m->data, requests++),
                                  "MPI_Isend"));
    }
    LT_TRY(err = lt_mpi_wait(m->base.group, m->requests, m->statuses, 2 * (world - 1)));
fail:
    return err;
}

static int message(const mpi_comm *m, size_t bytes, size_t done)
{
    return (int)(bytes - done < m->message_bytes ? bytes - done : m->message_bytes);
}

static lt_err all_gather(mpi_comm *m, const mpi_call *q)
{
    const size_t bytes = (size_t)q->in.cols * lt_dtype_bytes(q->in.dtype);
    lt_err err = LT_OK;

    if (!lt_comm_is_in_place(&m->base, q->out, q->in))
        memcpy((char *)q->out.data + (size_t)m->base.rank * bytes, q->in.data, bytes);
    for (size_t done = 0; done < bytes && err == LT_OK; done += m->message_bytes)
        err = exchange_range(m, q, done, message(m, bytes, done));
    return err;
}

static lt_err broadcast(mpi_comm *m, const mpi_call *q)
{
    const size_t bytes = (size_t)q->in.cols * lt_dtype_bytes(q->in.dtype);
    lt_err err = LT_OK;

    for (size_t done = 0; done < bytes; done += m->message_bytes) {
        LT_TRY(err = lt_mpi_check(MPI_Ibcast((char *)q->in.data + done, message(m, bytes, done),
                                             MPI_BYTE, q->root, m->data, m->requests),
                                  "MPI_Ibcast"));
        LT_TRY(err = lt_mpi_wait(m->base.group, m->requests, m->statuses, 1));
    }
fail:
    return err;
}

/* Every rank finds the same difference, so all of them stop before the collective. */
static lt_err compare_marks(mpi_comm *m, const mpi_call *q)
{
    lt_call_mark mine = lt_call_mark_of(m->n_calls, q->kind, q->in, q->root);
    lt_err err;

    LT_TRY(err = lt_mpi_check(MPI_Iallgather(&mine, sizeof mine, MPI_BYTE, m->all_marks,
                                             sizeof mine, MPI_BYTE, m->marks, m->requests),
                              "MPI_Iallgather"));
    LT_TRY(err = lt_mpi_wait(m->base.group, m->requests, m->statuses, 1));
    return lt_call_marks_compare(m->all_marks, m->hosts, m->base.world);
fail:
    lt_group_abandon(m->base.group);
    return err;
}

static lt_err run_collective(mpi_comm *m, const mpi_call *q)
{
    lt_err err = LT_OK;

    lt_watch_collective(m->base.group->watch);
    if (q->kind == LT_CALL_REDUCE_SCATTER)
        err = reduce_scatter(m, q);
    else if (q->kind == LT_CALL_ALL_GATHER)
        err = all_gather(m, q);
    else
        err = broadcast(m, q);
    if (err != LT_OK) {
        lt_group_abandon(m->base.group);
        err = lt_fail_in("rank %d (%s): call %lld: %s of %lld %s", m->base.rank,
                         m->base.group->host, (long long)m->n_calls, lt_call_name(q->kind),
                         (long long)q->in.cols, lt_dtype_name(q->in.dtype));
    }
    return err;
}

static bool has_failed(mpi_comm *m)
{
    bool failed;

    pthread_mutex_lock(&m->lock);
    failed = m->fault.code != LT_OK;
    pthread_mutex_unlock(&m->lock);
    return failed;
}

/* On the communication thread. */
static void run_call(void *context)
{
    const mpi_call *q = context;
    mpi_comm *m = q->m;
    lt_err err = LT_OK;

    if (has_failed(m))
        return;
    m->n_calls++;
    if (m->all_marks)
        err = compare_marks(m, q);
    if (err == LT_OK && q->in.cols > 0 && q->out.cols > 0)
        err = run_collective(m, q);
    if (err != LT_OK) {
        pthread_mutex_lock(&m->lock);
        lt_err_take(&m->fault);
        pthread_mutex_unlock(&m->lock);
    }
}

static void enqueue(const mpi_call *q)
{
    lt_dev *dev = q->m->base.dev;

    dev->backend->host_task(dev, LT_STREAM_COMM, run_call, q, sizeof *q);
}

static void mpi_reduce_scatter(lt_comm *comm, lt_tensor out, lt_tensor in)
{
    lt_comm_check_reduce(comm, out, in);
    enqueue(&(mpi_call){ .m = mpi_of(comm), .kind = LT_CALL_REDUCE_SCATTER, .out = out, .in = in });
}

static void mpi_all_gather(lt_comm *comm, lt_tensor out, lt_tensor in)
{
    lt_comm_check_gather(comm, out, in);
    enqueue(&(mpi_call){ .m = mpi_of(comm), .kind = LT_CALL_ALL_GATHER, .out = out, .in = in });
}

static void mpi_broadcast(lt_comm *comm, lt_tensor x, int root)
{
    lt_comm_check_broadcast(comm, x, root);
    enqueue(&(mpi_call){
        .m = mpi_of(comm), .kind = LT_CALL_BROADCAST, .root = root, .out = x, .in = x });
}

static void mpi_group(lt_comm *comm)
{
    (void)comm; /* tasks cost nothing to launch */
}

static lt_err mpi_check(lt_comm *comm)
{
    mpi_comm *m = mpi_of(comm);
    lt_err err = LT_OK;

    pthread_mutex_lock(&m->lock);
    if (m->fault.code != LT_OK)
        err = lt_err_give(&m->fault);
    pthread_mutex_unlock(&m->lock);
    return err;
}

static void release(mpi_comm *m)
{
    pthread_mutex_destroy(&m->lock);
    free(m->scratch);
    free(m->requests);
    free(m->statuses);
    free(m->parts);
    free(m->all_marks);
    free(m->hosts);
    free(m);
}

/* Waits of an abandoned group end by themselves.  What they waited for may still be written to: it
 * is left alone for the little while until the process ends. */
static void mpi_close(lt_comm *comm)
{
    mpi_comm *m = mpi_of(comm);

    (void)lt_dev_sync(comm->dev);
    if (atomic_load(&comm->group->failed))
        return;
    MPI_Comm_free(&m->data);
    if (m->all_marks)
        MPI_Comm_free(&m->marks);
    release(m);
}

static const lt_comm_ops mpi_ops = { .name = "mpi",
                                     .reduce_scatter = mpi_reduce_scatter,
                                     .all_gather = mpi_all_gather,
                                     .broadcast = mpi_broadcast,
                                     .group_begin = mpi_group,
                                     .group_end = mpi_group,
                                     .check = mpi_check,
                                     .close = mpi_close };

static lt_err prepare_debug(mpi_comm *m)
{
    lt_group *g = m->base.group;

    m->all_marks = lt_new_array0((size_t)g->world, sizeof *m->all_marks);
    m->hosts = lt_new_array0((size_t)g->world, sizeof *m->hosts);
    return lt_group_all_gather(g, m->hosts, g->host, sizeof *m->hosts);
}

lt_err lt_comm_mpi_open_sized(lt_comm **out, lt_dev *dev, lt_group *group, bool debug,
                              size_t piece_bytes, size_t message_bytes)
{
    const size_t world = (size_t)group->world;
    mpi_comm *m = lt_new0(sizeof *m);
    lt_err err;

    LT_BUG_ON(group->launcher != LT_LAUNCH_MPI || !dev->backend->host_task);
    LT_BUG_ON(piece_bytes < 8 || piece_bytes % sizeof(float) || piece_bytes > MESSAGE_BYTES ||
              message_bytes < 1 || message_bytes > MESSAGE_BYTES);
    m->base = (lt_comm){
        .ops = &mpi_ops, .dev = dev, .group = group, .rank = group->rank, .world = group->world
    };
    m->piece_bytes = piece_bytes;
    m->message_bytes = message_bytes;
    pthread_mutex_init(&m->lock, NULL);
    m->requests = lt_new_array0(4 * (world - 1), sizeof *m->requests);
    m->statuses = lt_new_array0(2 * (world - 1), sizeof *m->statuses);
    m->parts = lt_new_array0(world, sizeof *m->parts);
    err = lt_alloc_array(&m->scratch, 2 * world, piece_bytes, "pieces of a sum over ranks");
    LT_TRY(err = lt_group_agree(group, err));
    if (debug)
        LT_TRY(err = prepare_debug(m));
    LT_TRY(err = lt_mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &m->data), "MPI_Comm_dup"));
    if (debug)
        LT_TRY(err = lt_mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &m->marks), "MPI_Comm_dup"));
    *out = &m->base;
    return LT_OK;
fail:
    release(m);
    return err;
}

lt_err lt_comm_mpi_open(lt_comm **out, lt_dev *dev, lt_group *group, bool debug)
{
    size_t piece = SCRATCH_BYTES / (size_t)group->world;

    piece = piece < PIECE_MIN ? PIECE_MIN : piece > PIECE_MAX ? PIECE_MAX : piece / 64 * 64;
    return lt_comm_mpi_open_sized(out, dev, group, debug, piece, MESSAGE_BYTES);
}
