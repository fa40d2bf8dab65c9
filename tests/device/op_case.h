/* tests/device/op_case.h - one call of an operation, on the device that LT_TEST_DEVICE names (cpu).
 *
 * A test takes its tensors from op_new, sends them, calls the operation on their .dev views,
 * receives, and compares .now with sums in double made from .sent.  Every tensor lies in a larger
 * buffer: rows of a matrix are further apart than they are wide, and gaps and margins hold NaN, so
 * that reading one spoils the result and writing one is seen.  Outputs that are not added to start
 * as NaN.  The references are tied to finite differences by op_slope_error, so that
 *     finite differences -> reference -> CPU table -> CUDA table
 * is one chain.  There is one case at a time; op_begin frees the last one. */
#ifndef OP_CASE_H
#define OP_CASE_H

#include "base/mem.h"
#include "base/rng.h"
#include "device/device.h"
#include "lt_test.h"

#include <math.h>
#include <stdlib.h>

enum { OP_MARGIN = 256, OP_MAX_TENSORS = 24, OP_MAX_ARRAYS = 48 };

typedef enum op_use {
    OP_IN,    /* random; must come back unchanged */
    OP_OUT,   /* NaN */
    OP_INOUT, /* random, may change */
} op_use;

/* Three buffers of the same layout and a view into each. */
typedef struct op_tensor {
    lt_tensor dev, sent, now;
    char *dev_data, *sent_data, *now_data;
    size_t bytes;
    op_use use;
} op_tensor;

static struct {
    lt_dev *dev;
    op_tensor tensors[OP_MAX_TENSORS];
    double *arrays[OP_MAX_ARRAYS];
    int n_tensors, n_arrays;
    uint64_t n_random; /* stream of the random numbers */
} op;

/* Opens the device and reserves scratch for every shape of these tests. */
static inline lt_err op_open(void)
{
    const lt_dev_options options = { .n_threads = 3 };
    const lt_dev_need need = {
        .act = LT_BF16,
        .grad = LT_F32,
        .rows = 1024,
        .n_embd = 512,
        .n_inner = 1024,
        .n_head = 8,
        .n_kv_head = 8,
        .head_dim = 256,
        .n_batch = 4,
        .t_q = 200,
        .t_k = 200,
        .chunk_rows = 128,
        .n_vocab = 1536,
        .n_threads = options.n_threads,
    };
    const char *name = getenv("LT_TEST_DEVICE");
    lt_err err;

    if (op.dev)
        return LT_OK;
    LT_TRY(err = lt_dev_open(&op.dev, name ? name : "cpu", &options));
    LT_TRY(err = lt_dev_reserve(op.dev, &need));
fail:
    return err;
}

static inline lt_err op_begin(void)
{
    for (int i = 0; i < op.n_tensors; i++) {
        lt_dev_free(op.dev, LT_MEMORY_DEVICE, op.tensors[i].dev_data);
        free(op.tensors[i].sent_data);
        free(op.tensors[i].now_data);
    }
    for (int i = 0; i < op.n_arrays; i++)
        free(op.arrays[i]);
    op.n_tensors = op.n_arrays = 0;
    return op_open();
}

/* n zeroed doubles, until the next op_begin. */
static inline double *op_array(int64_t n)
{
    LT_BUG_ON(op.n_arrays == OP_MAX_ARRAYS);
    return op.arrays[op.n_arrays++] = lt_new_array0((size_t)n, sizeof(double));
}

static inline double op_get(lt_tensor t, int64_t row, int64_t col)
{
    const void *p = lt_at(t, row, col);
    float x;

    if (t.dtype == LT_F64)
        return *(const double *)p;
    lt_convert(&x, LT_F32, p, t.dtype, 1);
    return x;
}

static inline void op_set(lt_tensor t, int64_t row, int64_t col, double x)
{
    lt_convert(lt_at(t, row, col), t.dtype, &x, LT_F64, 1);
}

static inline int32_t *op_i32(op_tensor *t)
{
    return lt_i32(t->sent);
}

/* All values of a view, dense. */
static inline double *op_values(lt_tensor t)
{
    double *x = op_array(t.rows * t.cols);

    for (int64_t i = 0; i < t.rows * t.cols; i++)
        x[i] = op_get(t, i / t.cols, i % t.cols);
    return x;
}

/* Rows of a matrix are `gap` elements apart besides their width; a vector is one row. */
static inline op_tensor *op_new_strided(lt_dtype dtype, int64_t rows, int64_t cols, int64_t gap,
                                        op_use use)
{
    op_tensor *t = &op.tensors[op.n_tensors++];
    size_t size = lt_dtype_bytes(dtype);
    int64_t stride = cols + gap;
    void *data;

    LT_BUG_ON(op.n_tensors > OP_MAX_TENSORS);
    t->use = use;
    t->bytes = (size_t)(rows * stride) * size + 2 * OP_MARGIN;
    t->sent_data = lt_new0(t->bytes);
    t->now_data = lt_new0(t->bytes);
    memset(t->sent_data, 0xff, t->bytes);
    LT_BUG_ON(lt_dev_alloc(op.dev, LT_MEMORY_DEVICE, t->bytes, &data) != LT_OK);
    t->dev_data = data;
    t->dev = lt_matrix(t->dev_data + OP_MARGIN, dtype, rows, cols);
    t->sent = lt_matrix(t->sent_data + OP_MARGIN, dtype, rows, cols);
    t->now = lt_matrix(t->now_data + OP_MARGIN, dtype, rows, cols);
    t->dev.stride = t->sent.stride = t->now.stride = stride;
    op.n_random++;
    if (use == OP_OUT)
        return t;
    for (int64_t i = 0; i < rows * cols; i++)
        op_set(t->sent, i / cols, i % cols, lt_random_normal(11, op.n_random, (uint64_t)i));
    return t;
}

static inline op_tensor *op_new(lt_dtype dtype, int64_t rows, int64_t cols, op_use use)
{
    return op_new_strided(dtype, rows, cols, rows == 1 ? 0 : (int64_t)op.n_random % 3 * 4 + 1, use);
}

/* A structure or other bytes, read and written. */
static inline op_tensor *op_new_bytes(const void *value, size_t bytes)
{
    op_tensor *t = op_new(LT_U8, 1, (int64_t)bytes, OP_OUT);

    memcpy(t->sent.data, value, bytes);
    return t;
}

static inline lt_tensor op_dev_or_absent(const op_tensor *t)
{
    return t ? t->dev : lt_absent();
}

static inline void op_send(void)
{
    for (int i = 0; i < op.n_tensors; i++)
        lt_dev_copy(op.dev, LT_STREAM_COMPUTE, op.tensors[i].dev_data, op.tensors[i].sent_data,
                    op.tensors[i].bytes);
}

/* Has anything outside of the view (or, for an input, anything at all) changed? */
static inline bool op_is_intact(const op_tensor *t)
{
    size_t width = (size_t)t->sent.cols * lt_dtype_bytes(t->sent.dtype);
    size_t pitch = (size_t)t->sent.stride * lt_dtype_bytes(t->sent.dtype), at = 0;

    if (t->use == OP_IN)
        return memcmp(t->now_data, t->sent_data, t->bytes) == 0;
    for (int64_t row = 0; row <= t->sent.rows; row++) {
        size_t first = OP_MARGIN + (size_t)row * pitch;
        size_t end = row < t->sent.rows ? first : t->bytes;

        if (memcmp(t->now_data + at, t->sent_data + at, end - at) != 0)
            return false;
        at = first + width;
    }
    return true;
}

/* Waits for the device and fetches everything.  Fails, with a sentence, if the device did, or if an
 * input, a gap or a margin has changed. */
static inline lt_err op_receive(void)
{
    lt_err err;

    for (int i = 0; i < op.n_tensors; i++)
        lt_dev_copy(op.dev, LT_STREAM_COMPUTE, op.tensors[i].now_data, op.tensors[i].dev_data,
                    op.tensors[i].bytes);
    LT_TRY(err = lt_dev_sync(op.dev));
    for (int i = 0; i < op.n_tensors; i++)
        if (!op_is_intact(&op.tensors[i]))
            return lt_fail(LT_EFAULT, "tensor %d of the case was changed where it must not be", i);
fail:
    return err;
}

/* Largest |got - want| / (|want| + root mean square of want); infinity for NaN.  Inputs are of
 * order 1, so a result that is zero but for rounding is measured against 0.01. */
static inline double op_error_n(lt_tensor got, const double *want, int64_t n)
{
    double squares = 0, rms, worst = 0;

    for (int64_t i = 0; i < n; i++)
        squares += want[i] * want[i];
    rms = fmax(sqrt(squares / (double)n), 1e-2);
    for (int64_t i = 0; i < n; i++) {
        double e = fabs(op_get(got, i / got.cols, i % got.cols) - want[i]) / (fabs(want[i]) + rms);

        if (!(e <= worst))
            worst = isnan(e) ? INFINITY : e;
    }
    return worst;
}

static inline double op_error(const op_tensor *got, const double *want)
{
    return op_error_n(got->now, want, got->now.rows * got->now.cols);
}

/* What may come of rounding when a result is stored in this type and made in fp32. */
static inline double op_tolerance(lt_dtype dtype)
{
    return dtype == LT_F32 ? 2e-5 : 4.5e-3;
}

/* Largest error of `grad` as the derivative of f, by central differences, relative to its root mean
 * square; x is what f reads. */
static inline double op_slope_error(double (*f)(void *arg), void *arg, double *x,
                                    const double *grad, int64_t n)
{
    const double h = 1e-4;
    double squares = 0, worst = 0;

    for (int64_t i = 0; i < n; i++)
        squares += grad[i] * grad[i];
    for (int64_t i = 0; i < n; i++) {
        double saved = x[i], up, down;

        x[i] = saved + h;
        up = f(arg);
        x[i] = saved - h;
        down = f(arg);
        x[i] = saved;
        worst = fmax(worst, fabs((up - down) / (2 * h) - grad[i]));
    }
    return worst / sqrt(squares / (double)n);
}

#endif
