/* tools/bench/replica.h - a whole model on one device of several, as torch.nn.DataParallel keeps
 * them: weights that are copied here before every step, gradients that somebody fetches after it.
 *
 * The first replica's device also has what only one keeps: see data_parallel.h.  Weights lie in one
 * flat buffer of the compute type and gradients in one of fp32, parameters that decay first. */
#ifndef LT_TOOLS_REPLICA_H
#define LT_TOOLS_REPLICA_H

#include "model/model.h"

/* Where each parameter begins in the flat buffers, in elements. */
typedef struct flat_layout {
    const lt_param_table *table; /* borrowed */
    int64_t *offsets;            /* one a parameter */
    int64_t n_decay, n;          /* elements that decay; all, padded */
} flat_layout;

void flat_layout_init(flat_layout *l, const lt_param_table *table);
void flat_layout_release(flat_layout *l);

enum { REPLICA_TOKEN_ARRAYS = 3 }; /* ids, targets, positions: rows of each, one after another */

typedef struct replica {
    lt_unit_access access; /* first: the model's hooks lead back here */
    const flat_layout *layout;
    lt_dev *dev;
    lt_model *model;
    lt_dtype type;
    int64_t rows;
    char *weights;         /* type */
    float *grads, *losses; /* losses: (1, rows) */
    int32_t *tokens;
    lt_step_state *state;
    void *arena;
    uint64_t bytes; /* taken on the device, scratch apart */
} replica;

LT_MUST_USE lt_err replica_open(replica *r, const char *device, const lt_dev_options *options,
                                const lt_model_config *config, const lt_model_shape *shape,
                                const flat_layout *layout);
void replica_close(replica *r); /* what failed to open, too */
/* Device memory that counts as this replica's and is given back with lt_dev_free. */
LT_MUST_USE lt_err replica_take(replica *r, uint64_t bytes, void *out);

/* Enqueues forward and backward of the tokens that are there; `begin` is what the host says of a
 * step, alive until the device has read it. */
void replica_pass(replica *r, const lt_step_state *begin);

#endif
