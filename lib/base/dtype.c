/* base/dtype.c - element types, half floats, conversion of arrays.
 *
 * The pairs that training moves in bulk (fp32 with bf16 and fp16) have vector loops; every other
 * pair goes element by element.  Both give the same bits, which the tests check for all of them. */
#include "base/dtype.h"

#include <math.h>

static const struct {
    size_t bytes;
    const char *name, *safetensors;
} types[LT_N_DTYPES] = {
    [LT_F32] = { 4, "fp32", "F32" }, [LT_BF16] = { 2, "bf16", "BF16" },
    [LT_F16] = { 2, "fp16", "F16" }, [LT_I32] = { 4, "int32", "I32" },
    [LT_F64] = { 8, "fp64", "F64" }, [LT_I64] = { 8, "int64", "I64" },
    [LT_U8] = { 1, "uint8", "U8" },
};

size_t lt_dtype_bytes(lt_dtype t)
{
    return types[t].bytes;
}

const char *lt_dtype_name(lt_dtype t)
{
    return types[t].name;
}

const char *lt_dtype_safetensors(lt_dtype t)
{
    return types[t].safetensors;
}

bool lt_dtype_from_name(lt_dtype *out, const char *name)
{
    for (int t = 0; t < LT_N_DTYPES; t++)
        if (strcmp(types[t].name, name) == 0) {
            *out = (lt_dtype)t;
            return true;
        }
    return false;
}

bool lt_dtype_from_safetensors(lt_dtype *out, const char *name)
{
    for (int t = 0; t < LT_N_DTYPES; t++)
        if (strcmp(types[t].safetensors, name) == 0) {
            *out = (lt_dtype)t;
            return true;
        }
    return false;
}

static uint32_t float_bits(float f)
{
    uint32_t u;

    memcpy(&u, &f, 4);
    return u;
}

static float bits_float(uint32_t u)
{
    float f;

    memcpy(&f, &u, 4);
    return f;
}

float lt_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff;

    if (rest > 0x7c00) /* NaN: keep the payload, make it quiet, as the instruction does */
        return bits_float(sign | 0x7fc00000u | rest << 13);
    if (rest == 0x7c00)
        return bits_float(sign | 0x7f800000u);
    if (rest < 0x0400) /* zero and subnormals: rest * 2^-24, exact in fp32 */
        return bits_float(sign | float_bits((float)rest * 0x1p-24f));
    return bits_float(sign | ((rest << 13) + ((127u - 15u) << 23)));
}

uint16_t lt_f32_to_f16(float f)
{
    uint32_t u = float_bits(f), sign = u >> 16 & 0x8000, rest = u & 0x7fffffff;

    if (rest > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00 | (rest >> 13 & 0x3ff));
    if (rest >= 0x477ff000u) /* 65520 and up, halfway to the first number that does not fit */
        return (uint16_t)(sign | 0x7c00);
    if (rest <
        0x38800000u) { /* below 2^-14: adding 0.5 leaves rest * 2^24, rounded, in the low bits */
        float shifted = bits_float(rest) + 0.5f;

        return (uint16_t)(sign | (float_bits(shifted) - float_bits(0.5f)));
    }
    rest -= (127u - 15u) << 23;
    return (uint16_t)(sign | ((rest + 0xfff + (rest >> 13 & 1)) >> 13));
}

static double load(const void *src, lt_dtype t, size_t i)
{
    switch (t) {
    case LT_F32:
        return ((const float *)src)[i];
    case LT_BF16:
        return lt_bf16_to_f32(((const uint16_t *)src)[i]);
    case LT_F16:
        return lt_f16_to_f32(((const uint16_t *)src)[i]);
    case LT_I32:
        return ((const int32_t *)src)[i];
    case LT_F64:
        return ((const double *)src)[i];
    case LT_I64:
        return (double)((const int64_t *)src)[i];
    case LT_U8:
        return ((const uint8_t *)src)[i];
    default:
        LT_BUG_ON(true);
    }
}

/* Nearest even, limits where it does not fit, 0 for NaN. */
static int64_t to_integer(double x, double min, double max)
{
    if (isnan(x))
        return 0;
    if (x >= max)
        return max >= 0x1p63 ? INT64_MAX : (int64_t)max;
    return (int64_t)rint(x <= min ? min : x);
}

static void store(void *dst, lt_dtype t, size_t i, double x)
{
    switch (t) {
    case LT_F32:
        ((float *)dst)[i] = (float)x;
        return;
    case LT_BF16:
        ((uint16_t *)dst)[i] = lt_f32_to_bf16((float)x);
        return;
    case LT_F16:
        ((uint16_t *)dst)[i] = lt_f32_to_f16((float)x);
        return;
    case LT_I32:
        ((int32_t *)dst)[i] = (int32_t)to_integer(x, INT32_MIN, INT32_MAX);
        return;
    case LT_F64:
        ((double *)dst)[i] = x;
        return;
    case LT_I64:
        ((int64_t *)dst)[i] = to_integer(x, -0x1p63, 0x1p63);
        return;
    case LT_U8:
        ((uint8_t *)dst)[i] = (uint8_t)to_integer(x, 0, UINT8_MAX);
        return;
    default:
        LT_BUG_ON(true);
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

/* Each converts the leading multiple of eight and returns how many that was. */
#define WIDE __attribute__((target("avx2,f16c"))) static size_t

WIDE bf16_from_f32(uint16_t *dst, const float *src, size_t n)
{
    const __m256i half = _mm256_set1_epi32(0x7fff), one = _mm256_set1_epi32(1);
    const __m256i quiet = _mm256_set1_epi32(0x40);
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        __m256 f = _mm256_loadu_ps(src + i);
        __m256i u = _mm256_castps_si256(f), top = _mm256_srli_epi32(u, 16);
        __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(f, f, _CMP_UNORD_Q));
        __m256i odd = _mm256_and_si256(top, one);
        __m256i r = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(half, odd)), 16);

        r = _mm256_blendv_epi8(r, _mm256_or_si256(top, quiet), nan);
        r = _mm256_permute4x64_epi64(_mm256_packus_epi32(r, r), 0x08);
        _mm_storeu_si128((__m128i *)(dst + i), _mm256_castsi256_si128(r));
    }
    return i;
}

WIDE f32_from_bf16(float *dst, const uint16_t *src, size_t n)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        __m256i u = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(src + i)));

        _mm256_storeu_si256((__m256i *)(dst + i), _mm256_slli_epi32(u, 16));
    }
    return i;
}

WIDE f16_from_f32(uint16_t *dst, const float *src, size_t n)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(dst + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
    return i;
}

WIDE f32_from_f16(float *dst, const uint16_t *src, size_t n)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(src + i))));
    return i;
}

static size_t convert_wide(void *dst, lt_dtype to, const void *src, lt_dtype from, size_t n)
{
    if (!__builtin_cpu_supports("avx2")) /* there is no CPU with AVX2 and without F16C */
        return 0;
    if (from == LT_F32 && to == LT_BF16)
        return bf16_from_f32(dst, src, n);
    if (from == LT_BF16 && to == LT_F32)
        return f32_from_bf16(dst, src, n);
    if (from == LT_F32 && to == LT_F16)
        return f16_from_f32(dst, src, n);
    if (from == LT_F16 && to == LT_F32)
        return f32_from_f16(dst, src, n);
    return 0;
}
#else
static size_t convert_wide(void *dst, lt_dtype to, const void *src, lt_dtype from, size_t n)
{
    (void)dst, (void)to, (void)src, (void)from, (void)n;
    return 0;
}
#endif

void lt_convert(void *dst, lt_dtype to, const void *src, lt_dtype from, size_t n)
{
    size_t i;

    if (to == from) {
        if (n)
            memcpy(dst, src, n * types[to].bytes);
        return;
    }
    i = convert_wide(dst, to, src, from, n);
    if (from == LT_BF16 &&
        to == LT_F32) /* a shift; through a double a signalling NaN would change */
        for (; i < n; i++)
            ((float *)dst)[i] = lt_bf16_to_f32(((const uint16_t *)src)[i]);
    for (; i < n; i++)
        store(dst, to, i, load(src, from, i));
}
