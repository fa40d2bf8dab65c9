/* zero/store.h - the buffers of a ZeRO plan on one device, and what moves between them.
 *
 * A step walks:  gather(unit) ... gradients written ... reduce(unit) -> owned gradient slices ->
 * the optimizer on every owned slice -> publish() -> gathered parameters.  With one rank the owned
 * slices are the flat buffers themselves, so gather and reduce move nothing. */
#ifndef LT_ZERO_STORE_H
#define LT_ZERO_STORE_H

#include "comm/comm.h"
#include "zero/plan.h"

typedef struct lt_zero_store lt_zero_store;

/* What the optimizer updates in one call: flat vectors (1, n) of one segment's owned slice. */
typedef struct lt_zero_slice {
    lt_tensor master, moment1, moment2; /* fp32 */
    lt_tensor grad;
    lt_tensor copy; /* compute weights to be refreshed; absent when master is the compute weights */
    bool decay;
} lt_zero_slice;

/* Borrows all four for its life.  training false: parameters only.  Refuses stages and world sizes
 * that are not built. */
LT_MUST_USE lt_err lt_zero_store_open(lt_zero_store **out, lt_dev *dev, lt_comm *comm,
                                      const lt_zero_plan *plan, const lt_param_table *table,
                                      bool training);
void lt_zero_store_close(lt_zero_store *z); /* NULL is fine */

/* Gathered parameter or full gradient as (phys_rows, cols); valid between gather and release. */
lt_tensor lt_zero_param(lt_zero_store *z, int index);
lt_tensor lt_zero_grad(lt_zero_store *z, int index);

void lt_zero_gather(lt_zero_store *z, int unit);
void lt_zero_release(lt_zero_store *z, int unit);
LT_MUST_USE lt_err lt_zero_reduce(lt_zero_store *z,
                                  int unit); /* after the last write of the step */

int lt_zero_n_slices(const lt_zero_store *z); /* trainable ones only */
lt_zero_slice lt_zero_slice_at(lt_zero_store *z, int i);

/* After the optimizer: all gathered parameters follow the owned slices. */
LT_MUST_USE lt_err lt_zero_publish(lt_zero_store *z);

/* The owned buffers as host slices: `which` of element run `piece`, through pinned staging. */
typedef enum lt_zero_class { LT_ZERO_MASTER, LT_ZERO_MOMENT1, LT_ZERO_MOMENT2 } lt_zero_class;
LT_MUST_USE lt_err lt_zero_read(lt_zero_store *z, lt_zero_class which, const lt_zero_piece *piece,
                                float *dst);
LT_MUST_USE lt_err lt_zero_write(lt_zero_store *z, lt_zero_class which, const lt_zero_piece *piece,
                                 const float *src);
/* The run where it is, when device memory is host memory; else NULL.  Valid until the next update. */
const float *lt_zero_host_view(const lt_zero_store *z, lt_zero_class which,
                               const lt_zero_piece *piece);
/* After writing masters: compute weights = cast of masters, everywhere. */
LT_MUST_USE lt_err lt_zero_refresh(lt_zero_store *z);

#endif
