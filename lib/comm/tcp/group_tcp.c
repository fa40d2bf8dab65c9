/* comm/tcp/group_tcp.c - the control plane over TCP, for ranks that srun started without MPI.
 *
 * A star: everybody holds one connection, to rank 0, which passes on what is meant for others.  A
 * message is a head {kind, number, bytes} and its bytes; both sides know what comes next, and a
 * head that says something else is an error.  When rank 0 fails, it tells the others why before it
 * goes, so that all of them name the rank that is gone. */
#include "comm/group_parts.h"
#include "comm/tcp/tcp_meet.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef enum kind { ALL_GATHER = 1, BROADCAST, GATHER, FAULT } kind;
static const char *const kind_names[] = { "nothing", "all_gather", "broadcast", "gather", "fault" };

typedef struct head {
    uint32_t kind, number;
    uint64_t bytes;
} head;

typedef struct tcp_group {
    lt_group base;
    uint32_t number; /* of the message under way */
    int *fds;        /* (world): rank 0's to everybody; elsewhere fds[0] only; else -1 */
    char (*hosts)[LT_HOST_NAME_BYTES]; /* (world), filled as fds */
    struct pollfd *polled;             /* (world) */
} tcp_group;

static lt_err gone(const tcp_group *t, int rank, int cause)
{
    const char *why = cause ? strerror(cause) : "";

    return lt_fail(LT_EFAULT, "rank %d (%s) is gone%s%s", rank, t->hosts[rank], cause ? ": " : "",
                   why);
}

static lt_err check_patience(const tcp_group *t)
{
    if (atomic_load(&t->base.failed))
        return lt_fail(LT_EFAULT, "rank %d (%s) waits for the other ranks no longer", t->base.rank,
                       t->base.host);
    return LT_OK;
}

static lt_err send_all(tcp_group *t, int rank, const void *data, size_t n, int flags)
{
    lt_err err = LT_OK;

    for (size_t done = 0; done < n && err == LT_OK;) {
        ssize_t k = send(t->fds[rank], (const char *)data + done, n - done, flags | MSG_NOSIGNAL);

        if (k < 0 && errno != EINTR && errno != EAGAIN)
            return gone(t, rank, errno);
        if (k < 0)
            err = check_patience(t);
        else
            done += (size_t)k;
    }
    return err;
}

static lt_err receive_all(tcp_group *t, int rank, void *data, size_t n)
{
    lt_err err = LT_OK;

    for (size_t done = 0; done < n && err == LT_OK;) {
        ssize_t k = recv(t->fds[rank], (char *)data + done, n - done, 0);

        if (k == 0 || (k < 0 && errno != EINTR && errno != EAGAIN))
            return gone(t, rank, k == 0 ? 0 : errno);
        if (k < 0)
            err = check_patience(t);
        else
            done += (size_t)k;
    }
    return err;
}

static lt_err send_message(tcp_group *t, int rank, kind what, const void *data, uint64_t bytes)
{
    head h = { .kind = what, .number = t->number, .bytes = bytes };
    lt_err err = send_all(t, rank, &h, sizeof h, bytes > 0 ? MSG_MORE : 0);

    return err != LT_OK ? err : send_all(t, rank, data, bytes, 0);
}

static lt_err receive_fault(tcp_group *t, int rank, uint64_t bytes)
{
    char text[LT_ERR_TEXT_BYTES];
    lt_err err;

    if (bytes >= sizeof text)
        return gone(t, rank, 0);
    LT_TRY(err = receive_all(t, rank, text, bytes));
    text[bytes] = '\0';
    err = lt_fail(LT_EFAULT, "%s", text);
fail:
    return err;
}

static lt_err receive_message(tcp_group *t, int rank, kind what, void *data, uint64_t bytes)
{
    head h;
    lt_err err;

    LT_TRY(err = receive_all(t, rank, &h, sizeof h));
    if (h.kind == FAULT)
        return receive_fault(t, rank, h.bytes);
    if (h.kind != what || h.number != t->number || h.bytes != bytes)
        return lt_fail(LT_EFAULT,
                       "rank %d (%s): message %u is %s of %llu bytes, but on rank %d message %u is "
                       "%s of %llu bytes",
                       rank, t->hosts[rank], h.number,
                       kind_names[h.kind < LT_COUNT(kind_names) ? h.kind : 0],
                       (unsigned long long)h.bytes, t->base.rank, t->number, kind_names[what],
                       (unsigned long long)bytes);
    LT_TRY(err = receive_all(t, rank, data, bytes));
fail:
    return err;
}

/* Rank 0: everybody's message in the order of arrival, so that a rank that died is noticed while
 * others still compute. */
static lt_err collect(tcp_group *t, kind what, void *const *parts, const uint64_t *bytes)
{
    const int world = t->base.world;
    int missing = world - 1;
    lt_err err = LT_OK;

    for (int r = 0; r < world; r++)
        t->polled[r] = (struct pollfd){ .fd = r == 0 ? -1 : t->fds[r], .events = POLLIN };
    while (missing > 0) {
        int n_ready = poll(t->polled, (nfds_t)world, 1000);

        if (n_ready < 0 && errno != EINTR)
            return lt_fail(LT_EIO, "poll: %s", strerror(errno));
        if (n_ready <= 0) {
            LT_TRY(err = check_patience(t));
            continue;
        }
        for (int r = 1; r < world; r++) {
            if (t->polled[r].fd < 0 || !t->polled[r].revents)
                continue;
            LT_TRY(err = receive_message(t, r, what, parts[r], bytes[r]));
            t->polled[r].fd = -1;
            missing--;
        }
    }
fail:
    return err;
}

/* Rank 0, after a failure: best effort, nobody is waited for. */
static void tell_fault(tcp_group *t)
{
    const char *text = lt_err_text();
    head h = { .kind = FAULT, .number = t->number, .bytes = strlen(text) };

    for (int r = 1; r < t->base.world; r++)
        if (t->fds[r] >= 0 &&
            send(t->fds[r], &h, sizeof h, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE) == sizeof h)
            (void)!send(t->fds[r], text, h.bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static lt_err finish(tcp_group *t, lt_err err)
{
    if (err != LT_OK && t->base.rank == 0)
        tell_fault(t);
    return err;
}

static lt_err tcp_all_gather(lt_group *g, void *all, const void *mine, size_t bytes)
{
    tcp_group *t = (tcp_group *)g;
    const size_t world = (size_t)g->world;
    void **parts = NULL;
    uint64_t *sizes = NULL;
    lt_err err;

    t->number++;
    if (g->rank > 0) {
        LT_TRY(err = send_message(t, 0, ALL_GATHER, mine, bytes));
        return receive_message(t, 0, ALL_GATHER, all, world * bytes);
    }
    parts = lt_new_array0(world, sizeof *parts);
    sizes = lt_new_array0(world, sizeof *sizes);
    for (size_t r = 0; r < world; r++) {
        parts[r] = (char *)all + r * bytes;
        sizes[r] = bytes;
    }
    memmove(all, mine, bytes);
    LT_TRY(err = collect(t, ALL_GATHER, parts, sizes));
    for (int r = 1; r < g->world; r++)
        LT_TRY(err = send_message(t, r, ALL_GATHER, all, world * bytes));
fail:
    free(parts);
    free(sizes);
    return finish(t, err);
}

static lt_err tcp_broadcast(lt_group *g, void *data, size_t bytes, int root)
{
    tcp_group *t = (tcp_group *)g;
    lt_err err = LT_OK;

    t->number++;
    if (g->rank > 0)
        return g->rank == root ? send_message(t, 0, BROADCAST, data, bytes)
                               : receive_message(t, 0, BROADCAST, data, bytes);
    if (root > 0)
        LT_TRY(err = receive_message(t, root, BROADCAST, data, bytes));
    for (int r = 1; r < g->world; r++)
        if (r != root)
            LT_TRY(err = send_message(t, r, BROADCAST, data, bytes));
fail:
    return finish(t, err);
}

static lt_err tcp_gather(lt_group *g, const void *mine, void *const *parts, const uint64_t *bytes)
{
    tcp_group *t = (tcp_group *)g;

    t->number++;
    if (g->rank > 0)
        return send_message(t, 0, GATHER, mine, bytes[g->rank]);
    if (bytes[0] > 0)
        memcpy(parts[0], mine, bytes[0]);
    return finish(t, collect(t, GATHER, parts, bytes));
}

static void tcp_close(lt_group *g)
{
    tcp_group *t = (tcp_group *)g;

    for (int r = 0; r < g->world; r++)
        if (t->fds[r] >= 0)
            close(t->fds[r]);
    free(t->fds);
    free(t->hosts);
    free(t->polled);
    free(t);
}

static const lt_group_ops tcp_ops = { .all_gather = tcp_all_gather,
                                      .broadcast = tcp_broadcast,
                                      .gather = tcp_gather,
                                      .close = tcp_close };

lt_err lt_group_tcp_open(lt_group **out, const lt_launch *launch, double seconds)
{
    const size_t world = (size_t)launch->world;
    tcp_group *t = lt_new0(sizeof *t);
    lt_err err;

    lt_group_init(&t->base, &tcp_ops, LT_LAUNCH_SLURM, launch->rank, launch->world);
    t->hosts = lt_new_array0(world, sizeof *t->hosts);
    t->polled = lt_new_array0(world, sizeof *t->polled);
    t->fds = lt_new_array0(world, sizeof *t->fds);
    for (size_t r = 0; r < world; r++)
        t->fds[r] = -1;
    if (launch->rank == 0) {
        err = lt_tcp_accept_ranks(t->fds, t->hosts, launch, t->base.host, seconds);
        LT_TRY(err = finish(t, err));
    } else {
        memcpy(t->hosts[0], launch->first_host, sizeof t->hosts[0] - 1);
        LT_TRY(err = lt_tcp_connect_first(&t->fds[0], launch, t->base.host, seconds));
    }
    LT_TRY(err = lt_group_find_hosts(&t->base));
    *out = &t->base;
    return LT_OK;
fail:
    tcp_close(&t->base);
    return err;
}
