/* model/model.h - batch -> loss -> gradients: one transformer for every family.
 *
 * The model knows mathematics and lifetimes.  Parameters and gradients come through lt_unit_access,
 * so it does not know where they live (zero/ does) nor when they are reduced; batches and the
 * optimizer are train/'s.  A model has one plan per use (train, evaluate, logits, generate); all
 * uses share one arena, whose size is known before anything is allocated. */
#ifndef LT_MODEL_MODEL_H
#define LT_MODEL_MODEL_H

#include "device/device.h"
#include "param/param_table.h"

/* How the model reaches parameters.  Whoever provides it embeds this as its first member. */
typedef struct lt_unit_access lt_unit_access;
struct lt_unit_access {
    lt_tensor (*param)(lt_unit_access *a, int index); /* (phys_rows, cols), unit acquired */
    lt_tensor (*grad)(lt_unit_access *a, int index);
    void (*acquire)(lt_unit_access *a, int unit); /* the unit is about to be used */
    void (*release)(lt_unit_access *a, int unit);
    void (*grads_done)(lt_unit_access *a, int unit); /* last gradient write of this pass enqueued */
};

typedef enum lt_use {
    LT_USE_TRAIN,    /* forward and backward */
    LT_USE_EVALUATE, /* losses only */
    LT_USE_LOGITS,   /* forward, logits of every position */
    LT_USE_GENERATE, /* forward with a KV cache, logits of the last position */
    LT_N_USES,
} lt_use;

typedef struct lt_model_shape {
    int64_t n_batch, seq; /* micro-batch B and T */
    lt_dtype act, grad;
    lt_recompute recompute;
    int64_t chunk_rows; /* rows of logits that exist at once in the LM head; 0: all */
    int64_t generate_batch, generate_prompt, generate_total; /* 0: no generation */
    bool uses[LT_N_USES];
} lt_model_shape;

/* Device tensors of one micro-batch; R = B*T, row b*T + t. */
typedef struct lt_model_batch {
    lt_tensor ids, targets, positions; /* (1, R) int32 */
    lt_tensor doc_start;               /* (1, R) int32 or absent */
} lt_model_batch;

typedef struct lt_model lt_model;

/* Plans every use without a device.  Borrows table; config is copied.  LT_EUSAGE when the sequence
 * is longer than the model's positions. */
LT_MUST_USE lt_err lt_model_new(lt_model **out, const lt_model_config *config,
                                const lt_param_table *table, const lt_model_shape *shape);
void lt_model_free(lt_model *m); /* NULL is fine; before the device it was bound to is closed */

size_t lt_model_arena_bytes(const lt_model *m);
size_t lt_model_use_bytes(const lt_model *m, lt_use use);
size_t lt_model_cache_bytes(const lt_model *m); /* KV cache of LT_USE_GENERATE */
lt_dev_need lt_model_need(const lt_model *m);   /* for lt_dev_reserve and lt_backend.plan */
/* Floating point operations of forward + backward per token (recomputation not counted): 6 per
 * matrix weight and 12 L T H D attention (PaLM, Chowdhery et al. 2022, appendix B), causal
 * halved. */
double lt_model_flops_per_token(const lt_model *m);

/* From here on the model runs on dev, with this memory (lt_model_arena_bytes, _cache_bytes). */
void lt_model_bind(lt_model *m, lt_dev *dev, lt_unit_access *access, void *arena, void *cache);
/* After bind.  Training and evaluation passes are played as graphs where the device can
 * (model/tape.h), with the same bits.  On unless LT_GRAPHS=0, which no call
 * overrules; false: every pass runs as it stands. */
void lt_model_set_graphs(lt_model *m, bool on);

/* Forward and backward: losses (1, R) fp32 are written, gradients (+)= by `add`.  state is device
 * memory; its grad_scale enters the gradient of the logits. */
void lt_model_train(lt_model *m, const lt_model_batch *batch, lt_tensor losses,
                    const lt_step_state *state, bool add);
void lt_model_evaluate(lt_model *m, const lt_model_batch *batch, lt_tensor losses);
/* logits (R, V physical) fp32; columns from vocab_size on are padding */
void lt_model_logits(lt_model *m, const lt_model_batch *batch, lt_tensor logits);
/* Appends batch (B = generate_batch, n new positions each from `past` on) to the KV cache and
 * writes the logits of each sequence's last position: (B, V physical) fp32.
 * Starts over at past = 0. */
void lt_model_generate(lt_model *m, const lt_model_batch *batch, int64_t past, int64_t n,
                       lt_tensor logits);

#endif
