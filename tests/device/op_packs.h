/* tests/device/op_packs.h - tensors that a device may move in packs of 16 bytes, for op_case.h, and
 * whether it works in fp16. */
#ifndef OP_PACKS_H
#define OP_PACKS_H

#include "op_case.h"

/* Rows 16 bytes or a multiple apart when aligned, else an odd distance. */
static inline op_tensor *op_new_aligned(lt_dtype dtype, int64_t rows, int64_t cols, bool aligned,
                                        op_use use)
{
    return aligned ? op_new_strided(dtype, rows, cols, (8 - cols % 8) % 8 + 8, use)
                   : op_new(dtype, rows, cols, use);
}

/* The CPU table has no fp16. */
static inline bool op_has_f16(void)
{
    return op_open() == LT_OK && strcmp(op.dev->backend->name, "cuda") == 0;
}

#endif
