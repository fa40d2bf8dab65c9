/* watch_hub.c - members come in, speak a few times a second, and are stopped together. */
#include "comm/watch_hub.h"

#include "base/log.h"
#include "comm/watch_judge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_GUESTS = 1024, N_EVENTS = 64 };

#define LINGER_S 0.5 /* for the members to take the word to stop; Open MPI kills us after 1 s */

/* A connection: a guest until its hello, then the member `rank`. */
typedef struct peer {
    lt_watch_line line;
    int rank; /* -1: guest */
    double since;
    struct peer *next;
} peer;

struct lt_watch_hub {
    int listener; /* -1 when all have joined */
    int epoll, world, n_guests, n_joined;
    uint64_t key;
    double hang_timeout, spoke; /* spoke: when the last beat went out */
    peer *peers;
    lt_watch_member *members; /* by rank */
    bool stopped;
    double stopped_at;
    lt_watch_message welcome;
};

/* A descriptor for each member: the soft limit of 1024 is not meant for this. */
static void raise_file_limit(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

lt_err lt_watch_hub_open(lt_watch_hub **out, int listener, uint64_t key, int world, int pid,
                         double now)
{
    struct epoll_event event = { .events = EPOLLIN };
    lt_watch_hub *h = lt_new0(sizeof *h);

    h->listener = listener;
    h->key = key;
    h->world = world;
    h->members = lt_new_array0((size_t)world, sizeof *h->members);
    for (int i = 0; i < world; i++)
        h->members[i].moved = now;
    h->welcome = lt_watch_message_make(LT_WATCH_WELCOME, key, 0);
    h->welcome.pid = pid;
    gethostname(h->welcome.host, sizeof h->welcome.host - 1);
    raise_file_limit();
    h->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (h->epoll < 0 || epoll_ctl(h->epoll, EPOLL_CTL_ADD, listener, &event) != 0) {
        lt_watch_hub_close(h);
        return lt_fail(LT_EFAULT, "rank 0's supervisor cannot wait for the others: %s",
                       strerror(errno));
    }
    *out = h;
    return LT_OK;
}

static void stop_listening(lt_watch_hub *h)
{
    if (h->listener >= 0)
        close(h->listener);
    h->listener = -1;
}

void lt_watch_hub_close(lt_watch_hub *h)
{
    peer *next;

    if (!h)
        return;
    for (peer *p = h->peers; p; p = next) {
        next = p->next;
        lt_watch_line_close(&p->line);
        free(p);
    }
    stop_listening(h);
    if (h->epoll >= 0)
        close(h->epoll);
    free(h->members);
    free(h);
}

void lt_watch_hub_set_timeout(lt_watch_hub *h, double hang_timeout)
{
    h->hang_timeout = hang_timeout;
}

int lt_watch_hub_fd(const lt_watch_hub *h)
{
    return h->epoll;
}

static void accept_guests(lt_watch_hub *h, double now)
{
    struct epoll_event event = { .events = EPOLLIN };
    peer *p;
    int fd;

    while (h->n_guests < MAX_GUESTS &&
           (fd = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        p = lt_new0(sizeof *p);
        *p = (peer){ .line.fd = fd, .rank = -1, .since = now, .next = h->peers };
        event.data.ptr = p;
        h->peers = p;
        h->n_guests++;
        if (epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
            lt_watch_line_close(&p->line);
    }
}

static void hang_up(lt_watch_hub *h, peer *p, double now)
{
    lt_watch_line_close(&p->line); /* sweep_peers frees it */
    if (p->rank >= 0 && !h->members[p->rank].closed) {
        h->members[p->rank].closed = true;
        h->members[p->rank].heard = now;
    }
}

/* A guest is let in by its key, for a rank that nobody has yet.  After the last of them the port is
 * closed: whoever else comes is a stranger. */
static bool let_in(lt_watch_hub *h, peer *p, const lt_watch_message *m, double now)
{
    lt_watch_member *member = &h->members[m->rank];

    if (m->kind != LT_WATCH_HELLO || member->joined || h->stopped ||
        !lt_watch_line_send(&p->line, &h->welcome))
        return false;
    p->rank = m->rank;
    h->n_guests--;
    member->joined = true;
    member->pid = m->pid;
    memcpy(member->host, m->host, sizeof member->host);
    member->heard = member->moved = now;
    member->place = m->place;
    if (++h->n_joined == h->world)
        stop_listening(h);
    return true;
}

static bool take(lt_watch_hub *h, peer *p, double now)
{
    const lt_watch_message *m = &p->line.in;
    lt_watch_member *member;

    if (!lt_watch_message_ok(m, h->key, h->world))
        return false;
    if (p->rank < 0)
        return let_in(h, p, m, now);
    if (m->rank != p->rank)
        return false;
    member = &h->members[p->rank];
    member->heard = now;
    if (m->kind == LT_WATCH_LEFT || m->place.beats != member->place.beats)
        member->moved = now;
    member->place = m->place;
    member->left = member->left || m->kind == LT_WATCH_LEFT;
    if (m->kind == LT_WATCH_DIED) {
        member->died = true;
        member->status = m->status;
    }
    return true;
}

static void listen_to(lt_watch_hub *h, peer *p, double now)
{
    lt_watch_read got;

    while ((got = lt_watch_line_read(&p->line)) == LT_WATCH_READ_ONE)
        if (!take(h, p, now))
            break;
    if (got != LT_WATCH_READ_NONE)
        hang_up(h, p, now);
}

static void sweep_peers(lt_watch_hub *h, double now)
{
    peer **at = &h->peers, *p;

    while ((p = *at)) {
        if (p->rank < 0 && now - p->since > LT_WATCH_SILENT_S)
            lt_watch_line_close(&p->line);
        if (p->line.fd >= 0) {
            at = &p->next;
            continue;
        }
        h->n_guests -= p->rank < 0;
        *at = p->next;
        free(p);
    }
}

static void tell_all(lt_watch_hub *h, lt_watch_kind kind, int status, double now)
{
    lt_watch_message m = lt_watch_message_make(kind, h->key, 0);

    m.status = status;
    if (h->members[0].joined)
        m.place = h->members[0].place;
    for (peer *p = h->peers; p; p = p->next)
        if (p->rank >= 0 && p->line.fd >= 0 && !lt_watch_line_send(&p->line, &m))
            hang_up(h, p, now);
}

void lt_watch_hub_stop(lt_watch_hub *h, int status, double now)
{
    if (h->stopped)
        return;
    h->stopped = true;
    h->stopped_at = now;
    tell_all(h, LT_WATCH_STOP, status, now);
}

void lt_watch_hub_work(lt_watch_hub *h, double now)
{
    struct epoll_event events[N_EVENTS];
    lt_buf why = { 0 };
    int n = epoll_wait(h->epoll, events, N_EVENTS, 0), status;

    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr)
            listen_to(h, events[i].data.ptr, now);
        else
            accept_guests(h, now);
    }
    if (now - h->spoke >= LT_WATCH_BEAT_S && !h->stopped) {
        h->spoke = now;
        tell_all(h, LT_WATCH_BEAT, 0, now);
    }
    sweep_peers(h, now);
    status = h->stopped ? 0 : lt_watch_judge(h->members, h->world, h->hang_timeout, now, &why);
    if (status) {
        lt_log_error("%s", lt_buf_cstr(&why));
        lt_watch_hub_stop(h, status, now);
    }
    lt_buf_release(&why);
}

static bool has_members(const lt_watch_hub *h)
{
    for (const peer *p = h->peers; p; p = p->next)
        if (p->rank >= 0 && p->line.fd >= 0)
            return true;
    return false;
}

bool lt_watch_hub_cut_off(const lt_watch_hub *h)
{
    return h->stopped && has_members(h);
}

bool lt_watch_hub_done(const lt_watch_hub *h, double now)
{
    bool watched = false;

    for (int i = 0; i < h->world; i++)
        watched = watched || (h->members[i].joined && !h->members[i].left);
    return h->stopped ? !has_members(h) || now - h->stopped_at > LINGER_S : !watched;
}
