/* device/cpu/cpu_act.c - activation functions and their derivatives. */
#include "device/cpu/cpu.h"
#include "device/cpu/cpu_math.h"

#include <math.h>

#define SQRT_2_OVER_PI 0.7978845608028654f
#define GELU_CUBIC     0.044715f

static inline float gelu_tanh(float x)
{
    return 0.5f * x * (1.0f + cpu_tanhf(SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x)));
}

static inline float gelu_tanh_grad(float x)
{
    float t = cpu_tanhf(SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x));
    float du = SQRT_2_OVER_PI * (1.0f + 3.0f * GELU_CUBIC * x * x);

    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * du;
}

static inline float gelu_erf(float x)
{
    return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
}

static inline float gelu_erf_grad(float x)
{
    return 0.5f * (1.0f + erff(x * 0.70710678118654752f)) +
           x * 0.3989422804014327f * cpu_expf(-0.5f * x * x);
}

static inline float silu(float x)
{
    return x / (1.0f + cpu_expf(-x));
}

static inline float silu_grad(float x)
{
    float s = 1.0f / (1.0f + cpu_expf(-x));

    return s * (1.0f + x * (1.0f - s));
}

void cpu_act_n(float *y, const float *x, int64_t n, lt_act kind)
{
    switch (kind) {
    case LT_ACT_NONE:
        memmove(y, x, (size_t)n * sizeof *y);
        return;
    case LT_ACT_GELU_TANH:
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = gelu_tanh(x[i]);
        return;
    case LT_ACT_GELU_ERF:
        for (int64_t i = 0; i < n; i++)
            y[i] = gelu_erf(x[i]);
        return;
    case LT_ACT_RELU:
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i] < 0.0f ? 0.0f : x[i]; /* NaN passes */
        return;
    case LT_ACT_SILU:
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = silu(x[i]);
        return;
    }
}

void cpu_act_grad_n(float *y, const float *x, int64_t n, lt_act kind)
{
    switch (kind) {
    case LT_ACT_NONE:
        return;
    case LT_ACT_GELU_TANH:
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] *= gelu_tanh_grad(x[i]);
        return;
    case LT_ACT_GELU_ERF:
        for (int64_t i = 0; i < n; i++)
            y[i] *= gelu_erf_grad(x[i]);
        return;
    case LT_ACT_RELU:
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i] > 0.0f ? y[i] : 0.0f * x[i];
        return;
    case LT_ACT_SILU:
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] *= silu_grad(x[i]);
        return;
    }
}

typedef struct act_task {
    lt_task task;
    lt_dev *dev;
    lt_tensor out, x;
    lt_act kind;
} act_task;

static void act_row(lt_task *task, int64_t row, int worker)
{
    act_task *a = (act_task *)task;
    float *buf = (float *)a->dev->scratch + 2 * worker * a->x.cols;
    const float *x = cpu_row_load(a->x, row, buf);
    float *y = cpu_row_open(a->out, row, buf + a->x.cols);

    cpu_act_n(y, x, a->x.cols, a->kind);
    cpu_row_store(a->out, row, y);
}

void cpu_act_op(lt_dev *dev, lt_tensor out, lt_tensor x, lt_act kind)
{
    act_task a = { { act_row }, dev, out, x, kind };

    LT_BUG_ON(out.rows != x.rows || out.cols != x.cols || out.dtype != x.dtype);
    cpu_parallel(dev, &a.task, x.rows, x.rows * x.cols * 4);
}
