/* train/engine_pass.c - batches on their way to the device, and the passes that do not train:
 * evaluation, logits, generation. */
#include "train/engine_parts.h"

#include <stdlib.h>
#include <string.h>

lt_err lt_engine_load_batch(lt_engine *e, const lt_engine_batch *b, int64_t n, lt_model_batch *out)
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

void lt_engine_batch_used(lt_engine *e)
{
    e->dev->backend->event_record(e->dev, e->slots[e->turn].used, LT_STREAM_COMPUTE);
}

void lt_engine_pass_begin(lt_engine *e, lt_use use)
{
    unit_sequence *s = &e->sequences[use];

    e->pass = s;
    lt_zero_pass_begin(e->store, s->units, s->known ? s->n : 0);
}

void lt_engine_pass_end(lt_engine *e)
{
    e->pass->known = true;
}

lt_err lt_engine_evaluate(lt_engine *e, const lt_engine_batch *b, double *loss_sum)
{
    int64_t n = e->options.shape.n_batch * e->options.shape.seq;
    lt_tensor losses = lt_vector(e->losses, LT_F32, n);
    step_slot *slot = &e->steps[0];
    lt_model_batch batch;
    lt_err err;

    LT_BUG_ON(lt_engine_outstanding(e) > 0);
    lt_engine_begin_step(e, slot, 0, 1);
    LT_TRY(err = lt_engine_load_batch(e, b, n, &batch));
    lt_engine_pass_begin(e, LT_USE_EVALUATE);
    lt_model_evaluate(e->model, &batch, losses);
    lt_engine_pass_end(e);
    lt_engine_batch_used(e);
    e->dev->ops->sum_losses(e->dev, e->state, losses);
    LT_TRY(err = lt_engine_fetch(e, slot));
    *loss_sum = slot->end->loss_sum;
    err = lt_zero_check(e->store);
fail:
    return err;
}

static lt_err fetch_logits(lt_engine *e, float *logits, int64_t rows)
{
    lt_err err;

    lt_engine_copy(e, logits, e->logits,
                   (size_t)(rows * lt_engine_vocab(&e->config)) * sizeof *logits);
    LT_TRY(err = lt_dev_sync(e->dev));
    err = lt_zero_check(e->store);
fail:
    return err;
}

lt_err lt_engine_logits(lt_engine *e, const lt_engine_batch *b, float *logits)
{
    int64_t n = e->options.shape.n_batch * e->options.shape.seq;
    lt_model_batch batch;
    lt_err err;

    LT_BUG_ON(lt_engine_outstanding(e) > 0);
    LT_TRY(err = lt_engine_load_batch(e, b, n, &batch));
    lt_engine_pass_begin(e, LT_USE_LOGITS);
    lt_model_logits(e->model, &batch, lt_matrix(e->logits, LT_F32, n, lt_engine_vocab(&e->config)));
    lt_engine_pass_end(e);
    lt_engine_batch_used(e);
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

    LT_BUG_ON(lt_engine_outstanding(e) > 0);
    LT_TRY(err = lt_engine_load_batch(e, b, n_batch * n, &batch));
    lt_engine_pass_begin(e, LT_USE_GENERATE);
    lt_model_generate(e->model, &batch, past, n,
                      lt_matrix(e->logits, LT_F32, n_batch, lt_engine_vocab(&e->config)));
    lt_engine_pass_end(e);
    lt_engine_batch_used(e);
    err = fetch_logits(e, logits, n_batch);
fail:
    return err;
}
