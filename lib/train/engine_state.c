/* train/engine_state.c - first weights, and the counters that outlive a step. */
#include "train/engine_parts.h"

#include <stdlib.h>

typedef struct init_task {
    lt_task task;
    lt_engine *e;
    const lt_zero_piece *piece;
    uint64_t seed;
    float *values;
} init_task;

enum { INIT_BLOCK = 1 << 16 };

static void init_block(lt_task *task, int64_t index, int worker)
{
    init_task *t = (init_task *)task;
    int64_t first = index * INIT_BLOCK, left = t->piece->count - first;

    (void)worker;
    lt_param_init_slice(t->e->table, &t->e->config, t->piece->param, t->seed,
                        t->piece->first + first, left < INIT_BLOCK ? left : INIT_BLOCK,
                        t->values + first);
}

lt_err lt_engine_init_weights(lt_engine *e, uint64_t seed)
{
    int n = 0;
    lt_zero_piece *pieces = lt_zero_plan_pieces(e->plan, e->table, &n);
    init_task t = { .task = { init_block }, .e = e, .seed = seed };
    /* A GPU brings no threads of the host. */
    lt_pool *own = e->dev->pool ? NULL : lt_pool_new(e->options.dev.n_threads);
    lt_err err = LT_OK;

    for (int i = 0; i < n; i++) {
        t.piece = &pieces[i];
        LT_TRY(err = lt_alloc_array(&t.values, (uint64_t)pieces[i].count, sizeof(float),
                                    "initial weights"));
        lt_pool_run(own ? own : e->dev->pool, &t.task,
                    (pieces[i].count + INIT_BLOCK - 1) / INIT_BLOCK);
        LT_TRY(err = lt_zero_write(e->store, LT_ZERO_MASTER, &pieces[i], t.values));
        free(t.values);
        t.values = NULL;
    }
    LT_TRY(err = lt_zero_refresh(e->store));
fail:
    lt_pool_free(own);
    free(t.values);
    free(pieces);
    return err;
}

lt_err lt_engine_state(lt_engine *e, lt_step_state *out)
{
    step_slot *slot = &e->steps[0];
    lt_err err;

    LT_BUG_ON(lt_engine_outstanding(e) > 0);
    err = lt_engine_fetch(e, slot);
    *out = *slot->end;
    return err;
}

lt_err lt_engine_set_state(lt_engine *e, const lt_step_state *state)
{
    step_slot *slot = &e->steps[0];

    LT_BUG_ON(lt_engine_outstanding(e) > 0);
    *slot->end = (lt_step_state){ .adam_t = state->adam_t,
                                  .n_skipped = state->n_skipped,
                                  .loss_scale = state->loss_scale,
                                  .hysteresis_left = state->hysteresis_left,
                                  .scale_step = state->scale_step,
                                  .last_overflow = state->last_overflow };
    lt_engine_copy(e, e->state, slot->end, sizeof *e->state);
    return lt_dev_sync(e->dev);
}

lt_err lt_engine_first_state(lt_engine *e)
{
    const lt_engine_options *o = &e->options;
    lt_step_state first = { .loss_scale = o->loss_scale > 0 ? (float)o->loss_scale : 1.0f,
                            .hysteresis_left = o->optim.scaling.hysteresis,
                            .last_overflow = -1 };

    return lt_engine_set_state(e, &first);
}
