/* train/engine_step.c - one optimizer step: enqueue it, hear of it later.
 *
 * The host runs ahead of the device by one step.  What it must know (loss, norm, skip) comes back
 * in pinned memory behind an event; what ranks must agree on travels with the sums of squares,
 * which every step gathers anyway. */
#include "train/engine_parts.h"

#include "base/clock.h"

#include <stddef.h>

void lt_engine_begin_step(lt_engine *e, step_slot *slot, double lr, int64_t n_tokens)
{
    slot->begin->lr = (float)lr;
    slot->begin->inv_tokens = (float)(1.0 / (double)n_tokens);
    slot->n_tokens = (double)n_tokens;
    lt_engine_copy(e, e->state, slot->begin, offsetof(lt_step_state, grad_scale));
    e->dev->ops->step_begin(e->dev, e->state);
}

lt_err lt_engine_fetch(lt_engine *e, step_slot *slot)
{
    lt_engine_copy(e, slot->end, e->state, sizeof *e->state);
    return lt_dev_sync(e->dev);
}

lt_err lt_engine_run_micro(lt_engine *e, const lt_engine_batch *b, bool first, bool last)
{
    int64_t n = e->options.shape.n_batch * e->options.shape.seq;
    lt_tensor losses = lt_vector(e->losses, LT_F32, n);
    bool add = !first && !lt_zero_grads_fresh(e->store);
    lt_model_batch batch;
    lt_err err;

    LT_TRY(err = lt_engine_load_batch(e, b, n, &batch));
    lt_watch_phase(e->options.watch, e->at_step, LT_PHASE_FORWARD);
    e->first_micro = first;
    e->last_micro = last;
    lt_engine_pass_begin(e, LT_USE_TRAIN);
    lt_model_train(e->model, &batch, losses, e->state, add);
    lt_engine_pass_end(e);
    lt_engine_batch_used(e);
    e->dev->ops->sum_losses(e->dev, e->state, losses);
fail:
    return err;
}

/* This rank's row of sums, then everybody's. */
static void gather_sums(lt_engine *e, step_slot *slot, uint32_t word)
{
    const lt_backend *backend = e->dev->backend;
    int64_t n = e->row_length;
    double *row = e->sums + e->group->rank * n;
    lt_tensor all = lt_vector(e->sums, LT_F64, n * e->group->world);

    for (int i = 0; i < e->n_sums; i++)
        e->dev->ops->sum_squares(e->dev, &row[i], lt_zero_owned_grad(e->store, i));
    lt_engine_copy(e, &row[e->n_sums], &e->state->loss_sum, sizeof *row);
    *slot->row = (double)word;
    lt_engine_copy(e, &row[e->n_sums + 1], slot->row, sizeof *row);
    if (e->group->world == 1)
        return;
    backend->event_record(e->dev, e->sums_ready, LT_STREAM_COMPUTE);
    backend->stream_wait(e->dev, LT_STREAM_COMM, e->sums_ready);
    e->comm->ops->all_gather(e->comm, all, lt_vector(row, LT_F64, n));
    backend->event_record(e->dev, e->sums_gathered, LT_STREAM_COMM);
    backend->stream_wait(e->dev, LT_STREAM_COMPUTE, e->sums_gathered);
}

static void update(lt_engine *e)
{
    lt_zero_update z;

    lt_optim_decide(e->dev, &e->options.optim, e->sums, e->group->world, e->n_sums, e->state);
    e->dev->ops->find_nonfinite(e->dev, e->state, e->ranges, e->n_ranges, e->range_type);
    lt_zero_update_begin(e->store);
    while (lt_zero_update_next(e->store, &z))
        lt_optim_update(e->dev, &e->options.optim,
                        &(lt_optim_slice){ .p = z.master,
                                           .copy = z.copy,
                                           .m = z.moment1,
                                           .v = z.moment2,
                                           .g = z.grad,
                                           .decay = z.decay },
                        e->state);
}

lt_err lt_engine_enqueue(lt_engine *e, const lt_engine_batch *micro, int n_micro, int64_t n_tokens,
                         double lr, uint32_t word)
{
    step_slot *slot = &e->steps[e->n_enqueued % LT_STEPS_AHEAD];
    double start;
    lt_err err;

    LT_BUG_ON(lt_engine_outstanding(e) >= LT_STEPS_AHEAD);
    slot->forward_ms = slot->backward_ms = 0;
    lt_engine_begin_step(e, slot, lr, n_tokens);
    for (int i = 0; i < n_micro; i++) {
        start = lt_now();
        LT_TRY(err = lt_engine_run_micro(e, &micro[i], i == 0, i == n_micro - 1));
        slot->forward_ms += (e->forward_done - start) * 1e3;
        slot->backward_ms += (lt_now() - e->forward_done) * 1e3;
    }
    start = lt_now();
    lt_watch_phase(e->options.watch, e->at_step, LT_PHASE_REDUCE);
    lt_zero_grads_finish(e->store);
    gather_sums(e, slot, word);
    lt_watch_phase(e->options.watch, e->at_step, LT_PHASE_UPDATE);
    update(e);
    lt_engine_copy(e, slot->end, e->state, sizeof *e->state);
    lt_engine_copy(e, slot->rows, e->sums,
                   (size_t)(e->row_length * e->group->world) * sizeof *slot->rows);
    e->dev->backend->event_record(e->dev, slot->done, LT_STREAM_COMPUTE);
    slot->optimizer_ms = (lt_now() - start) * 1e3;
    e->n_enqueued++;
    err = lt_zero_check(e->store);
fail:
    return err;
}

void lt_engine_at_step(lt_engine *e, uint64_t step)
{
    e->at_step = step;
}

int lt_engine_outstanding(const lt_engine *e)
{
    return (int)(e->n_enqueued - e->n_fetched);
}

/* The first over all ranks, in table order: each knows its own slices only. */
static lt_err name_bad(lt_engine *e, uint32_t range, const lt_param **bad)
{
    uint32_t mine = range == LT_NO_RANGE ? LT_NO_RANGE : (uint32_t)e->range_params[range];
    uint32_t first = LT_NO_RANGE;
    lt_err err;

    LT_TRY(err = lt_group_all_gather(e->group, e->words, &mine, sizeof mine));
    for (int r = 0; r < e->group->world; r++)
        first = e->words[r] < first ? e->words[r] : first;
    *bad = first == LT_NO_RANGE ? NULL : &e->table->params[first];
fail:
    return err;
}

lt_err lt_engine_result_next(lt_engine *e, lt_engine_result *result)
{
    const step_slot *slot = &e->steps[e->n_fetched % LT_STEPS_AHEAD];
    const lt_step_state *s = slot->end;
    lt_err err;

    LT_BUG_ON(lt_engine_outstanding(e) == 0);
    LT_TRY(err = e->dev->backend->event_sync(e->dev, slot->done));
    e->n_fetched++;
    LT_TRY(err = lt_zero_check(e->store));
    *result = (lt_engine_result){ .loss = s->loss_sum / slot->n_tokens,
                                  .grad_norm = (double)s->grad_norm,
                                  .skipped = s->skip != 0,
                                  .loss_scale = 1.0 / (double)s->inv_scale,
                                  .scale_stuck = s->scale_stuck != 0,
                                  .words = e->words,
                                  .forward_ms = slot->forward_ms,
                                  .backward_ms = slot->backward_ms,
                                  .optimizer_ms = slot->optimizer_ms };
    if (result->skipped)
        LT_TRY(err = name_bad(e, s->first_bad, &result->bad));
    for (int r = 0; r < e->group->world; r++)
        e->words[r] = (uint32_t)slot->rows[(int64_t)(r + 1) * e->row_length - 1];
fail:
    return err;
}

lt_err lt_engine_step(lt_engine *e, const lt_engine_batch *micro, int n_micro, int64_t n_tokens,
                      double lr, lt_engine_result *result)
{
    lt_err err;

    LT_BUG_ON(lt_engine_outstanding(e) > 0);
    LT_TRY(err = lt_engine_enqueue(e, micro, n_micro, n_tokens, lr, 0));
    err = lt_engine_result_next(e, result);
fail:
    return err;
}

void lt_engine_set_betas(lt_engine *e, double beta1, double beta2)
{
    e->options.optim.beta1 = (float)beta1;
    e->options.optim.beta2 = (float)beta2;
}

lt_err lt_engine_gradients(lt_engine *e, const lt_engine_batch *micro, int64_t n_tokens,
                           double *loss)
{
    step_slot *slot = &e->steps[0];
    double *sums;
    lt_err err;

    LT_BUG_ON(lt_engine_outstanding(e) > 0);
    lt_engine_begin_step(e, slot, 0, n_tokens);
    LT_TRY(err = lt_engine_run_micro(e, micro, true, true));
    lt_zero_grads_finish(e->store);
    gather_sums(e, slot, 0);
    lt_engine_copy(e, slot->rows, e->sums,
                   (size_t)(e->row_length * e->group->world) * sizeof *slot->rows);
    LT_TRY(err = lt_zero_sync(e->store));
    sums = slot->rows;
    *loss = 0;
    for (int r = 0; r < e->group->world; r++)
        *loss += sums[(int64_t)r * e->row_length + e->n_sums] / (double)n_tokens;
fail:
    return err;
}
