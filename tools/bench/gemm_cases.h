/* gemm_cases.h - the matrix products of a training step, as the model calls them. */
#ifndef LT_TOOLS_GEMM_CASES_H
#define LT_TOOLS_GEMM_CASES_H

#include "config/model_config.h"
#include "device/ops.h"

enum { GEMM_MAX_CASES = 16 };

typedef struct gemm_case {
    const char *name;
    int64_t m, n, k;
    int64_t calls; /* in a step of one micro-batch */
    bool trans_a, trans_b, bias, col_sum;
    lt_epilogue epilogue;
    lt_dtype act, d; /* d: of the result */
} gemm_case;

typedef struct gemm_list {
    gemm_case items[GEMM_MAX_CASES];
    int n;
} gemm_list;

/* rows: tokens of a micro-batch; head_rows: of a chunk of the LM head. */
void gemm_cases_of_model(gemm_list *l, const lt_model_config *c, lt_dtype act, int64_t rows,
                         int64_t head_rows);
/* One plain product of this size in each of the three layouts. */
void gemm_cases_of_size(gemm_list *l, lt_dtype act, int64_t m, int64_t n, int64_t k);

double gemm_flops(const gemm_case *c); /* of one call */

#endif
