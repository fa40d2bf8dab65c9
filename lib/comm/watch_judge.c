/* watch_judge.c - dead, silent, or holding the others up. */
#include "comm/watch_judge.h"

#include <inttypes.h>
#include <string.h>
#include <sys/wait.h>

/* A supervisor that hangs up may be about to tell why through another's report: wait this long. */
#define CLOSED_S 0.5

enum { FIRST_STEPS = 3, STEP_FACTOR = 10 };

static void tell_who(lt_buf *out, int rank, const lt_watch_member *m)
{
    if (m->host[0])
        lt_buf_printf(out, "rank %d (%.*s, pid %d)", rank, LT_WATCH_HOST_BYTES - 1, m->host,
                      m->pid);
    else
        lt_buf_printf(out, "rank %d (pid %d)", rank, m->pid);
}

static void tell_place(lt_buf *out, const lt_watch_place *p)
{
    lt_buf_printf(out, "step %" PRIu64 ", phase %s", p->step, lt_phase_name((lt_phase)p->phase));
    if (p->collectives)
        lt_buf_printf(out, ", collective %" PRIu64, p->collectives);
}

void lt_watch_tell_end(lt_buf *out, int rank, const lt_watch_member *m)
{
    int number = WIFSIGNALED(m->status) ? WTERMSIG(m->status) : 0;

    tell_who(out, rank, m);
    if (number)
        lt_buf_printf(out, " died: signal %d (%s)", number, strsignal(number));
    else
        lt_buf_printf(out, " ended with status %d", WEXITSTATUS(m->status));
    lt_buf_printf(out, "; last ");
    tell_place(out, &m->place);
}

void lt_watch_tell_alone(lt_buf *out, int rank, const lt_watch_member *m, double seconds)
{
    tell_who(out, rank, m);
    if (m->left)
        lt_buf_printf(out, " has left the others and not ended for %.0f s", seconds);
    else
        lt_buf_printf(out,
                      " has waited %.0f s for the others to start: one is missing, or the network "
                      "between the hosts is cut",
                      seconds);
}

void lt_watch_tell_lost(lt_buf *out, int lost, const lt_watch_member *m, int here,
                        const lt_watch_member *own, double now)
{
    lt_buf_printf(out, "lost contact with ");
    tell_who(out, lost, m);
    if (m->closed)
        lt_buf_printf(out, ": its supervisor is gone; last heard at ");
    else
        lt_buf_printf(out, ": not heard of for %.0f s; last heard at ", now - m->heard);
    tell_place(out, &m->place);
    lt_buf_printf(out, "; ");
    tell_who(out, here, own);
    lt_buf_printf(out, " is at ");
    tell_place(out, &own->place);
}

static bool is_slow(lt_phase phase)
{
    return phase == LT_PHASE_START || phase == LT_PHASE_LOAD || phase == LT_PHASE_TUNE ||
           phase >= LT_PHASE_EVALUATE;
}

/* How long no rank may move, by what the ranks that are still there do. */
static double patience(const lt_watch_member *members, int world, double hang_timeout)
{
    double most = hang_timeout;
    bool slow = false;

    for (int i = 0; i < world; i++) {
        const lt_watch_member *m = &members[i];

        if (m->left)
            continue;
        slow = slow || !m->joined || m->place.n_steps < FIRST_STEPS ||
               is_slow((lt_phase)m->place.phase);
        if (STEP_FACTOR * m->place.step_s > most)
            most = STEP_FACTOR * m->place.step_s;
    }
    if (slow && LT_WATCH_SLOW_FACTOR * hang_timeout > most)
        most = LT_WATCH_SLOW_FACTOR * hang_timeout;
    return most;
}

static bool is_stopped(const lt_watch_member *m)
{
    return m->place.state == 'T' || m->place.state == 't';
}

/* Is a further behind than b?  The first difference decides. */
static bool is_behind(const lt_watch_member *a, const lt_watch_member *b)
{
    if (a->joined != b->joined)
        return !a->joined;
    if (is_stopped(a) != is_stopped(b))
        return is_stopped(a);
    if (a->place.step != b->place.step)
        return a->place.step < b->place.step;
    if (a->place.collectives != b->place.collectives)
        return a->place.collectives < b->place.collectives;
    if (a->place.phase != b->place.phase)
        return a->place.phase < b->place.phase;
    return a->moved < b->moved;
}

static void tell_hang(lt_buf *why, const lt_watch_member *members, int world, double seconds)
{
    int behind = -1, ahead = -1;
    const lt_watch_member *m;

    for (int i = 0; i < world; i++) {
        if (members[i].left)
            continue;
        if (behind < 0 || is_behind(&members[i], &members[behind]))
            behind = i;
        if (ahead < 0 || is_behind(&members[ahead], &members[i]))
            ahead = i;
    }
    m = &members[behind];
    if (!m->joined) {
        lt_buf_printf(why, "rank %d never joined the others, which have waited for %.0f s", behind,
                      seconds);
        return;
    }
    tell_who(why, behind, m);
    lt_buf_printf(why, " hangs: no rank has moved for %.0f s; it is at ", seconds);
    tell_place(why, &m->place);
    if (is_stopped(m))
        lt_buf_printf(why, ", stopped by a signal");
    else if (m->place.state == 'D')
        lt_buf_printf(why, ", waiting for a disk or a device");
    if (ahead != behind) {
        lt_buf_printf(why, "; rank %d is at ", ahead);
        tell_place(why, &members[ahead].place);
    }
}

static int status_for_all(int status)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;

    return code == lt_err_exit_code(LT_OK) || code == lt_err_exit_code(LT_ERESTART) ? 1 : code;
}

static int judge_one(const lt_watch_member *members, int rank, double now, lt_buf *why)
{
    const lt_watch_member *m = &members[rank];

    if (!m->joined || m->left)
        return 0;
    if (m->died) {
        lt_watch_tell_end(why, rank, m);
        return status_for_all(m->status);
    }
    if (now - m->heard <= (m->closed ? CLOSED_S : LT_WATCH_SILENT_S))
        return 0;
    lt_watch_tell_lost(why, rank, m, 0, members, now);
    return 1;
}

int lt_watch_judge(const lt_watch_member *members, int world, double hang_timeout, double now,
                   lt_buf *why)
{
    double moved = -1, seconds;
    bool all_left = true;
    int status;

    for (int i = 0; i < world; i++) /* what a rank said itself comes before what is guessed */
        if (members[i].died && (status = judge_one(members, i, now, why)) != 0)
            return status;
    for (int i = 0; i < world; i++) {
        if ((status = judge_one(members, i, now, why)) != 0)
            return status;
        all_left = all_left && members[i].left;
        if (members[i].moved > moved)
            moved = members[i].moved;
    }
    seconds = now - moved;
    if (all_left || hang_timeout <= 0 || seconds <= patience(members, world, hang_timeout))
        return 0;
    tell_hang(why, members, world, seconds);
    return 1;
}
