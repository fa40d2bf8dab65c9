/* model/transformer.h - private to model/: the state of a run and the passes over one block. */
#ifndef LT_MODEL_TRANSFORMER_H
#define LT_MODEL_TRANSFORMER_H

#include "model/act_plan.h"
#include "model/model.h"
#include "model/tape.h"

/* Tensors of a block; slot = layer * N_BLOCK_SLOTS + name. */
typedef enum block_slot {
    S_INPUT, /* (R, C) the residual stream where the block begins */
    S_NORM1, /* (R, C) */
    S_MEAN1, /* (1, R) fp32, as S_RSTD1, S_MEAN2, S_RSTD2 */
    S_RSTD1,
    S_QKV,   /* (R, (H + 2 Hkv) D) */
    S_ATT,   /* (R, H D) heads' outputs */
    S_LSE,   /* (B H, T) fp32 */
    S_MID,   /* (R, C) the residual stream after attention */
    S_NORM2, /* (R, C) */
    S_MEAN2,
    S_RSTD2,
    S_FC,    /* (R, F) before the activation function */
    S_FCACT, /* (R, F) after it */
    N_BLOCK_SLOTS,
} block_slot;

/* Tensors outside blocks, and gradients, which live one at a time. */
typedef enum common_slot {
    S_BRANCH,     /* (R, C) what the next norm adds to the residual stream */
    S_FINAL,      /* (R, C) residual stream after the last block */
    S_FINAL_NORM, /* (R, C) */
    S_FINAL_MEAN,
    S_FINAL_RSTD,
    S_CHUNK,  /* (chunk_rows, V) logits */
    S_DRESID, /* (R, C) gradient of the residual stream */
    S_DFC,    /* (R, F) */
    S_DNORM,  /* (R, C) gradient of a norm's output */
    S_DATT,   /* (R, H D) */
    S_DQKV,   /* as S_QKV */
    N_COMMON_SLOTS,
} common_slot;

struct lt_model {
    lt_model_config config;
    const lt_param_table *table;
    lt_model_shape shape;
    int *rows_of_role; /* [(layer + 1) * LT_N_ROLES + role] -> row of the table */
    lt_act_plan *plans[LT_N_USES];
    size_t use_bytes[LT_N_USES];
    /* The run in progress. */
    lt_dev *dev;
    lt_unit_access *access;
    lt_tapes *tapes; /* NULL: the device cannot record */
    lt_act_plan *plan;
    int64_t n_batch, t_q, past; /* t_q new positions after `past` cached ones */
    const lt_model_batch *batch;
    lt_tensor cache;      /* (2 layers B Tmax, Hkv D): k and v of layer l at 2 l and 2 l + 1 */
    bool use_cache, keep; /* keep: tensors are kept for a backward pass */
};

static inline int64_t run_rows(const lt_model *m)
{
    return m->n_batch * m->t_q;
}

static inline int block_slot_of(int layer, block_slot s)
{
    return N_COMMON_SLOTS + layer * N_BLOCK_SLOTS + (int)s;
}

/* The operations, for calls up to the next hook. */
static inline const lt_ops *lt_model_ops(lt_model *m)
{
    lt_tape_op(m->tapes);
    return m->dev->ops;
}

/* The model's calls of its unit access. */
void lt_model_acquire(lt_model *m, int unit);
void lt_model_release(lt_model *m, int unit);
void lt_model_grads_done(lt_model *m, int unit);

lt_tensor lt_model_param(lt_model *m, lt_role role, int layer);
lt_tensor lt_model_grad(lt_model *m, lt_role role, int layer);

/* S_BRANCH (added to the stream of the block before) -> S_BRANCH.
 * Layer 0 finds S_INPUT defined. */
void lt_block_forward(lt_model *m, int layer);
/* S_DRESID: gradient of the block's output -> of its input; parameter gradients (+)=. */
void lt_block_backward(lt_model *m, int layer, bool add);

#endif
