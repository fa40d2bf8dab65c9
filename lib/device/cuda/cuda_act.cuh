/* device/cuda/cuda_act.cuh - activation functions and their derivatives, as base/kinds.h names
 * them.  `kind` is the same for all threads of a kernel, so the switch costs no divergence. */
#ifndef LT_DEVICE_CUDA_ACT_CUH
#define LT_DEVICE_CUDA_ACT_CUH

#include "device/cuda/cuda.cuh"

#define SQRT_2_OVER_PI 0.7978845608028654f
#define SQRT_HALF      0.7071067811865476f
#define RSQRT_2_PI     0.3989422804014327f
#define GELU_CUBIC     0.044715f

/* 1 / (1 + exp(-x)), relative error about 2^-23 (2 + |x|); 0 and 1 far out, NaN passes. */
__device__ inline float sigmoid(float x)
{
    return __fdividef(1.0f, 1.0f + __expf(-x));
}

/* (1 + tanh(y)) / 2 = sigmoid(2 y), with y GELU's cubic */
__device__ inline float gelu_gate(float x)
{
    return sigmoid(2.0f * SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x));
}

__device__ inline float act_value(float x, lt_act kind)
{
    switch (kind) {
    case LT_ACT_GELU_TANH:
        return x * gelu_gate(x);
    case LT_ACT_GELU_ERF:
        return 0.5f * x * (1.0f + erff(x * SQRT_HALF));
    case LT_ACT_RELU:
        return x < 0.0f ? 0.0f : x; /* NaN passes */
    case LT_ACT_SILU:
        return x * sigmoid(x);
    default:
        return x;
    }
}

__device__ inline float gelu_tanh_slope(float x)
{
    float gate = gelu_gate(x);
    float slope = 2.0f * SQRT_2_OVER_PI * (1.0f + 3.0f * GELU_CUBIC * x * x);

    return gate + x * gate * (1.0f - gate) * slope;
}

/* act'(x) */
__device__ inline float act_slope(float x, lt_act kind)
{
    float s;

    switch (kind) {
    case LT_ACT_GELU_TANH:
        return gelu_tanh_slope(x);
    case LT_ACT_GELU_ERF:
        return 0.5f * (1.0f + erff(x * SQRT_HALF)) + x * RSQRT_2_PI * expf(-0.5f * x * x);
    case LT_ACT_RELU:
        return x > 0.0f ? 1.0f : 0.0f * x; /* NaN passes */
    case LT_ACT_SILU:
        s = sigmoid(x);
        return s * (1.0f + x * (1.0f - s));
    default:
        return 1.0f;
    }
}

#endif
