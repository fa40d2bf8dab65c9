/* run_ranks.h - runs of run_fixture.h on threads as ranks (zero/thread_ranks.h), so that one
 * program sees every number of ranks.
 *
 * Takes the place of lt_comm_open in the program that includes it: engines of more ranks than one
 * talk over shared memory.  What such an engine takes from its device is counted there: it opens
 * its communicator after its device, before anything else. */
#ifndef LT_TESTS_TRAIN_RUN_RANKS_H
#define LT_TESTS_TRAIN_RUN_RANKS_H

#include "run_fixture.h"
#include "train/placement.h"
#include "zero/thread_ranks.h"

/* Of this rank's engine since it was opened, without the operations' scratch; by lt_memory. */
typedef struct run_taken {
    uint64_t bytes[2];
    int blocks; /* not given back */
} run_taken;

static _Thread_local run_taken run_took;

static lt_err run_counted_alloc(lt_dev *dev, lt_memory kind, size_t bytes, void **out)
{
    run_took.bytes[kind] += bytes;
    run_took.blocks++;
    return lt_backend_cpu.alloc(dev, kind, bytes, out);
}

static void run_counted_free(lt_dev *dev, lt_memory kind, void *data)
{
    run_took.blocks--;
    lt_backend_cpu.free(dev, kind, data);
}

static lt_backend run_counting;

__attribute__((constructor)) static void run_make_counting(void)
{
    run_counting = lt_backend_cpu;
    run_counting.alloc = run_counted_alloc;
    run_counting.free = run_counted_free;
}

lt_err lt_comm_open(lt_comm **out, lt_dev *dev, lt_group *group, bool debug)
{
    rank_comm *comm;

    (void)debug;
    run_took =
        (run_taken){ .blocks = dev->scratch != NULL }; /* the scratch goes as the rest does */
    dev->backend = &run_counting;
    if (group->world == 1)
        return lt_comm_self_open(out, dev, group);
    comm = lt_new0(sizeof *comm);
    comm->base = (lt_comm){ &rank_comm_ops, dev, group, group->rank, group->world };
    comm->shared = ((rank_group *)group)->shared;
    *out = &comm->base;
    return LT_OK;
}

/* The files' names are made in static memory, one thread at a time. */
static inline lt_err run_open_rank(run_case *r, thread_rank *me, const run_settings settings)
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    lt_err err;

    *r = (run_case){ 0 };
    pthread_mutex_lock(&one_at_a_time);
    err = run_config(&r->config, settings);
    pthread_mutex_unlock(&one_at_a_time);
    LT_TRY(err);
    LT_TRY(err = lt_setup_open(&r->setup, r->config, me->group, true));
    LT_TRY(err = lt_place_ranks(&r->setup.engine, me->group));
    LT_TRY(err = lt_engine_open(&r->engine, &r->setup.engine));
    LT_TRY(err = lt_engine_init_weights(r->engine, (uint64_t)r->config->training.seed));
    lt_run_state_new(&r->state);
fail:
    return err;
}

#endif
