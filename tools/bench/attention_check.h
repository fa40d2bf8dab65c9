/* attention_check.h - causal attention and its gradient in double, for one head of one sequence. */
#ifndef LT_TOOLS_ATTENTION_CHECK_H
#define LT_TOOLS_ATTENTION_CHECK_H

#include "device/device.h"

/* Of what the forward and (g given) the gradient have written: SAMPLES rows of out, lse, dq, dk, dv
 * in the heads that are looked at, every element.  *wrong: how many differ by more than bound times
 * (|value| + root mean square of the rows looked at, or of the terms in their sums if these
 * cancel).  Needs as many kv heads as heads. */
LT_MUST_USE lt_err attention_check(lt_dev *dev, const lt_attention *f, const lt_attention_grad *g,
                                   double bound, int64_t *wrong, int64_t *checked);

#endif
