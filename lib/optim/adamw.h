/* optim/adamw.h - owned gradient slices -> updated slices: norm, clipping, AdamW.
 *
 * Nothing here waits for the device: the norm, the clip factor and the decision to skip a step with
 * a non-finite gradient live in lt_step_state and are read there by the update. */
#ifndef LT_OPTIM_ADAMW_H
#define LT_OPTIM_ADAMW_H

#include "device/device.h"

/* Flat vectors (1, n) of one segment; see lt_ops.adamw. */
typedef struct lt_optim_slice {
    lt_tensor p, copy, m, v, g;
    bool decay; /* weight decay applies */
} lt_optim_slice;

typedef struct lt_optim {
    float beta1, beta2, eps;
    float weight_decay;
    bool decay_all; /* decay what the table says should not */
    bool decoupled; /* AdamW; false: Adam with L2 */
    float max_norm; /* global norm clipping; <= 0: off */
    lt_loss_scaling scaling;
} lt_optim;

/* From all ranks' sums, as lt_ops.grad_norm_finish has them: loss, norm, clip, skip, Adam's t, and
 * where the loss scale goes next. */
void lt_optim_decide(lt_dev *dev, const lt_optim *o, const double *sums, int n_ranks, int n,
                     lt_step_state *state);
/* AdamW on one slice, or nothing in a skipped step. */
void lt_optim_update(lt_dev *dev, const lt_optim *o, const lt_optim_slice *slice,
                     const lt_step_state *state);

#endif
