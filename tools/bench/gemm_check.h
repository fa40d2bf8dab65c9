/* gemm_check.h - a matrix product against double precision, at sampled elements. */
#ifndef LT_TOOLS_GEMM_CHECK_H
#define LT_TOOLS_GEMM_CHECK_H

#include "device/device.h"

/* Of what m has written: 64 elements of d (and of aux where it is an output), 8 of col_sum.
 * *wrong: how many are off by more than `scale` times what rounding to the result's type and fp32
 * sums of that length explain; *checked: of how many.  The activation is the tanh form of GELU. */
LT_MUST_USE lt_err gemm_check(lt_dev *dev, const lt_matmul *m, double scale, int *wrong,
                              int *checked);

#endif
