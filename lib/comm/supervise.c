/* supervise.c - the supervisor's loop: its rank, its launcher, the hub, in rank 0 the hub itself.
 *
 * One thread, nothing that blocks.  Time is counted by ticks of at most two seconds, so a job that
 * is suspended as a whole does not find its past silence an alarm when it goes on. */
#include "comm/supervise.h"

#include "base/clock.h"
#include "base/log.h"
#include "comm/process.h"
#include "comm/watch_hub.h"
#include "comm/watch_judge.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TICK_MS = 250, KILL_TRIES = 500 };

#define MAX_TICK_S 2.0
#define ANSWER_S   3.0 /* for the hub to take the word of a death */
#define SPEAK_S    2.0 /* for rank 0's supervisor, of several with one thing to say */
#define HAND_ON_MS 500 /* for the launcher's daemon to take down what this host said last */

typedef struct supervisor {
    int rank;
    pid_t child, launcher;
    bool alive, joined, left;
    bool deaf;   /* the rank has closed the channel */
    bool over;   /* the job is ended, and with it the child */
    int verdict; /* our exit status then */
    int status;  /* of the child, as of waitpid */
    int handed;  /* the last signal that went on to it */
    lt_watch_page *page;
    int channel, signals; /* from the rank; a signalfd */
    lt_watch_line line;   /* to the hub */
    lt_watch_rank me;
    lt_watch_member first; /* rank 0, as its supervisor, the hub, tells of it */
    uint64_t key;
    double alone_for; /* seconds that the rank may be, before it joined and after it left; 0: any */
    double alone_since; /* when that began */
    bool cut_off; /* silence ended the job: our launcher may wait for ever for its other half */
    lt_watch_hub *hub; /* rank 0 */
    double clock, now; /* clock: the real one at the last tick; now: ours */
    double spoke, died_at;
} supervisor;

static const int handed_on[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2 };

static void fill_set(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < LT_COUNT(handed_on); i++)
        sigaddset(set, handed_on[i]);
    sigaddset(set, SIGTSTP);
    sigaddset(set, SIGCHLD);
}

/* ---- the rank's process */

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static lt_watch_place read_place(const supervisor *s)
{
    uint64_t ns[LT_WATCH_STEP_TIMES];
    lt_watch_page *p = s->page;
    lt_watch_place place = { .step = atomic_load(&p->step),
                             .beats = atomic_load(&p->beats),
                             .collectives = atomic_load(&p->collectives),
                             .n_steps = atomic_load(&p->n_steps),
                             .phase = atomic_load(&p->phase),
                             .state = s->alive ? lt_process_state(s->child) : 'X' };
    size_t n = place.n_steps < LT_WATCH_STEP_TIMES ? (size_t)place.n_steps : LT_WATCH_STEP_TIMES;

    for (size_t i = 0; i < n; i++)
        ns[i] = atomic_load(&p->step_ns[i]);
    qsort(ns, n, sizeof *ns, compare_u64);
    place.step_s = n ? 1e-9 * (double)ns[n / 2] : 0;
    return place;
}

static void reap(supervisor *s)
{
    if (s->alive && waitpid(s->child, &s->status, WNOHANG) == s->child) {
        s->alive = false;
        s->died_at = s->now;
    }
}

/* Kills the rank and whatever it has started.  A process in the middle of a dead disk's write
 * cannot be waited for: five seconds, then it is left to its parent-death signal. */
static void end_rank(supervisor *s, int verdict)
{
    s->over = true;
    s->verdict = verdict;
    if (s->alive)
        kill(-s->child, SIGKILL);
    for (int i = 0; s->alive && i < KILL_TRIES; i++) {
        reap(s);
        if (s->alive)
            poll(NULL, 0, 10);
    }
    s->alive = false;
    lt_watch_line_close(&s->line);
    if (s->hub)
        lt_watch_hub_stop(s->hub, verdict, s->now);
}

/* ---- to and from the hub */

static void say(supervisor *s, lt_watch_kind kind)
{
    lt_watch_message m = lt_watch_message_make(kind, s->key, s->rank);

    m.status = s->status;
    m.place = read_place(s);
    s->spoke = s->now;
    lt_watch_line_send(&s->line, &m); /* a failure shows when the line is read */
}

static lt_watch_member know_myself(const supervisor *s)
{
    lt_watch_member m = {
        .pid = s->child, .left = s->left, .status = s->status, .place = read_place(s)
    };

    memcpy(m.host, s->me.host, sizeof m.host);
    return m;
}

static void tell_own_end(const supervisor *s)
{
    lt_watch_member own = know_myself(s);
    lt_buf why = { 0 };

    lt_watch_tell_end(&why, s->rank, &own);
    lt_log_error("%s", lt_buf_cstr(&why));
    lt_buf_release(&why);
}

static void tell_lost_hub(const supervisor *s)
{
    lt_watch_member own = know_myself(s);
    lt_buf why = { 0 };

    lt_watch_tell_lost(&why, 0, &s->first, s->rank, &own, s->now);
    lt_log_error("%s", lt_buf_cstr(&why));
    lt_buf_release(&why);
}

/* Nobody else minds the rank before it joins and after it leaves, and it may wait for ever for
 * those that cannot be reached; so may mpirun.  Where none has joined, rank 0's supervisor tells,
 * first. */
static void mind_alone(supervisor *s)
{
    double seconds = s->now - s->alone_since;
    lt_watch_member own;
    lt_buf why = { 0 };

    if (!s->alive || s->alone_for <= 0 || (s->joined && !s->left) ||
        seconds <= s->alone_for + (s->rank > 0 ? SPEAK_S : 0))
        return;
    if (s->rank == 0 || s->left) {
        own = know_myself(s);
        lt_watch_tell_alone(&why, s->rank, &own, seconds);
        lt_log_error("%s", lt_buf_cstr(&why));
        lt_buf_release(&why);
    }
    s->cut_off = true;
    end_rank(s, 1);
}

/* Once a host, not once a rank: rank 1 speaks for the host of rank 0. */
static void lose_hub(supervisor *s)
{
    if (!s->alive)
        tell_own_end(s);
    else if (s->rank == 1 || (s->rank > 1 && s->me.local_rank == 0))
        tell_lost_hub(s);
    end_rank(s, 1);
}

static void hear_hub(supervisor *s)
{
    lt_watch_read got;

    if (s->line.fd < 0)
        return;
    while ((got = lt_watch_line_read(&s->line)) == LT_WATCH_READ_ONE) {
        if (!lt_watch_message_ok(&s->line.in, s->key, 1)) {
            got = LT_WATCH_READ_END;
            break;
        }
        s->first.heard = s->now;
        s->first.place = s->line.in.place;
        if (s->line.in.kind == LT_WATCH_STOP) {
            end_rank(s, s->line.in.status);
            return;
        }
    }
    s->first.closed = got == LT_WATCH_READ_END;
    s->cut_off = !s->first.closed && s->now - s->first.heard > LT_WATCH_SILENT_S;
    if (s->first.closed || s->cut_off)
        lose_hub(s);
}

/* ---- from the rank */

static void join(supervisor *s, const lt_control *c, int fd)
{
    s->joined = true;
    s->me = c->me;
    s->rank = c->me.rank;
    s->key = c->key;
    s->first.heard = s->now;
    s->first.pid = c->hub_pid;
    memcpy(s->first.host, c->hub_host, sizeof s->first.host);
    s->line = (lt_watch_line){ .fd = fd };
    if (s->hub)
        lt_watch_hub_set_timeout(s->hub, c->hang_timeout);
    say(s, LT_WATCH_BEAT);
}

static void hear_rank(supervisor *s)
{
    lt_control c;
    int fd;

    while (lt_control_receive(s->channel, &c, &fd)) {
        if (c.kind == LT_CONTROL_MEET) {
            s->alone_for = LT_WATCH_SLOW_FACTOR * c.hang_timeout;
            s->alone_since = s->now;
        } else if (c.kind == LT_CONTROL_HUB && fd >= 0 && !s->hub) {
            if (lt_watch_hub_open(&s->hub, fd, c.key, c.me.world, s->child, s->now) != LT_OK)
                lt_log_error("%s", lt_err_text());
        } else if (c.kind == LT_CONTROL_JOIN && fd >= 0 && !s->joined) {
            join(s, &c, fd);
        } else if (c.kind == LT_CONTROL_LEAVE && s->joined && !s->left && !s->over) {
            say(s, LT_WATCH_LEFT);
            lt_watch_line_close(&s->line);
            s->left = true;
            s->alone_since = s->now;
        } else if (fd >= 0) {
            close(fd);
        }
    }
}

/* ---- from the launcher */

/* Ctrl-Z: both stop, both go on. */
static void suspend(supervisor *s)
{
    kill(-s->child, SIGSTOP);
    raise(SIGSTOP);
    kill(-s->child, SIGCONT);
}

static void hear_signals(supervisor *s)
{
    struct signalfd_siginfo info;

    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD || !s->alive)
            continue;
        if (info.ssi_signo == SIGTSTP)
            suspend(s);
        else
            kill(s->child, s->handed = (int)info.ssi_signo);
    }
}

/* Open MPI 4 does not notice a host that has fallen silent: mpirun would wait for its daemon there,
 * and the daemon for mpirun.  SIGTERM makes it wait too, or crash. */
static void end_launcher(const supervisor *s)
{
    if (s->me.local_rank != 0)
        return;
    if (s->cut_off)
        poll(NULL, 0, HAND_ON_MS);
    if (getppid() == s->launcher)
        lt_process_end_mpirun(s->launcher);
}

/* ---- the loop */

static void wait_for_news(supervisor *s)
{
    struct pollfd fds[] = { { .fd = s->signals, .events = POLLIN },
                            { .fd = s->deaf ? -1 : s->channel, .events = POLLIN },
                            { .fd = s->line.fd, .events = POLLIN },
                            { .fd = s->hub ? lt_watch_hub_fd(s->hub) : -1, .events = POLLIN } };
    double clock, passed;

    poll(fds, LT_COUNT(fds), TICK_MS);
    s->deaf = s->deaf || (fds[1].revents & POLLHUP);
    clock = lt_now();
    passed = clock - s->clock;
    s->clock = clock;
    s->now += passed < MAX_TICK_S ? passed : MAX_TICK_S;
}

/* What the end of the rank means: alone it is its own affair, in the job it is everybody's. */
static void after_death(supervisor *s, bool first)
{
    if (s->joined && !s->left) {
        s->cut_off = s->now - s->died_at > ANSWER_S;
        if (first)
            say(s, LT_WATCH_DIED);
        else if (s->cut_off)
            lose_hub(s);
        return;
    }
    if (first && WIFSIGNALED(s->status) && WTERMSIG(s->status) != s->handed)
        tell_own_end(s);
    if (first && s->hub && !s->left)
        lt_watch_hub_stop(s->hub, 1, s->now);
}

static bool is_done(const supervisor *s)
{
    if (s->hub && !lt_watch_hub_done(s->hub, s->now))
        return false;
    return !s->alive && (s->over || s->left || !s->joined);
}

static int watch_rank(supervisor *s)
{
    bool was_alive = true;

    while (!is_done(s)) {
        wait_for_news(s);
        hear_signals(s);
        hear_rank(s);
        reap(s);
        hear_rank(s); /* its last words came before its end */
        if (!s->over && !s->alive) {
            after_death(s, was_alive);
            was_alive = false;
        }
        if (s->line.fd >= 0 && s->alive && s->now - s->spoke >= LT_WATCH_BEAT_S)
            say(s, LT_WATCH_BEAT);
        if (s->hub)
            lt_watch_hub_work(s->hub, s->now);
        hear_hub(s);
        mind_alone(s);
        if (getppid() != s->launcher && !s->over) {
            if (s->rank == 0)
                lt_log_error("the launcher (pid %d) is gone; its ranks end", (int)s->launcher);
            end_rank(s, 1);
        }
    }
    if (s->over && (s->cut_off || (s->hub && lt_watch_hub_cut_off(s->hub))))
        end_launcher(s);
    if (s->over)
        return s->verdict;
    return WIFSIGNALED(s->status) ? 128 + WTERMSIG(s->status) : WEXITSTATUS(s->status);
}

/* ---- the start */

static void become_rank(lt_watch *w, pid_t parent, const sigset_t *mask)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it ended before the line above */
        _exit(1);
    setpgid(0, 0);
    sigprocmask(SIG_SETMASK, mask, NULL);
    lt_watch_phase(w, 0, LT_PHASE_START);
}

static int become_supervisor(supervisor *s)
{
    int status;

    setpgid(s->child, s->child); /* whoever is first: a signal to the group must not miss it */
    s->clock = s->now = lt_now();
    status = watch_rank(s);
    lt_watch_hub_close(s->hub);
    lt_watch_line_close(&s->line);
    close(s->channel);
    close(s->signals);
    munmap(s->page, sizeof *s->page);
    return status;
}

lt_err lt_supervise_start(lt_watch **out, int rank, int *status)
{
    supervisor s = { .rank = rank, .alive = true, .signals = -1, .line.fd = -1 };
    pid_t self = getpid();
    int ends[2] = { -1, -1 };
    sigset_t set, before;
    lt_watch *w;

    s.launcher = getppid();
    gethostname(s.me.host, sizeof s.me.host - 1); /* until the rank has joined */
    fill_set(&set);
    s.page = mmap(NULL, sizeof *s.page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s.page == MAP_FAILED || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0 ||
        (s.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        return lt_fail(LT_EFAULT, "rank %d cannot be given a supervisor: %s", rank,
                       strerror(errno));
    w = lt_new0(sizeof *w);
    *w = (lt_watch){ .page = s.page, .channel = ends[0] };
    s.channel = ends[1];
    sigprocmask(SIG_BLOCK, &set, &before); /* none is lost, none ends the supervisor */
    s.child = fork();
    if (s.child == 0) {
        close(s.signals);
        close(s.channel);
        become_rank(w, self, &before);
        *out = w;
        return LT_OK;
    }
    if (s.child < 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        return lt_fail(LT_EFAULT, "rank %d cannot be given a supervisor: %s", rank,
                       strerror(errno));
    }
    close(ends[0]);
    free(w);
    *out = NULL;
    *status = become_supervisor(&s);
    return LT_OK;
}
