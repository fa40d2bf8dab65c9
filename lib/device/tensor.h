/* device/tensor.h - a tensor is a matrix view: rows x cols with a row stride.  It owns nothing.
 *
 * Everything an operation touches is a matrix: (B*T, C) activations, (out, in) weights; a vector is
 * one row.  Operations read the data through lt_f32() and its kin, which check the type. */
#ifndef LT_DEVICE_TENSOR_H
#define LT_DEVICE_TENSOR_H

#include "base/dtype.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_tensor {
    void *data; /* NULL: absent (an optional operand) */
    lt_dtype dtype;
    int64_t rows, cols;
    int64_t stride; /* elements from one row to the next, >= cols */
} lt_tensor;

static inline lt_tensor lt_matrix(void *data, lt_dtype dtype, int64_t rows, int64_t cols)
{
    lt_tensor t;
    t.data = data;
    t.dtype = dtype;
    t.rows = rows;
    t.cols = cols;
    t.stride = cols;
    return t;
}

static inline lt_tensor lt_vector(void *data, lt_dtype dtype, int64_t n)
{
    return lt_matrix(data, dtype, 1, n);
}

static inline lt_tensor lt_absent(void)
{
    return lt_matrix(NULL, LT_F32, 0, 0);
}

/* Element (row, col) as an address. */
static inline void *lt_at(lt_tensor t, int64_t row, int64_t col)
{
    return (char *)t.data + (size_t)(row * t.stride + col) * lt_dtype_bytes(t.dtype);
}

/* The block of n_rows x n_cols that starts at (row, col). */
static inline lt_tensor lt_block(lt_tensor t, int64_t row, int64_t n_rows, int64_t col,
                                 int64_t n_cols)
{
    LT_BUG_ON(row < 0 || col < 0 || row + n_rows > t.rows || col + n_cols > t.cols);
    t.data = lt_at(t, row, col);
    t.rows = n_rows;
    t.cols = n_cols;
    return t;
}

static inline lt_tensor lt_rows(lt_tensor t, int64_t first, int64_t n)
{
    return lt_block(t, first, n, 0, t.cols);
}

static inline float *lt_f32(lt_tensor t)
{
    LT_BUG_ON(t.dtype != LT_F32);
    return (float *)t.data;
}

static inline int32_t *lt_i32(lt_tensor t)
{
    LT_BUG_ON(t.dtype != LT_I32);
    return (int32_t *)t.data;
}

#ifdef __cplusplus
}
#endif
#endif
