/* zero/exchange.c - the owned state as host memory, for checkpoints and first weights, and what has
 * to follow when it was written. */
#include "zero/store_parts.h"

static float *class_base(const lt_zero_store *z, lt_zero_class which)
{
    return which == LT_ZERO_MASTER ? z->master : which == LT_ZERO_MOMENT1 ? z->moment1 : z->moment2;
}

/* Where elements of the run are in device memory; -1: not there. */
static int64_t place_of(const lt_zero_run *run, lt_zero_class which)
{
    return which == LT_ZERO_MASTER ? run->master : run->moment;
}

/* Where the run begins in its tile's record, in bytes. */
static size_t in_record(const lt_zero_store *z, const lt_zero_run *run, lt_zero_class which)
{
    return (size_t)(which * z->plan->tiles[run->tile].count + run->in_tile) * sizeof(float);
}

static lt_err read_run(lt_zero_store *z, lt_zero_class which, const lt_zero_run *run, float *dst)
{
    size_t bytes = (size_t)run->count * sizeof *dst;

    if (run->record >= 0)
        return lt_tier_read(z->optimizer_tier, run->record, in_record(z, run, which), bytes, dst);
    if (place_of(run, which) < 0)
        memset(dst, 0, bytes);
    else
        lt_dev_copy(z->dev, LT_STREAM_COMPUTE, dst, class_base(z, which) + place_of(run, which),
                    bytes);
    return LT_OK;
}

static lt_err write_run(lt_zero_store *z, lt_zero_class which, const lt_zero_run *run,
                        const float *src)
{
    size_t bytes = (size_t)run->count * sizeof *src;

    if (run->record >= 0)
        return lt_tier_write(z->optimizer_tier, run->record, in_record(z, run, which), bytes, src);
    if (place_of(run, which) >= 0)
        lt_dev_copy(z->dev, LT_STREAM_COMPUTE, class_base(z, which) + place_of(run, which), src,
                    bytes);
    return LT_OK;
}

lt_err lt_zero_read(lt_zero_store *z, lt_zero_class which, const lt_zero_piece *piece, float *dst)
{
    int64_t first = lt_zero_plan_state_of(z->plan, piece->owned);
    lt_err err;

    for (int64_t at = 0; at < piece->count;) {
        lt_zero_run run = lt_zero_plan_run(z->plan, first + at, piece->count - at);

        LT_TRY(err = read_run(z, which, &run, dst + at));
        at += run.count;
    }
    err = lt_dev_sync(z->dev);
fail:
    return err;
}

lt_err lt_zero_write(lt_zero_store *z, lt_zero_class which, const lt_zero_piece *piece,
                     const float *src)
{
    int64_t first = lt_zero_plan_state_of(z->plan, piece->owned);
    lt_err err;

    for (int64_t at = 0; at < piece->count;) {
        lt_zero_run run = lt_zero_plan_run(z->plan, first + at, piece->count - at);

        LT_TRY(err = write_run(z, which, &run, src + at));
        at += run.count;
    }
    err = lt_dev_sync(z->dev);
fail:
    return err;
}

/* Stage 0: every rank has written the slices it owns; here they become everybody's. */
static void share_part(lt_zero_store *z, const zero_part *part)
{
    const lt_zero_segment *s = &z->plan->segments[part->segment];
    lt_tensor state[] = { part->master, part->moment1, part->moment2 };

    lt_zero_hand_over(z);
    z->comm->ops->group_begin(z->comm);
    for (int rank = 0; rank < z->plan->set.world; rank++) {
        int64_t first = rank * s->slice - part->in_segment, end = first + s->slice;

        first = first > 0 ? first : 0;
        end = end < part->master.cols ? end : part->master.cols;
        for (size_t i = 0; i < LT_COUNT(state) && first < end; i++)
            if (state[i].data)
                z->comm->ops->broadcast(z->comm, lt_block(state[i], 0, 1, first, end - first),
                                        rank);
    }
    z->comm->ops->group_end(z->comm);
    lt_zero_await_comm(z);
}

lt_err lt_zero_refresh(lt_zero_store *z)
{
    zero_part part;

    for (lt_zero_walk_begin(z, true); lt_zero_walk_next(z, &part);) {
        if (z->plan->set.stage == 0 && !lt_zero_is_alone(z))
            share_part(z, &part);
        if (part.weights.data)
            z->dev->ops->copy(z->dev, part.weights, part.master);
    }
    return lt_zero_sync(z);
}
