/* ckpt/checkpoint_writer.c - a thread, one job, one result.
 *
 * `state` is the hand-over: the caller owns the job and the result unless it is RUNNING, the thread
 * while it is.  Only `quit` is shared during a job. */
#include "ckpt/checkpoint_writer.h"
#include "base/thread.h"
#include "ckpt/checkpoint_dir.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef enum writer_state { FRESH, RUNNING, ENDED } writer_state;

struct lt_ckpt_writer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* of state and quit */
    writer_state state;
    atomic_bool quit;        /* a save under way gives up, too */
    char *folder;            /* of a save, or the directory to retire in */
    lt_ckpt_save_request rq; /* of a save */
    bool retires;            /* the job is no save */
    int keep_last;           /* of a retirement */
    lt_buf part;             /* the result */
    lt_err_record end;
};

/* Asks for leftovers of CPU and disk.  Not SCHED_IDLE: where every core computes all the time, the
 * save would still be running when the next one is due.  A refusal changes nothing but the
 * price. */
static void step_back(void)
{
    enum { WHO_PROCESS = 1, CLASS_SHIFT = 13, BEST_EFFORT = 2, LOWEST = 7, NICE = 10 };
    const struct sched_param none = { 0 };

    (void)sched_setscheduler(0, SCHED_BATCH, &none);
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE); /* on Linux: of this thread */
    (void)syscall(SYS_ioprio_set, WHO_PROCESS, 0, BEST_EFFORT << CLASS_SHIFT | LOWEST);
}

static lt_err run_job(lt_ckpt_writer *w)
{
    if (w->retires)
        return lt_ckpt_retire(w->folder, w->keep_last);
    return lt_ckpt_write(w->folder, &w->rq, &w->part);
}

static void *writer_main(void *arg)
{
    lt_ckpt_writer *w = arg;

    step_back();
    pthread_mutex_lock(&w->lock);
    for (;;) {
        lt_err_record end = { 0 };

        while (w->state != RUNNING && !atomic_load(&w->quit))
            pthread_cond_wait(&w->changed, &w->lock);
        if (w->state != RUNNING)
            break;
        pthread_mutex_unlock(&w->lock);
        if (run_job(w) != LT_OK)
            lt_err_take(&end);
        pthread_mutex_lock(&w->lock);
        w->end = end;
        w->state = ENDED;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

lt_err lt_ckpt_writer_open(lt_ckpt_writer **out)
{
    lt_ckpt_writer *w = lt_new0(sizeof *w);
    lt_err err;

    atomic_init(&w->quit, false);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    LT_TRY(err = lt_thread_start(&w->thread, writer_main, w, "checkpoint writer"));
    *out = w;
    return LT_OK;
fail:
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w);
    return err;
}

void lt_ckpt_writer_close(lt_ckpt_writer *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    atomic_store(&w->quit, true);
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    lt_buf_release(&w->part);
    free(w->folder);
    free(w);
}

/* Hands the job over to the thread. */
static void start(lt_ckpt_writer *w, const char *folder)
{
    free(w->folder);
    w->folder = lt_strdup(folder);
    w->end = (lt_err_record){ 0 };
    lt_buf_clear(&w->part);
    pthread_mutex_lock(&w->lock);
    w->state = RUNNING;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

void lt_ckpt_writer_start(lt_ckpt_writer *w, const char *tmp, const lt_ckpt_save_request *rq)
{
    LT_BUG_ON(lt_ckpt_writer_busy(w));
    w->rq = *rq;
    w->rq.give_up = &w->quit;
    w->retires = false;
    start(w, tmp);
}

void lt_ckpt_writer_start_retire(lt_ckpt_writer *w, const char *dir, int keep_last)
{
    LT_BUG_ON(lt_ckpt_writer_busy(w));
    w->retires = true;
    w->keep_last = keep_last;
    start(w, dir);
}

bool lt_ckpt_writer_busy(lt_ckpt_writer *w)
{
    bool busy;

    pthread_mutex_lock(&w->lock);
    busy = w->state == RUNNING;
    pthread_mutex_unlock(&w->lock);
    return busy;
}

lt_err lt_ckpt_writer_join(lt_ckpt_writer *w, lt_buf *part)
{
    pthread_mutex_lock(&w->lock);
    LT_BUG_ON(w->state == FRESH);
    while (w->state == RUNNING)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
    if (w->end.code != LT_OK)
        return lt_err_give(&w->end);
    if (part) {
        lt_buf_clear(part);
        lt_buf_append(part, w->part.data, w->part.size);
    }
    return LT_OK;
}
