/* train/engine_parts.h - the engine's insides, shared by engine.c (life), engine_step.c (training
 * steps), engine_pass.c (batches and other passes), engine_state.c (weights and counters) and
 * engine_tune.c (one choice of algorithms for all ranks). */
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

/* What the host says before a step and hears after it; all pinned. */
typedef struct step_slot {
    lt_step_state *begin; /* lr and inv_tokens of a step that is enqueued */
    lt_step_state *end;   /* the state after it */
    double *row;          /* this rank's word, on its way to the sums */
    double *rows;         /* everybody's sums, with their words */
    lt_event *done;
    double n_tokens;
    double forward_ms, backward_ms, optimizer_ms;
} step_slot;

/* The units that a use acquires, learnt in its first pass and told to the store in later ones. */
typedef struct unit_sequence {
    int *units;
    int n, room;
    bool known;
} unit_sequence;

struct lt_engine {
    lt_unit_access access; /* first: the model's hooks lead back here */
    lt_engine_options options;
    lt_model_config config;
    lt_param_table *table;
    lt_model *model;
    lt_zero_plan *plan;
    lt_zero_store *store;
    lt_dev *dev;
    lt_group *group, *own_group; /* own_group: closed with the engine */
    lt_comm *comm;
    void *arena, *cache;
    float *logits;       /* device, rows of lt_engine_logits or _generate */
    token_slot slots[2]; /* micro-batches on their way: one is read while the other is filled */
    int turn;
    int64_t rows;  /* of a micro-batch, the largest use */
    float *losses; /* device */

    /* (world, row_length) doubles on the device: of each rank the sums of squares of its owned
     * gradients, its loss, its word */
    double *sums;
    int n_sums, row_length;
    lt_event *sums_ready, *sums_gathered;
    uint32_t *words;   /* host, one a rank */
    lt_range *ranges;  /* device: owned gradients, parameter by parameter */
    int *range_params; /* host: whose they are */
    int n_ranges;
    lt_dtype range_type;

    step_slot steps[LT_STEPS_AHEAD];
    uint64_t n_enqueued, n_fetched;
    uint64_t at_step;     /* steps done, for the watch */
    lt_step_state *state; /* device */
    lt_engine_bytes bytes;
    unit_sequence sequences[LT_N_USES];
    unit_sequence *pass;          /* of the pass under way */
    bool first_micro, last_micro; /* of the step */
    double forward_done;          /* host clock when the head's gradient was enqueued */
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

/* engine_pass.c: brings a micro-batch of n rows to the device, in the slot that is not being read;
 * compute waits for it there.  batch_used after the last operation that reads it. */
LT_MUST_USE lt_err lt_engine_load_batch(lt_engine *e, const lt_engine_batch *b, int64_t n,
                                        lt_model_batch *out);
void lt_engine_batch_used(lt_engine *e);
/* Around every pass of the model. */
void lt_engine_pass_begin(lt_engine *e, lt_use use);
void lt_engine_pass_end(lt_engine *e);

/* engine_step.c: the scalars of a step that begins now. */
void lt_engine_begin_step(lt_engine *e, step_slot *slot, double lr, int64_t n_tokens);
/* Forward and backward of one micro-batch, the `first` and the `last` of a step or not. */
LT_MUST_USE lt_err lt_engine_run_micro(lt_engine *e, const lt_engine_batch *b, bool first,
                                       bool last);
/* The device's step state into slot->end; waits. */
LT_MUST_USE lt_err lt_engine_fetch(lt_engine *e, step_slot *slot);

/* engine_state.c: the state before step 1. */
LT_MUST_USE lt_err lt_engine_first_state(lt_engine *e);

#endif
