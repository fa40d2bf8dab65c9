/* train/engine_tune.c - one choice of algorithms for all ranks.
 *
 * A device that times algorithms for itself may choose others than its neighbour, and replicas of
 * one sum would then differ in their last bits from run to run.  So every rank meets the calls of a
 * run once, and rank 0's choices hold for all; a checkpoint keeps them (train/saver.c). */
#include "train/engine_parts.h"

#include "base/log.h"
#include "train/ranks.h"

#include <stdlib.h>

/* Tokens of one micro-batch: different ones, so that nobody times products of zeros. */
static int32_t *make_tokens(const lt_engine *e, lt_engine_batch *out)
{
    int64_t seq = e->options.shape.seq, n = e->options.shape.n_batch * seq;
    int32_t *ids = lt_new_array0((size_t)n * 3, sizeof *ids);

    for (int64_t i = 0; i < n; i++) {
        ids[i] = (int32_t)(i % e->config.vocab_size);
        ids[n + i] = (int32_t)((i + 1) % e->config.vocab_size);
        ids[2 * n + i] = (int32_t)(i % seq);
    }
    *out = (lt_engine_batch){ .ids = ids, .targets = ids + n, .positions = ids + 2 * n };
    return ids;
}

/* The calls of a step, which write gradients and, from the second micro-batch on, add to them, and
 * of an evaluation.  None of them is recorded: a recorded pass would keep this rank's choices. */
static lt_err meet_calls(lt_engine *e, int n_micro)
{
    int64_t n_tokens = e->options.shape.n_batch * e->options.shape.seq * e->group->world;
    int n_passes = n_micro < 2 ? 1 : 2;
    lt_engine_batch batch;
    int32_t *tokens = make_tokens(e, &batch);
    double loss;
    lt_err err = LT_OK;

    lt_model_set_graphs(e->model, false);
    lt_engine_begin_step(e, &e->steps[0], 0, n_tokens);
    for (int i = 0; i < n_passes; i++)
        LT_TRY(err = lt_engine_run_micro(e, &batch, i == 0, i == n_passes - 1));
    lt_zero_grads_finish(e->store);
    LT_TRY(err = lt_zero_sync(e->store));
    if (e->options.shape.uses[LT_USE_EVALUATE])
        err = lt_engine_evaluate(e, &batch, &loss);
fail:
    lt_model_set_graphs(e->model, true);
    free(tokens);
    return err;
}

/* Rank 0's choices on every rank.  Another kind of device keeps its own, which is said. */
static lt_err share_choices(lt_engine *e)
{
    const lt_backend *backend = e->dev->backend;
    lt_buf text = { 0 };
    double others = 0;
    lt_err err;

    if (e->group->rank == 0)
        backend->tuning_save(e->dev, &text);
    LT_TRY(err = lt_group_broadcast(e->group, &text, 0));
    if (e->group->rank > 0)
        err = backend->tuning_load(e->dev, text.data, text.size, "algorithms of rank 0");
    others = err == LT_EMISMATCH;
    LT_TRY(err = lt_ranks_agree(e->group, err == LT_EMISMATCH ? LT_OK : err));
    LT_TRY(err = lt_ranks_sum(e->group, &others, 1));
    if (others > 0)
        lt_log_warn(
            "%.0f of %d ranks have another kind of GPU, or of cuBLASLt, than rank 0 and use "
            "their own GEMM algorithms",
            others, e->group->world);
fail:
    lt_buf_release(&text);
    return err;
}

lt_err lt_engine_tune(lt_engine *e, int n_micro)
{
    lt_err err;

    LT_BUG_ON(lt_engine_outstanding(e) > 0 || n_micro < 1);
    if (e->group->world == 1 || !e->dev->backend->tuning_save)
        return LT_OK;
    LT_TRY(err = lt_ranks_agree(e->group, meet_calls(e, n_micro)));
    err = share_choices(e);
fail:
    return err;
}
