/* watch.c - the rank's side of the watch: marks in shared memory and messages to the supervisor. */
#include "comm/watch_wire.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char *lt_phase_name(lt_phase phase)
{
    static const char *const names[] = { "start",    "load",     "tune",   "data",
                                         "forward",  "backward", "reduce", "update",
                                         "evaluate", "sample",   "save",   "end" };

    _Static_assert(LT_COUNT(names) == LT_N_PHASES, "one name a phase");
    return (unsigned)phase < LT_N_PHASES ? names[phase] : "unknown";
}

void lt_watch_meet(lt_watch *w, double hang_timeout)
{
    lt_control c = { .kind = LT_CONTROL_MEET, .hang_timeout = hang_timeout };

    if (w)
        lt_control_send(w->channel, &c, -1); /* the next message finds out if nobody is there */
}

lt_err lt_watch_open_hub(lt_watch *w, int world, lt_buf *address)
{
    lt_control c = { .kind = LT_CONTROL_HUB, .me.world = world };
    int fd = -1;
    lt_err err;

    LT_TRY(err = lt_watch_listen(&fd, &c.key, address));
    err = lt_control_send(w->channel, &c, fd);
    close(fd);
fail:
    return err;
}

lt_err lt_watch_join(lt_watch *w, const lt_watch_rank *me, const char *address, double hang_timeout)
{
    lt_control c = { .kind = LT_CONTROL_JOIN, .me = *me, .hang_timeout = hang_timeout };
    lt_watch_message hello = lt_watch_message_make(LT_WATCH_HELLO, 0, me->rank), welcome;
    int fd = -1;
    lt_err err;

    LT_BUG_ON(me->rank < 0 || me->rank >= me->world);
    hello.pid = getpid();
    memcpy(hello.host, me->host, sizeof hello.host);
    LT_TRY(err = lt_watch_connect(&fd, address, &hello, &welcome));
    c.key = hello.key;
    c.hub_pid = welcome.pid;
    memcpy(c.hub_host, welcome.host, sizeof c.hub_host);
    err = lt_control_send(w->channel, &c, fd);
    close(fd);
fail:
    return err;
}

static uint64_t now_ns(void)
{
    return (uint64_t)(lt_now() * 1e9);
}

void lt_watch_phase(lt_watch *w, uint64_t step, lt_phase phase)
{
    lt_watch_page *p;
    uint64_t n, now;

    if (!w)
        return;
    p = w->page;
    if (step != atomic_load_explicit(&p->step, memory_order_relaxed) || !w->step_began) {
        now = now_ns();
        if (w->step_began) {
            n = atomic_load_explicit(&p->n_steps, memory_order_relaxed);
            atomic_store(&p->step_ns[n % LT_WATCH_STEP_TIMES], now - w->step_began);
            atomic_store(&p->n_steps, n + 1);
        }
        w->step_began = now;
        atomic_store(&p->step, step);
    }
    atomic_store_explicit(&p->phase, (uint32_t)phase, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->beats, 1, memory_order_relaxed);
}

void lt_watch_collective(lt_watch *w)
{
    if (!w)
        return;
    atomic_fetch_add_explicit(&w->page->collectives, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->page->beats, 1, memory_order_relaxed);
}

void lt_watch_leave(lt_watch *w)
{
    lt_control c = { .kind = LT_CONTROL_LEAVE };

    if (!w)
        return;
    atomic_store(&w->page->phase, LT_PHASE_END);
    lt_control_send(w->channel, &c, -1); /* without a supervisor nobody is left to complain */
}

void lt_watch_close(lt_watch *w)
{
    if (!w)
        return;
    munmap(w->page, sizeof *w->page);
    close(w->channel);
    free(w);
}
