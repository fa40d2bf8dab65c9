/* base/thread.c - the pool of base/thread.h.
 *
 * A region is open while `epoch` is odd.  A worker enters by raising `active` and then looking at
 * `epoch` again; the caller closes the region and then waits for `active` to reach zero.  Whatever
 * the order of those two steps, either the worker sees the region closed or the caller sees the
 * worker, so task, n and next change only while nobody reads them, and a worker that sleeps through
 * a short region costs the caller nothing.  All atomics are sequentially consistent for this.
 *
 * Waiting spins for a moment before it sleeps: a training step opens thousands of regions that are
 * shorter than a futex wake-up.  A pool larger than the machine never spins. */
#include "base/thread.h"
#include "base/clock.h"
#include "base/mem.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const double spin_seconds = 30e-6;

typedef struct worker {
    lt_pool *pool;
    pthread_t thread;
    int number; /* 1..size-1; the caller is 0 */
} worker;

struct lt_pool {
    int size;
    bool spin;
    lt_task *task; /* task, n, next: the open region */
    int64_t n;
    _Alignas(64) atomic_llong next;
    _Alignas(64) atomic_ullong epoch;
    atomic_int active;   /* workers inside a region */
    atomic_int sleepers; /* workers in wait_for_region's condition wait */
    atomic_bool waiting; /* the caller sleeps until active is 0 */
    atomic_bool quit;
    pthread_mutex_t lock;
    pthread_cond_t opened, finished;
    worker *workers; /* size - 1 */
};

#if defined(__x86_64__)
static void relax(void)
{
    __builtin_ia32_pause();
}
#else
static void relax(void)
{
    sched_yield();
}
#endif

int lt_cpu_count(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

    return n > 0 ? n : 1;
}

static void work(lt_pool *p, int number)
{
    int64_t n = p->n, i;

    while ((i = atomic_fetch_add(&p->next, 1)) < n)
        p->task->run(p->task, i, number);
}

static bool is_news(lt_pool *p, unsigned long long seen)
{
    unsigned long long e = atomic_load(&p->epoch);

    return ((e & 1) && e != seen) || atomic_load(&p->quit);
}

/* Returns when a region other than `seen` is open, or at the end of the pool. */
static void wait_for_region(lt_pool *p, unsigned long long seen)
{
    if (p->spin) {
        for (double end = lt_now() + spin_seconds; lt_now() < end;)
            for (int k = 0; k < 16; k++) {
                if (is_news(p, seen))
                    return;
                relax();
            }
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (!is_news(p, seen))
        pthread_cond_wait(&p->opened, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

static void leave(lt_pool *p)
{
    if (atomic_fetch_sub(&p->active, 1) == 1 && atomic_load(&p->waiting)) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_signal(&p->finished);
        pthread_mutex_unlock(&p->lock);
    }
}

static void *worker_main(void *arg)
{
    worker *self = arg;
    lt_pool *p = self->pool;
    unsigned long long seen = 0;

    for (;;) {
        wait_for_region(p, seen);
        if (atomic_load(&p->quit))
            return NULL;
        atomic_fetch_add(&p->active, 1);
        seen = atomic_load(&p->epoch);
        if (seen & 1)
            work(p, self->number);
        leave(p);
    }
}

lt_err lt_thread_start(pthread_t *out, void *(*run)(void *), void *arg, const char *name)
{
    static const int faults[] = { SIGBUS, SIGSEGV, SIGFPE, SIGILL };
    sigset_t blocked, before;
    int rc;

    sigfillset(&blocked);
    for (size_t i = 0; i < LT_COUNT(faults); i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before); /* a thread is born with its maker's mask */
    rc = pthread_create(out, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? LT_OK : lt_fail(LT_EIO, "%s: cannot start a thread: %s", name, strerror(rc));
}

lt_pool *lt_pool_new(int n_threads)
{
    lt_pool *p = aligned_alloc(64, LT_ALIGN_UP(sizeof *p, 64));
    int cpus = lt_cpu_count();

    LT_BUG_ON(!p);
    memset(p, 0, sizeof *p);
    p->size = n_threads > 0 ? n_threads : cpus;
    p->spin = p->size <= cpus;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->opened, NULL);
    pthread_cond_init(&p->finished, NULL);
    p->workers = lt_new_array0((size_t)p->size, sizeof *p->workers);
    for (int i = 0; i < p->size - 1; i++) {
        worker *w = &p->workers[i];

        *w = (worker){ .pool = p, .number = i + 1 };
        LT_BUG_ON(lt_thread_start(&w->thread, worker_main, w, "pool") != LT_OK);
    }
    return p;
}

void lt_pool_free(lt_pool *p)
{
    if (!p)
        return;
    atomic_store(&p->quit, true);
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->opened);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->size - 1; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->opened);
    pthread_cond_destroy(&p->finished);
    pthread_mutex_destroy(&p->lock);
    free(p->workers);
    free(p);
}

int lt_pool_size(const lt_pool *p)
{
    return p ? p->size : 1;
}

static void wake_workers(lt_pool *p, int64_t wanted)
{
    int sleepers = atomic_load(&p->sleepers);

    if (sleepers == 0)
        return;
    pthread_mutex_lock(&p->lock);
    if (wanted >= sleepers)
        pthread_cond_broadcast(&p->opened);
    else
        for (int64_t k = 0; k < wanted; k++)
            pthread_cond_signal(&p->opened);
    pthread_mutex_unlock(&p->lock);
}

static void wait_for_workers(lt_pool *p)
{
    if (p->spin) {
        for (double end = lt_now() + spin_seconds; lt_now() < end;)
            for (int k = 0; k < 16; k++) {
                if (atomic_load(&p->active) == 0)
                    return;
                relax();
            }
    }
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->waiting, true);
    while (atomic_load(&p->active) != 0)
        pthread_cond_wait(&p->finished, &p->lock);
    atomic_store(&p->waiting, false);
    pthread_mutex_unlock(&p->lock);
}

void lt_pool_run(lt_pool *p, lt_task *task, int64_t n)
{
    if (!p || p->size == 1 || n <= 1) {
        for (int64_t i = 0; i < n; i++)
            task->run(task, i, 0);
        return;
    }
    LT_BUG_ON(atomic_load(&p->epoch) & 1);
    p->task = task;
    p->n = n;
    atomic_store(&p->next, 0);
    atomic_fetch_add(&p->epoch, 1);
    wake_workers(p, n - 1);
    work(p, 0);
    atomic_fetch_add(&p->epoch, 1);
    wait_for_workers(p);
}
