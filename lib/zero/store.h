/* zero/store.h - the buffers of a ZeRO plan on one device, and what moves between them.
 *
 * A micro-step walks:  gather(unit) .. compute .. release(unit), and after a unit's gradients are
 * written grads_done(unit); after the last micro-step of a step grads_finish(), the norm over the
 * owned gradients, and the update:
 *
 *     for (lt_zero_update_begin(z); lt_zero_update_next(z, &tile);)
 *         AdamW on tile
 * after which every gathered parameter follows, in the background, in the order of the next use.
 * Collectives run on LT_STREAM_COMM beside the computation; only gather waits.  Nothing waits on
 * the host (with the exceptions of overlap: false and of a file tier).  Failures of collectives and
 * tiers come out of lt_zero_check and of the blocking calls.
 *
 * The head's unit is gathered before a pass writes any gradient, and after it each unit (tied
 * embeddings too) before its own are written: that is when the gradients of the micro-step before
 * are taken out of its slot.  In every step the same calls come in the same order on all ranks. */
#ifndef LT_ZERO_STORE_H
#define LT_ZERO_STORE_H

#include "comm/comm.h"
#include "zero/plan.h"

typedef struct lt_zero_store lt_zero_store;

/* Borrows all four for its life. */
LT_MUST_USE lt_err lt_zero_store_open(lt_zero_store **out, lt_dev *dev, lt_comm *comm,
                                      const lt_zero_plan *plan, const lt_param_table *table);
void lt_zero_store_close(lt_zero_store *z); /* NULL is fine; comm may have been closed before */

/* The units that a pass is going to gather, in order, so that they are fetched ahead; borrowed
 * until the next call. */
void lt_zero_pass_begin(lt_zero_store *z, const int *units, int n);
void lt_zero_gather(lt_zero_store *z, int unit);
void lt_zero_release(lt_zero_store *z, int unit);

/* Gathered parameter (between gather and release) or gradient as it is written, (phys_rows, cols);
 * a frozen parameter has no gradient: absent.  The addresses are the same in every step. */
lt_tensor lt_zero_param(lt_zero_store *z, int index);
lt_tensor lt_zero_grad(lt_zero_store *z, int index);
/* True when a micro-step writes gradients from nothing (stages 2 and 3 add them up themselves);
 * false: micro-steps after the first add to what is there. */
bool lt_zero_grads_fresh(const lt_zero_store *z);

/* The last write of the micro-step to the unit's gradients is enqueued; last: of the step. */
void lt_zero_grads_done(lt_zero_store *z, int unit, bool first, bool last);
/* After the last grads_done of a step: compute waits for all reductions. */
void lt_zero_grads_finish(lt_zero_store *z);
/* The reduced gradients that this rank owns: a flat vector, of trainable segment i. */
lt_tensor lt_zero_owned_grad(lt_zero_store *z, int i);
/* Pieces of the owned gradients, in table order, to look into single tensors: a view of the piece,
 * absent when it is frozen. */
lt_tensor lt_zero_owned_grad_piece(lt_zero_store *z, const lt_zero_piece *piece);

/* What the optimizer updates in one call: flat vectors (1, n). */
typedef struct lt_zero_update {
    lt_tensor master, moment1, moment2; /* fp32 */
    lt_tensor grad;
    lt_tensor copy; /* compute weights to be refreshed; absent when master is the compute weights */
    bool decay;
} lt_zero_update;

void lt_zero_update_begin(lt_zero_store *z);
/* Ends the one before; to be called until it says false, which ends the update. */
bool lt_zero_update_next(lt_zero_store *z, lt_zero_update *out);

/* The first failure of a collective or a tier, without waiting. */
LT_MUST_USE lt_err lt_zero_check(lt_zero_store *z);
/* Everything has arrived: the device, the communication stream and the tiers are idle. */
LT_MUST_USE lt_err lt_zero_sync(lt_zero_store *z);

/* The owned buffers as host slices: `which` of element run `piece`; after lt_zero_sync.  Moments of
 * a frozen parameter are nowhere: read as zeros, not written. */
typedef enum lt_zero_class { LT_ZERO_MASTER, LT_ZERO_MOMENT1, LT_ZERO_MOMENT2 } lt_zero_class;
LT_MUST_USE lt_err lt_zero_read(lt_zero_store *z, lt_zero_class which, const lt_zero_piece *piece,
                                float *dst);
LT_MUST_USE lt_err lt_zero_write(lt_zero_store *z, lt_zero_class which, const lt_zero_piece *piece,
                                 const float *src);
/* After writing pieces on all ranks: compute weights = cast of masters, everywhere, and what stage
 * 0 keeps of the others' slices. */
LT_MUST_USE lt_err lt_zero_refresh(lt_zero_store *z);

#endif
