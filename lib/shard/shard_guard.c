/* shard/shard_guard.c - the list of guarded ranges and the SIGBUS handler.
 *
 * The handler may interrupt any thread anywhere, so it only walks the list, whose nodes are
 * published by one atomic store, are never freed and are used again after removal. */
#include "shard/shard_guard.h"

#include "base/mem.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct lt_shard_guard {
    _Atomic uintptr_t base; /* 0: not in use */
    size_t bytes;
    char *path;
    lt_shard_guard *next; /* fixed once published */
};

enum { EXIT_CORRUPT = 65 };
static _Atomic(lt_shard_guard *) guards;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction previous;

static void say(const char *s)
{
    if (write(STDERR_FILENO, s, strlen(s)) < 0)
        _exit(EXIT_CORRUPT);
}

static void on_sigbus(int signal_number, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr;

    (void)context;
    for (lt_shard_guard *g = atomic_load(&guards); g; g = g->next) {
        uintptr_t base = atomic_load(&g->base);

        if (base && at >= base && at - base < g->bytes) {
            say("lt: error: shard ");
            say(g->path);
            say(" truncated while in use\n");
            _exit(EXIT_CORRUPT);
        }
    }
    /* Not ours: on return the instruction faults again, into the previous handler. */
    sigaction(signal_number, &previous, NULL);
}

static void install(void)
{
    struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK };

    sigemptyset(&sa.sa_mask);
    LT_BUG_ON(sigaction(SIGBUS, &sa, &previous) != 0);
}

lt_shard_guard *lt_shard_guard_add(const void *base, size_t bytes, const char *path)
{
    lt_shard_guard *g, *fresh = NULL;

    pthread_mutex_lock(&lock);
    if (!atomic_load(&guards))
        install();
    for (g = atomic_load(&guards); g && atomic_load(&g->base); g = g->next)
        ;
    if (!g) {
        g = fresh = lt_new0(sizeof *g);
        g->next = atomic_load(&guards);
    }
    free(g->path);
    g->path = lt_strdup(path);
    g->bytes = bytes;
    atomic_store(&g->base, (uintptr_t)base); /* publishes a node that is used again */
    if (fresh)
        atomic_store(&guards, fresh);
    pthread_mutex_unlock(&lock);
    return g;
}

void lt_shard_guard_remove(lt_shard_guard *g)
{
    if (!g)
        return;
    pthread_mutex_lock(&lock);
    atomic_store(&g->base, 0);
    pthread_mutex_unlock(&lock);
}
