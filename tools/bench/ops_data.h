/* ops_data.h - the tensors of lt-bench ops: filled, compared.
 *
 * Tensors repeat one block of random numbers whose length divides no row, so that filling gigabytes
 * takes no time. */
#ifndef LT_TOOLS_OPS_DATA_H
#define LT_TOOLS_OPS_DATA_H

#include "ops_cases.h"

float *ops_block(void); /* the caller frees it */

/* Allocates and fills the list's tensors on dev; `widen` turns narrow floats into fp32 of the same
 * value.  Nothing is left behind on failure. */
LT_MUST_USE lt_err ops_make(const float *block, lt_dev *dev, const ops_list *l, const ops_shape *s,
                            bool widen, lt_tensor *t);
void ops_release(lt_dev *dev, const ops_list *l, lt_tensor *t);

/* Largest |got - want| / (|want| + root mean square of want); infinity for NaN. */
LT_MUST_USE lt_err ops_error(lt_dev *dev, lt_tensor got, lt_dev *ref, lt_tensor want,
                             double *error);

#endif
