/* test_thread.c - every task runs exactly once, in regions of every size,
 * and memory is in order. */
#include "base/mem.h"
#include "base/thread.h"
#include "lt_test.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct counting {
    lt_task task;
    int *runs; /* plain memory: one task writes one element */
    int size;
    atomic_int bad_worker;
} counting;

static void count_run(lt_task *task, int64_t index, int worker)
{
    counting *c = (counting *)task;

    if (worker < 0 || worker >= c->size)
        atomic_store(&c->bad_worker, 1);
    c->runs[index]++;
}

static void check_pool(lt_pool *pool)
{
    enum { MOST = 300, REGIONS = 2000 };
    counting c = { .task.run = count_run, .size = lt_pool_size(pool) };
    int64_t expected = 0, found = 0;

    c.runs = lt_new_array0(MOST, sizeof *c.runs);
    for (int r = 0; r < REGIONS; r++) {
        int64_t n = r % 7 == 0 ? MOST : r % 5;

        lt_pool_run(pool, &c.task, n);
        expected += n;
        for (int i = 0; i < MOST; i++) /* all of this region is visible here */
            found += c.runs[i];
        memset(c.runs, 0, MOST * sizeof *c.runs);
        LT_CHECK_INT(found, expected);
        if (r % 500 == 0)
            usleep(200); /* long enough for the workers to fall asleep */
    }
    LT_CHECK_INT(c.bad_worker, 0);
    free(c.runs);
}

LT_TEST(pool_runs_every_task_once)
{
    static const int sizes[] = { 1, 2, 3, 8, 0 };

    for (size_t i = 0; i < LT_COUNT(sizes); i++) {
        lt_pool *pool = lt_pool_new(sizes[i]);

        LT_CHECK_INT(lt_pool_size(pool), sizes[i] ? sizes[i] : lt_cpu_count());
        check_pool(pool);
        lt_pool_free(pool);
    }
}

LT_TEST(no_pool_runs_inline)
{
    check_pool(NULL);
    LT_CHECK_INT(lt_pool_size(NULL), 1);
    lt_pool_free(NULL);
    LT_CHECK(lt_cpu_count() >= 1);
}

typedef struct meeting {
    lt_task task;
    atomic_int arrived;
} meeting;

/* Returns only when the other task runs too. */
static void meet(lt_task *task, int64_t index, int worker)
{
    meeting *m = (meeting *)task;

    (void)index, (void)worker;
    atomic_fetch_add(&m->arrived, 1);
    while (atomic_load(&m->arrived) < 2)
        usleep(10);
}

LT_TEST(tasks_run_side_by_side)
{
    lt_pool *pool = lt_pool_new(2);

    for (int i = 0; i < 50; i++) {
        meeting m = { .task.run = meet };

        lt_pool_run(pool, &m.task, 2);
        LT_CHECK_INT(m.arrived, 2);
    }
    lt_pool_free(pool);
}

typedef struct failing {
    lt_task task;
    lt_err_record faults[4];
} failing;

static void fail_run(lt_task *task, int64_t index, int worker)
{
    failing *f = (failing *)task;

    (void)worker;
    lt_fail(LT_EIO, "task %d", (int)index);
    lt_err_take(&f->faults[index]);
}

LT_TEST(an_error_travels_by_take_and_give)
{
    lt_pool *pool = lt_pool_new(3);
    failing f = { .task.run = fail_run };

    lt_pool_run(pool, &f.task, 4);
    for (int i = 0; i < 4; i++) {
        char expected[32];

        snprintf(expected, sizeof expected, "task %d", i);
        LT_CHECK_FAILS(lt_err_give(&f.faults[i]), LT_EIO, expected);
    }
    lt_pool_free(pool);
}

typedef struct masks {
    lt_task task;
    atomic_int arrived, wrong;
} masks;

static void mask_run(lt_task *task, int64_t index, int worker)
{
    masks *m = (masks *)task;
    sigset_t now;

    (void)index;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    if (worker > 0 && (!sigismember(&now, SIGTERM) || sigismember(&now, SIGBUS)))
        atomic_fetch_add(&m->wrong, 1);
    atomic_fetch_add(&m->arrived, 1);
    while (atomic_load(&m->arrived) < 2)
        usleep(10);
}

LT_TEST(workers_take_no_signals_but_their_faults)
{
    lt_pool *pool = lt_pool_new(2);
    masks m = { .task.run = mask_run };
    sigset_t now;

    lt_pool_run(pool, &m.task, 2);
    LT_CHECK_INT(m.wrong, 0);
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    LT_CHECK(!sigismember(&now, SIGTERM)); /* the caller's own mask is as it was */
    lt_pool_free(pool);
}
