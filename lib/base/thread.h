/* base/thread.h - starting threads, and a pool that runs index ranges.
 *
 * lt_pool_run hands out tasks 0..n-1; the caller's thread takes part and the call returns when all
 * are done.  Which thread runs a task is not defined, so results must depend on the task alone. */
#ifndef LT_BASE_THREAD_H
#define LT_BASE_THREAD_H

#include "base/err.h"

#include <pthread.h>

/* A thread with every signal blocked that is sent from elsewhere: those belong to the main thread.
 * Its own faults (SIGBUS of a shard that shrank) still reach it.  LT_EIO; `name` is for the
 * sentence. */
LT_MUST_USE lt_err lt_thread_start(pthread_t *out, void *(*run)(void *), void *arg,
                                   const char *name);

typedef struct lt_pool lt_pool;
typedef struct lt_task lt_task;

/* Embed as first member of the work's own struct: run() gets it back and casts. */
struct lt_task {
    /* index in 0..n-1; worker in 0..lt_pool_size()-1, for per-thread scratch */
    void (*run)(lt_task *task, int64_t index, int worker);
};

lt_pool *lt_pool_new(int n_threads);   /* n <= 0: one a usable CPU; dies if threads cannot start */
void lt_pool_free(lt_pool *pool);      /* NULL is fine */
int lt_pool_size(const lt_pool *pool); /* threads that work, the caller's included */
void lt_pool_run(lt_pool *pool, lt_task *task, int64_t n); /* not reentrant; pool NULL: inline */
int lt_cpu_count(void); /* CPUs this process may use (affinity), at least 1 */

#endif
