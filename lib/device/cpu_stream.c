/* device/cpu_stream.c - a bounded queue and the thread that empties it. */
#include "device/cpu_stream.h"

#include "base/mem.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

enum { QUEUE = 1024 };

typedef struct stream_task {
    void (*run)(void *context); /* NULL: the thread ends */
    _Alignas(16) char context[LT_HOST_TASK_BYTES];
} stream_task;

struct lt_cpu_stream {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool started;
    uint64_t given, done; /* tasks so far; task i lies in queue[i % QUEUE] */
    stream_task queue[QUEUE];
};

static void *serve(void *arg)
{
    lt_cpu_stream *s = arg;

    for (;;) {
        stream_task *t;

        pthread_mutex_lock(&s->lock);
        while (s->given == s->done)
            pthread_cond_wait(&s->changed, &s->lock);
        t = &s->queue[s->done % QUEUE];
        pthread_mutex_unlock(&s->lock);
        if (!t->run)
            return NULL;
        t->run(t->context);
        pthread_mutex_lock(&s->lock);
        s->done++;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
    }
}

lt_cpu_stream *lt_cpu_stream_new(void)
{
    lt_cpu_stream *s = lt_new0(sizeof *s);

    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    return s;
}

void lt_cpu_stream_free(lt_cpu_stream *s)
{
    if (!s)
        return;
    if (s->started) {
        lt_cpu_stream_put(s, NULL, "", 0);
        pthread_join(s->thread, NULL);
    }
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    free(s);
}

void lt_cpu_stream_put(lt_cpu_stream *s, void (*run)(void *context), const void *context,
                       size_t bytes)
{
    stream_task *t;

    LT_BUG_ON(bytes > sizeof t->context);
    pthread_mutex_lock(&s->lock);
    while (s->given - s->done == QUEUE)
        pthread_cond_wait(&s->changed, &s->lock);
    t = &s->queue[s->given % QUEUE];
    t->run = run;
    memcpy(t->context, context, bytes);
    s->given++;
    if (!s->started)
        LT_BUG_ON(lt_thread_start(&s->thread, serve, s, "stream") != LT_OK);
    s->started = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

uint64_t lt_cpu_stream_ticket(lt_cpu_stream *s)
{
    return s->given; /* the giving thread asks */
}

void lt_cpu_stream_wait(lt_cpu_stream *s, uint64_t ticket)
{
    if (ticket == 0)
        return;
    pthread_mutex_lock(&s->lock);
    while (s->done < ticket)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}
