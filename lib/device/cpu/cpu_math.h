/* device/cpu/cpu_math.h - exp and tanh that compilers turn into vector code.
 *
 * exp: Cody-Waite reduction by ln 2 in two parts and the degree-5 minimax polynomial of Cephes
 * (Moshier); about 1 ulp.  Below -87.3 it gives 1.2e-38 instead of 0, above 88.7 infinity's
 * neighbour; NaN stays NaN. */
#ifndef LT_DEVICE_CPU_MATH_H
#define LT_DEVICE_CPU_MATH_H

#include <stdint.h>
#include <string.h>

static inline float cpu_expf(float x)
{
    const float shift =
        12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer in the low bits */
    float y, n, r, p, scale;
    uint32_t bits;

    y = x < -87.3f ? -87.3f : x;
    y = y > 88.3f ? 88.3f : y;
    n = y * 1.44269504088896341f + shift;
    memcpy(&bits, &n, 4);
    n -= shift;
    r = y - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    bits = (bits + 127u) << 23; /* the low bits of n + shift hold n; what is above shifts out */
    memcpy(&scale, &bits, 4);
    return p * scale;
}

static inline float cpu_tanhf(float x)
{
    return 1.0f - 2.0f / (cpu_expf(2.0f * x) + 1.0f);
}

/* Largest of n values, in 16 lanes: compilers will not reorder the comparison by themselves. */
static inline float cpu_max(const float *x, int64_t n)
{
    enum { LANES = 16 };
    float lane[LANES], max;
    int64_t i = 0;

    for (int j = 0; j < LANES; j++)
        lane[j] = -__builtin_inff();
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    max = lane[0];
    for (int j = 1; j < LANES; j++)
        max = lane[j] > max ? lane[j] : max;
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

#endif
