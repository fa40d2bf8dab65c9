/* train/engine_parts.h - the engine's insides, shared by engine.c (life), engine_step.c (steps) and
 * engine_state.c (weights and counters). */
#ifndef LT_TRAIN_ENGINE_PARTS_H
#define LT_TRAIN_ENGINE_PARTS_H

#include "train/engine.h"

enum { LT_TOKEN_ARRAYS = 4 };

/* Room for one micro-batch: ids, targets, positions, doc_start, `rows` of each. */
typedef struct token_slot {
    int32_t *device, *pinned;
    lt_event *copied; /* on the device */
    lt_event *used;   /* nobody reads it any more */
} token_slot;

struct lt_engine {
    lt_unit_access access; /* first: the model's hooks lead back here */
    lt_engine_options options;
    lt_model_config config;
    lt_param_table *table;
    lt_model *model;
    lt_zero_plan *plan;
    lt_zero_store *store;
    lt_dev *dev;
    lt_comm *comm;
    lt_optim_slice *slices;
    int n_slices;
    void *arena, *cache;
    float *logits; /* device, rows of lt_engine_logits or _generate */
    int64_t logits_rows;
    token_slot slots[2]; /* micro-batches on their way: one is read while the other is filled */
    int turn;
    int64_t rows;          /* of a micro-batch, the largest use */
    float *losses;         /* device */
    double *sums;          /* device, n_slices */
    lt_step_state *state;  /* device */
    lt_step_state *mirror; /* pinned */
    lt_engine_bytes bytes;
    bool last_micro;     /* gradients of this pass are complete: reduce */
    lt_err reduce_err;   /* first failure of a reduction inside a pass */
    double forward_done; /* host clock when the head's gradient was enqueued */
};

static inline int64_t lt_engine_vocab(const lt_model_config *c)
{
    return (int64_t)LT_ALIGN_UP(c->vocab_size, LT_VOCAB_PAD);
}

/* On the compute stream, behind everything enqueued. */
static inline void lt_engine_copy(lt_engine *e, void *dst, const void *src, size_t bytes)
{
    lt_dev_copy(e->dev, LT_STREAM_COMPUTE, dst, src, bytes);
}

/* The device's step state into e->mirror; waits. */
LT_MUST_USE lt_err lt_engine_fetch(lt_engine *e);

/* The state before step 1. */
LT_MUST_USE lt_err lt_engine_first_state(lt_engine *e);

#endif
