/* model/tape.c - recording and playing passes. */
#include "model/tape.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAPES = 8 }; /* then the one that was used longest ago makes room */

typedef struct entry {
    lt_graph *graph; /* NULL: a hook */
    lt_hook hook;
    int unit;
} entry;

typedef enum progress { TAPE_FREE, TAPE_RAN_ONCE, TAPE_RECORDED } progress;

typedef struct tape {
    lt_tape_key key;
    const void *scratch; /* the device's; operations use it by address */
    progress progress;
    uint64_t used; /* number of the last pass */
    entry *entries;
    size_t n, capacity;
} tape;

struct lt_tapes {
    lt_dev *dev;
    const lt_ops *ops; /* the device's own */
    lt_unit_access *access;
    tape tapes[TAPES];
    tape *recording;             /* NULL: this pass is not */
    bool allowed, on, capturing; /* allowed: by the environment */
    uint64_t n_passes;
};

lt_tapes *lt_tapes_new(lt_dev *dev, lt_unit_access *access)
{
    const char *wanted = getenv("LT_GRAPHS");
    lt_tapes *t;

    if (!dev->backend->capture_begin)
        return NULL;
    t = lt_new0(sizeof *t);
    t->dev = dev;
    t->ops = dev->ops;
    t->access = access;
    t->on = t->allowed = !wanted || strcmp(wanted, "0") != 0;
    return t;
}

static void erase(lt_tapes *t, tape *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->entries[i].graph)
            t->dev->backend->graph_free(t->dev, p->entries[i].graph);
    free(p->entries);
    *p = (tape){ 0 };
}

void lt_tapes_free(lt_tapes *t)
{
    if (!t)
        return;
    for (int i = 0; i < TAPES; i++)
        erase(t, &t->tapes[i]);
    free(t);
}

void lt_tapes_set(lt_tapes *t, bool on)
{
    if (t)
        t->on = on && t->allowed;
}

/* ---- hooks */

void lt_hook_call(lt_unit_access *access, lt_hook hook, int unit)
{
    switch (hook) {
    case LT_HOOK_ACQUIRE:
        access->acquire(access, unit);
        return;
    case LT_HOOK_RELEASE:
        access->release(access, unit);
        return;
    case LT_HOOK_GRADS_DONE:
        access->grads_done(access, unit);
    }
}

/* The time from a unit's acquire to its release is a range of a profiler's time line. */
static void call_hook(lt_tapes *t, lt_hook hook, int unit)
{
    const lt_backend *backend = t->dev->backend;
    char name[32];

    if (hook == LT_HOOK_ACQUIRE && backend->range_push) {
        (void)snprintf(name, sizeof name, "unit %d", unit);
        backend->range_push(t->dev, name);
    }
    lt_hook_call(t->access, hook, unit);
    if (hook == LT_HOOK_RELEASE && backend->range_pop)
        backend->range_pop(t->dev);
}

/* ---- recording */

static void append(tape *p, entry e)
{
    lt_array_reserve(&p->entries, &p->capacity, p->n + 1, sizeof *p->entries);
    p->entries[p->n++] = e;
}

/* The device holds the fault until the next sync, so this run is over. */
static void give_up(lt_tapes *t)
{
    erase(t, t->recording);
    t->recording = NULL;
    t->on = false;
}

void lt_tape_op(lt_tapes *t)
{
    if (!t || !t->recording || t->capturing)
        return;
    if (t->dev->backend->capture_begin(t->dev) == LT_OK)
        t->capturing = true;
    else
        give_up(t);
}

/* What was recorded since the last hook becomes a graph, and runs. */
static void end_graph(lt_tapes *t)
{
    lt_graph *graph = NULL;

    if (!t->capturing)
        return;
    t->capturing = false;
    if (t->dev->backend->capture_end(t->dev, &graph) != LT_OK) {
        give_up(t);
        return;
    }
    append(t->recording, (entry){ .graph = graph });
    t->dev->backend->graph_launch(t->dev, graph);
}

void lt_tape_hook(lt_tapes *t, lt_hook hook, int unit)
{
    end_graph(t);
    if (t->recording)
        append(t->recording, (entry){ .hook = hook, .unit = unit });
    call_hook(t, hook, unit);
}

/* ---- passes */

static bool same_key(const lt_tape_key *a, const lt_tape_key *b)
{
    for (int i = 0; i < LT_TAPE_BUFFERS; i++)
        if (a->buffers[i] != b->buffers[i])
            return false;
    return a->use == b->use && a->add == b->add;
}

/* The tape of this key, or an empty one for it. */
static tape *tape_of(lt_tapes *t, const lt_tape_key *key)
{
    tape *oldest = &t->tapes[0];

    for (int i = 0; i < TAPES; i++) {
        tape *p = &t->tapes[i];

        if (p->progress != TAPE_FREE && same_key(&p->key, key) && p->scratch == t->dev->scratch)
            return p;
        if (p->used < oldest->used)
            oldest = p;
    }
    erase(t, oldest);
    oldest->key = *key;
    oldest->scratch = t->dev->scratch;
    return oldest;
}

static void play(lt_tapes *t, const tape *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->entries[i].graph)
            t->dev->backend->graph_launch(t->dev, p->entries[i].graph);
        else
            call_hook(t, p->entries[i].hook, p->entries[i].unit);
}

bool lt_tape_begin(lt_tapes *t, const lt_tape_key *key)
{
    tape *p;

    if (!t || !t->on || t->dev->ops != t->ops)
        return false;
    p = tape_of(t, key);
    p->used = ++t->n_passes;
    if (p->progress == TAPE_RECORDED) {
        play(t, p);
        return true;
    }
    if (p->progress == TAPE_RAN_ONCE)
        t->recording = p;
    p->progress = TAPE_RAN_ONCE;
    return false;
}

void lt_tape_end(lt_tapes *t)
{
    if (!t || !t->recording)
        return;
    end_graph(t);
    if (t->recording)
        t->recording->progress = TAPE_RECORDED;
    t->recording = NULL;
}
