/* train/engine_step.c - what an engine does with a batch: train, evaluate, logits, generate. */
#include "base/clock.h"
#include "train/engine_parts.h"

/* Brings a micro-batch of n rows to the device, in the slot that is not being read; compute waits for
 * it there.  batch_used() after the last operation that reads it. */
static lt_err load_batch(lt_engine *e, const lt_engine_batch *b, int64_t n, lt_model_batch *out)
{
    const int32_t *from[LT_TOKEN_ARRAYS] = { b->ids, b->targets, b->positions, b->doc_start };
    const lt_backend *backend = e->dev->backend;
    token_slot *slot = &e->slots[e->turn ^= 1];
    lt_tensor t[LT_TOKEN_ARRAYS];
    lt_err err;

    LT_BUG_ON(n > e->rows);
    LT_TRY(err = backend->event_sync(e->dev, slot->used));
    for (int i = 0; i < LT_TOKEN_ARRAYS; i++) {
        int64_t at = i * e->rows;

        t[i] = from[i] ? lt_vector(slot->device + at, LT_I32, n) : lt_absent();
        if (!from[i])
            continue;
        memcpy(slot->pinned + at, from[i], (size_t)n * sizeof(int32_t));
        lt_dev_copy(e->dev, LT_STREAM_COPY_IN, slot->device + at, slot->pinned + at,
                    (size_t)n * sizeof(int32_t));
    }
    backend->event_record(e->dev, slot->copied, LT_STREAM_COPY_IN);
    backend->stream_wait(e->dev, LT_STREAM_COMPUTE, slot->copied);
    *out = (lt_model_batch){ t[0], t[1], t[2], t[3] };
fail:
    return err;
}

static void batch_used(lt_engine *e)
{
    e->dev->backend->event_record(e->dev, e->slots[e->turn].used, LT_STREAM_COMPUTE);
}

static void begin_step(lt_engine *e, double lr, int64_t n_tokens)
{
    lt_step_state *s = e->mirror;

    s->lr = (float)lr;
    s->inv_tokens = (float)(1.0 / (double)n_tokens);
    lt_engine_copy(e, e->state, s, offsetof(lt_step_state, grad_scale));
    e->dev->ops->step_begin(e->dev, e->state);
}

lt_err lt_engine_fetch(lt_engine *e)
{
    lt_engine_copy(e, e->mirror, e->state, sizeof *e->state);
    return lt_dev_sync(e->dev);
}

static lt_err run_micro(lt_engine *e, const lt_engine_batch *b, bool add, bool last)
{
    int64_t n = e->options.shape.n_batch * e->options.shape.seq;
    lt_tensor losses = lt_vector(e->losses, LT_F32, n);
    lt_model_batch batch;
    lt_err err;

    LT_TRY(err = load_batch(e, b, n, &batch));
    e->last_micro = last;
    e->reduce_err = LT_OK;
    lt_model_train(e->model, &batch, losses, e->state, add);
    batch_used(e);
    e->dev->ops->sum_losses(e->dev, e->state, losses);
    err = e->reduce_err;
fail:
    return err;
}

lt_err lt_engine_step(lt_engine *e, const lt_engine_batch *micro, int n_micro, int64_t n_tokens,
                      double lr, lt_engine_result *result)
{
    double start;
    lt_err err;

    *result = (lt_engine_result){ 0 };
    begin_step(e, lr, n_tokens);
    for (int i = 0; i < n_micro; i++) {
        start = lt_now();
        LT_TRY(err = run_micro(e, &micro[i], i > 0, i == n_micro - 1));
        result->forward_ms += (e->forward_done - start) * 1e3;
        result->backward_ms += (lt_now() - e->forward_done) * 1e3;
    }
    start = lt_now();
    for (int i = 0; i < e->n_slices; i++)
        e->dev->ops->sum_squares(e->dev, &e->sums[i], e->slices[i].g);
    lt_engine_copy(e, &e->sums[e->n_slices], &e->state->loss_sum, sizeof(double));
    lt_optim_decide(e->dev, &e->options.optim, e->sums, 1, e->n_slices, e->state);
    for (int i = 0; i < e->n_slices; i++)
        lt_optim_update(e->dev, &e->options.optim, &e->slices[i], e->state);
    LT_TRY(err = lt_zero_publish(e->store));
    LT_TRY(err = lt_engine_fetch(e));
    result->optimizer_ms = (lt_now() - start) * 1e3;
    result->loss = e->mirror->loss_sum / (double)n_tokens;
    result->grad_norm = (double)e->mirror->grad_norm;
    result->skipped = e->mirror->skip != 0;
    result->loss_scale = 1.0 / (double)e->mirror->inv_scale;
    result->scale_stuck = e->mirror->scale_stuck != 0;
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
    lt_err err;

    begin_step(e, 0, n_tokens);
    LT_TRY(err = run_micro(e, micro, false, true));
    LT_TRY(err = lt_engine_fetch(e));
    *loss = e->mirror->loss_sum / (double)n_tokens;
fail:
    return err;
}

lt_err lt_engine_evaluate(lt_engine *e, const lt_engine_batch *b, double *loss_sum)
{
    int64_t n = e->options.shape.n_batch * e->options.shape.seq;
    lt_tensor losses = lt_vector(e->losses, LT_F32, n);
    lt_model_batch batch;
    lt_err err;

    begin_step(e, 0, 1);
    LT_TRY(err = load_batch(e, b, n, &batch));
    lt_model_evaluate(e->model, &batch, losses);
    batch_used(e);
    e->dev->ops->sum_losses(e->dev, e->state, losses);
    LT_TRY(err = lt_engine_fetch(e));
    *loss_sum = e->mirror->loss_sum;
fail:
    return err;
}

static lt_err fetch_logits(lt_engine *e, float *logits, int64_t rows)
{
    lt_engine_copy(e, logits, e->logits,
                   (size_t)(rows * lt_engine_vocab(&e->config)) * sizeof *logits);
    return lt_dev_sync(e->dev);
}

lt_err lt_engine_logits(lt_engine *e, const lt_engine_batch *b, float *logits)
{
    int64_t n = e->options.shape.n_batch * e->options.shape.seq;
    lt_model_batch batch;
    lt_err err;

    LT_TRY(err = load_batch(e, b, n, &batch));
    lt_model_logits(e->model, &batch, lt_matrix(e->logits, LT_F32, n, lt_engine_vocab(&e->config)));
    batch_used(e);
    err = fetch_logits(e, logits, n);
fail:
    return err;
}

lt_err lt_engine_generate(lt_engine *e, const lt_engine_batch *b, int64_t past, int64_t n,
                          float *logits)
{
    int64_t n_batch = e->options.shape.generate_batch;
    lt_model_batch batch;
    lt_err err;

    LT_TRY(err = load_batch(e, b, n_batch * n, &batch));
    lt_model_generate(e->model, &batch, past, n,
                      lt_matrix(e->logits, LT_F32, n_batch, lt_engine_vocab(&e->config)));
    batch_used(e);
    err = fetch_logits(e, logits, n_batch);
fail:
    return err;
}
