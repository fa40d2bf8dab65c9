/* train/engine.h - a model on a device with its parameters, gradients and optimizer: one step.
 *
 * Joins the rooms: model/ computes, zero/ holds, comm/ moves, optim/ updates.  Knows nothing of
 * configuration files, data files or checkpoints; the loop, lt-bench and generation stand on it.
 * With more ranks than one every rank makes the same calls in the same order. */
#ifndef LT_TRAIN_ENGINE_H
#define LT_TRAIN_ENGINE_H

#include "comm/watch.h"
#include "model/model.h"
#include "optim/adamw.h"
#include "zero/store.h"

typedef struct lt_engine lt_engine;

typedef struct lt_engine_options {
    const lt_model_config *config; /* copied */
    lt_model_shape shape;          /* act is the compute dtype of parameters too */
    const char *device;            /* "auto", "cpu", "cuda" */
    lt_dev_options dev;
    lt_optim optim;
    double loss_scale;     /* to begin with; 0 means 1 */
    lt_zero_settings zero; /* rank, world, types and `training` are filled in here */
    lt_group *group;       /* borrowed; NULL: this process alone */
    lt_watch *watch;       /* hears where a step is; may be NULL */
    int world;             /* lt_engine_plan: ranks to plan for; 0: as many as the group */
    bool training;         /* false: parameters only */
} lt_engine_options;

/* Bytes by class, the same arithmetic that lt_engine_open allocates by; and what a checkpoint is
 * made of. */
typedef struct lt_engine_bytes {
    lt_zero_bytes state;  /* parameters, gradients, master weights, moments, tiers */
    uint64_t activations; /* arena: the largest use */
    uint64_t kv_cache;
    uint64_t batch;   /* token buffers, losses, step state */
    uint64_t scratch; /* the operations' own */
    uint64_t total;   /* of all that is on the device */
    uint64_t host;    /* memory of the host: tiers, and page-locked for transfers */
    uint64_t owned;   /* elements, not bytes, of the parameters that this rank saves */
} lt_engine_bytes;

/* shape.chunk_rows, or unless it is given rows of logits that are enough to keep the device's GEMM
 * busy, and small beside the activations. */
int64_t lt_engine_chunk_rows(const lt_model_shape *s, const lt_backend *backend);

/* Sizes of rank 0 without opening a device; `device` must be a backend's name. */
LT_MUST_USE lt_err lt_engine_plan(lt_engine_bytes *out, const lt_engine_options *o);

LT_MUST_USE lt_err lt_engine_open(lt_engine **out, const lt_engine_options *o);
void lt_engine_close(lt_engine *e); /* NULL is fine */

/* Fresh weights: a pure function of the seed. */
LT_MUST_USE lt_err lt_engine_init_weights(lt_engine *e, uint64_t seed);

/* One micro-batch on the host: R = n_batch * seq values each; doc_start may be NULL. */
typedef struct lt_engine_batch {
    const int32_t *ids, *targets, *positions, *doc_start;
} lt_engine_batch;

typedef struct lt_engine_result {
    double loss; /* mean over the counted tokens of all ranks */
    double grad_norm;
    bool skipped;
    const lt_param *bad;   /* skipped: the first parameter with a non-finite gradient on any rank */
    double loss_scale;     /* that the step was computed with */
    bool scale_stuck;      /* it overflowed at the smallest scale */
    const uint32_t *words; /* what each rank said in this step; valid until the next result */
    double forward_ms, backward_ms, optimizer_ms; /* host clock around the enqueued work */
} lt_engine_result;

/* Enqueues one optimizer step: this rank's n_micro micro-batches, n_tokens counted targets of all
 * ranks and micro-batches.  `word` reaches every rank with the step's result, so that ranks agree
 * on what to do next without asking.  At most LT_STEPS_AHEAD results may be outstanding. */
enum { LT_STEPS_AHEAD = 2 };
LT_MUST_USE lt_err lt_engine_enqueue(lt_engine *e, const lt_engine_batch *micro, int n_micro,
                                     int64_t n_tokens, double lr, uint32_t word);
/* Steps done before the next lt_engine_enqueue, for the watch. */
void lt_engine_at_step(lt_engine *e, uint64_t step);
int lt_engine_outstanding(const lt_engine *e);
/* The result of the oldest outstanding step; waits for it. */
LT_MUST_USE lt_err lt_engine_result_next(lt_engine *e, lt_engine_result *result);
/* Both at once. */
LT_MUST_USE lt_err lt_engine_step(lt_engine *e, const lt_engine_batch *micro, int n_micro,
                                  int64_t n_tokens, double lr, lt_engine_result *result);
/* For schedules that cycle momentum: betas of the steps from here on. */
void lt_engine_set_betas(lt_engine *e, double beta1, double beta2);

/* The rest needs every result fetched. */

/* All ranks, once, when weights are there and before the first pass of any kind: ranks choose the
 * algorithms that they are going to need (lt_backend.tuning_save) in passes over made-up tokens,
 * then all take rank 0's.  Changes no weight and no counter; the gradients it leaves are
 * overwritten by the first step.  n_micro: of a step.  One rank, or a device that chooses nothing:
 * does nothing. */
LT_MUST_USE lt_err lt_engine_tune(lt_engine *e, int n_micro);

/* Gradients of one micro-batch without an update (lt-bench golden): reduced; this rank's part is in
 * the owned gradients. */
LT_MUST_USE lt_err lt_engine_gradients(lt_engine *e, const lt_engine_batch *micro, int64_t n_tokens,
                                       double *loss);
/* Sum of the token losses of one micro-batch, of this rank's. */
LT_MUST_USE lt_err lt_engine_evaluate(lt_engine *e, const lt_engine_batch *batch, double *loss_sum);
/* logits (R, V physical) fp32 on the host; needs LT_USE_LOGITS */
LT_MUST_USE lt_err lt_engine_logits(lt_engine *e, const lt_engine_batch *batch, float *logits);
/* Feeds n tokens a sequence (batch->ids, positions) after `past`; logits (B, V physical), host. */
LT_MUST_USE lt_err lt_engine_generate(lt_engine *e, const lt_engine_batch *batch, int64_t past,
                                      int64_t n, float *logits);

lt_dev *lt_engine_device(lt_engine *e);
lt_group *lt_engine_group(lt_engine *e);
lt_zero_store *lt_engine_store(lt_engine *e);
const lt_zero_plan *lt_engine_zero_plan(const lt_engine *e);
const lt_param_table *lt_engine_table(const lt_engine *e);
lt_model *lt_engine_model(lt_engine *e);
lt_engine_bytes lt_engine_bytes_used(const lt_engine *e);
int64_t lt_engine_prompt_rows(const lt_engine *e); /* most tokens of one lt_engine_generate */
int64_t lt_engine_vocab_rows(const lt_engine *e);  /* V physical */

/* The step state after the last step: Adam's t, skipped steps, loss scale.  Part of a checkpoint;
 * set_state takes the fields that outlive a step. */
LT_MUST_USE lt_err lt_engine_state(lt_engine *e, lt_step_state *out);
LT_MUST_USE lt_err lt_engine_set_state(lt_engine *e, const lt_step_state *state);

#endif
