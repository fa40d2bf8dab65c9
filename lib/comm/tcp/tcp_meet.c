/* comm/tcp/tcp_meet.c - listening, connecting, and the first words.
 *
 * A rank that connects says hello: magic, version, its rank, the world, the job, its host.  Rank 0
 * answers with the magic and a reason to refuse, empty when it is welcome.  Whatever else connects
 * (a scanner, a rank of another job) is refused and logged; who says nothing is not heard of, who
 * says half a hello holds rank 0 up for HELLO_SECONDS.  SLURM's variables hold no secret: this
 * keeps out mistakes, not somebody who means to be a rank.  Numbers travel as they lie in memory:
 * the ranks of a job are one binary. */
#include "comm/tcp/tcp_meet.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char magic[8] = "lt-ranks";
enum { VERSION = 1, HELLO_SECONDS = 2, CONNECT_SECONDS = 5, LISTED = 8, SILENT_SECONDS = 60 };

typedef struct hello {
    char magic[8];
    uint32_t version, rank, world, unused;
    uint64_t job;
    char host[LT_HOST_NAME_BYTES];
} hello;

typedef struct answer {
    char magic[8];
    char refusal[192]; /* "" is a welcome */
} answer;

static void set_option(int fd, int level, int name, int value)
{
    /* None of them decides about right or wrong. */
    if (setsockopt(fd, level, name, &value, sizeof value) != 0)
        lt_log_debug("socket option %d: %s", name, strerror(errno));
}

/* name: SO_RCVTIMEO or SO_SNDTIMEO; 0 seconds: for ever */
static void set_patience(int fd, int name, double seconds)
{
    struct timeval t = { .tv_sec = (time_t)seconds,
                         .tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6) };

    if (setsockopt(fd, SOL_SOCKET, name, &t, sizeof t) != 0)
        lt_log_debug("socket option %d: %s", name, strerror(errno));
}

/* Messages leave at once; a host that fell silent is noticed within 20 seconds.  A rank may compute
 * as long as it likes: who waits for it looks up once a second. */
static void make_peer(int fd)
{
    set_patience(fd, SO_RCVTIMEO, 1);
    set_patience(fd, SO_SNDTIMEO, 1);
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 5);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 20000);
}

/* Exactly n bytes, in the patience of the socket. */
static bool read_exactly(int fd, void *data, size_t n)
{
    return recv(fd, data, n, MSG_WAITALL) == (ssize_t)n;
}

static int milliseconds_left(double deadline)
{
    double left = (deadline - lt_now()) * 1e3;

    return left <= 0 ? 0 : left < 1e6 ? (int)left + 1 : 1000000;
}

/* Of both families where the system has IPv6; -1 with errno. */
static int listen_at(int family, int port)
{
    struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
    struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    bool is_six = family == AF_INET6;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), cause;

    if (fd < 0)
        return -1;
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, SILENT_SECONDS);
    if (is_six)
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (bind(fd, is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four,
             is_six ? sizeof six : sizeof four) == 0 &&
        listen(fd, SOMAXCONN) == 0)
        return fd;
    cause = errno;
    close(fd);
    errno = cause;
    return -1;
}

/* Why this hello is not one of ours; NULL when it is. */
static const char *refusal(const hello *h, const int *fds, const lt_launch *launch)
{
    if (h->version != VERSION)
        return "another version of lt";
    if (h->job != launch->job)
        return "a rank of another job";
    if (h->world != (uint32_t)launch->world)
        return "another number of ranks";
    if (h->rank == 0 || h->rank >= (uint32_t)launch->world)
        return "no rank of this job";
    if (fds[h->rank] >= 0)
        return "this rank is here already";
    return NULL;
}

/* Takes fd over; true when it is a rank we waited for. */
static bool take_in(int fd, int *fds, char (*hosts)[LT_HOST_NAME_BYTES], const lt_launch *launch)
{
    answer a = { .refusal = "" };
    const char *why = "no rank of lt";
    hello h;

    memcpy(a.magic, magic, sizeof magic);
    set_patience(fd, SO_RCVTIMEO, HELLO_SECONDS);
    if (read_exactly(fd, &h, sizeof h) && memcmp(h.magic, magic, sizeof magic) == 0) {
        why = refusal(&h, fds, launch);
        if (why)
            snprintf(a.refusal, sizeof a.refusal, "%s", why);
        if (send(fd, &a, sizeof a, MSG_NOSIGNAL) != (ssize_t)sizeof a && !why)
            why = "it left again";
    }
    if (why) {
        lt_log_warn("rank 0: refused a connection to port %d: %s", launch->port, why);
        close(fd);
        return false;
    }
    make_peer(fd);
    fds[h.rank] = fd;
    h.host[sizeof h.host - 1] = '\0';
    memcpy(hosts[h.rank], h.host, sizeof h.host);
    return true;
}

/* "ranks 2, 3 did not connect to node01:20017 within 60 s" */
static lt_err fail_missing(const int *fds, const lt_launch *launch, const char *own_host,
                           double seconds)
{
    char list[160];
    size_t at = 0;
    int n = 0;

    for (int r = 1; r < launch->world; r++)
        if (fds[r] < 0 && n++ < LISTED)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%d", n > 1 ? ", " : "", r);
    return lt_fail(LT_EFAULT, "rank%s %s%s did not connect to %s:%d within %g s", n > 1 ? "s" : "",
                   list, n > LISTED ? " and others" : "", own_host, launch->port, seconds);
}

lt_err lt_tcp_accept_ranks(int *fds, char (*hosts)[LT_HOST_NAME_BYTES], const lt_launch *launch,
                           const char *own_host, double seconds)
{
    double deadline = lt_now() + seconds;
    int missing = launch->world - 1, listener = listen_at(AF_INET6, launch->port);
    lt_err err = LT_OK;

    if (listener < 0 && errno != EADDRINUSE)
        listener = listen_at(AF_INET, launch->port);
    if (listener < 0)
        return lt_fail(LT_EFAULT,
                       "rank 0 (%s): cannot listen at port %d: %s; LT_PORT chooses another",
                       own_host, launch->port, strerror(errno));
    while (missing > 0) {
        struct pollfd p = { .fd = listener, .events = POLLIN };
        int left = milliseconds_left(deadline), fd;

        if (left == 0)
            LT_TRY(err = fail_missing(fds, launch, own_host, seconds));
        if (poll(&p, 1, left) <= 0)
            continue;
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0 && take_in(fd, fds, hosts, launch))
            missing--;
    }
fail:
    close(listener);
    return err;
}

/* Connects within CONNECT_SECONDS; -1 with errno. */
static int connect_to(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), cause;

    if (fd < 0)
        return -1;
    set_patience(fd, SO_SNDTIMEO, CONNECT_SECONDS); /* counts for a connection, too */
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
        return fd;
    cause = errno == EINPROGRESS ? ETIMEDOUT : errno;
    close(fd);
    errno = cause;
    return -1;
}

/* One attempt: the connection and rank 0's answer in *a, or -1 and *why. */
static int try_first(const lt_launch *launch, const hello *h, double deadline, answer *a,
                     const char **why)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *list, *at;
    char port[16];
    int fd = -1, code;

    snprintf(port, sizeof port, "%d", launch->port);
    code = getaddrinfo(launch->first_host, port, &hints, &list);
    if (code != 0) {
        *why = gai_strerror(code);
        return -1;
    }
    for (at = list; at && fd < 0; at = at->ai_next)
        fd = connect_to(at);
    *why = strerror(errno);
    freeaddrinfo(list);
    if (fd < 0)
        return -1;
    set_patience(fd, SO_RCVTIMEO, (milliseconds_left(deadline) + 1) / 1e3);
    if (send(fd, h, sizeof *h, MSG_NOSIGNAL) == (ssize_t)sizeof *h &&
        read_exactly(fd, a, sizeof *a) && memcmp(a->magic, magic, sizeof magic) == 0)
        return fd;
    *why = "what listens there is no rank of lt";
    close(fd);
    return -1;
}

lt_err lt_tcp_connect_first(int *fd, const lt_launch *launch, const char *own_host, double seconds)
{
    hello h = { .version = VERSION,
                .rank = (uint32_t)launch->rank,
                .world = (uint32_t)launch->world,
                .job = launch->job };
    double deadline = lt_now() + seconds;
    const char *why = "";
    answer a;
    int peer;

    memcpy(h.magic, magic, sizeof magic);
    snprintf(h.host, sizeof h.host, "%s", own_host);
    for (int pause_ms = 20;; pause_ms = pause_ms < 500 ? 2 * pause_ms : pause_ms) {
        int left;

        peer = try_first(launch, &h, deadline, &a, &why);
        left = milliseconds_left(deadline);
        if (peer >= 0)
            break;
        if (left == 0)
            return lt_fail(LT_EFAULT, "rank %d (%s): no rank 0 at %s:%d within %g s: %s",
                           launch->rank, own_host, launch->first_host, launch->port, seconds, why);
        poll(NULL, 0, pause_ms < left ? pause_ms : left);
    }
    a.refusal[sizeof a.refusal - 1] = '\0';
    if (a.refusal[0]) {
        close(peer);
        return lt_fail(LT_EFAULT, "rank %d (%s): rank 0 at %s:%d refused it: %s", launch->rank,
                       own_host, launch->first_host, launch->port, a.refusal);
    }
    make_peer(peer);
    *fd = peer;
    return LT_OK;
}
