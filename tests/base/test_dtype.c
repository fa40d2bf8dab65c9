/* test_dtype.c - half floats against their definition for every bit pattern, rounding against the
 * two neighbours, vector loops against scalar calls. */
#include "base/dtype.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lt_test.h"

#include <math.h>
#include <stdlib.h>

enum { ALL = 65536 };

static uint32_t bits(float f)
{
    uint32_t u;

    memcpy(&u, &f, 4);
    return u;
}

static float from_bits(uint32_t u)
{
    float f;

    memcpy(&f, &u, 4);
    return f;
}

/* The value of a half by its definition: 1 sign, 5 exponent (bias 15), 10 mantissa bits. */
static double f16_value(unsigned h)
{
    int e = h >> 10 & 31, m = h & 1023;
    double v = e == 0 ? ldexp(m, -24) : e == 31 ? INFINITY : ldexp(1024 + m, e - 25);

    if (e == 31 && m)
        return NAN;
    return h >> 15 ? -v : v;
}

LT_TEST(f16_every_pattern_widens_to_its_value)
{
    for (unsigned h = 0; h < ALL; h++) {
        double expected = f16_value(h);
        float f = lt_f16_to_f32((uint16_t)h);

        if (isnan(expected))
            LT_CHECK(isnan(f));
        else
            LT_FAIL_IF(f != expected || !signbit(f) != !signbit(expected), "half %04x", h);
        if (!isnan(expected))
            LT_CHECK_INT(lt_f32_to_f16(f), h);
        else
            LT_CHECK_INT(lt_f32_to_f16(f), h | 0x200); /* quiet, payload kept */
    }
}

/* Between each two neighbouring halves: below the middle, the middle (to even), above it. */
LT_TEST(f16_rounds_to_nearest_even)
{
    for (unsigned h = 0; h < 0x7bff; h++) {
        float middle = (float)((f16_value(h) + f16_value(h + 1)) / 2);

        LT_CHECK_INT(lt_f32_to_f16(nextafterf(middle, 0)), h);
        LT_CHECK_INT(lt_f32_to_f16(middle), h + (h & 1));
        LT_CHECK_INT(lt_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        LT_CHECK_INT(lt_f32_to_f16(-middle), 0x8000 | (h + (h & 1)));
    }
    LT_CHECK_INT(lt_f32_to_f16(65504.f), 0x7bff);
    LT_CHECK_INT(lt_f32_to_f16(nextafterf(65520.f, 0)), 0x7bff);
    LT_CHECK_INT(lt_f32_to_f16(65520.f), 0x7c00);
    LT_CHECK_INT(lt_f32_to_f16(3e38f), 0x7c00);
    LT_CHECK_INT(lt_f32_to_f16(-INFINITY), 0xfc00);
    LT_CHECK_INT(lt_f32_to_f16(1e-30f), 0);
    LT_CHECK_INT(lt_f32_to_f16(-0.f), 0x8000);
}

LT_TEST(bf16_every_pattern_and_every_middle)
{
    for (unsigned h = 0; h < ALL; h++) {
        float f = lt_bf16_to_f32((uint16_t)h);
        uint32_t middle = (uint32_t)h << 16 | 0x8000;

        LT_CHECK_INT(bits(f), (uint32_t)h << 16);
        if (isnan(f)) {
            LT_CHECK_INT(lt_f32_to_bf16(f), h | 0x40);
            continue;
        }
        LT_CHECK_INT(lt_f32_to_bf16(f), h);
        if (isinf(f))
            continue;
        LT_CHECK_INT(lt_f32_to_bf16(from_bits(middle - 1)), h);
        LT_CHECK_INT(lt_f32_to_bf16(from_bits(middle)), h + (h & 1));
        LT_CHECK_INT(lt_f32_to_bf16(from_bits(middle + 1)), h + 1);
    }
    LT_CHECK_INT(lt_f32_to_bf16(from_bits(0x7f800001)), 0x7fc0); /* must not become infinity */
    LT_CHECK_INT(lt_f32_to_bf16(from_bits(0xffffffff)), 0xffff);
    LT_CHECK_INT(lt_f32_to_bf16(from_bits(0x7f7fffff)), 0x7f80);
}

/* Floats of every exponent, sign and kind, with ties: what the vector loops could get wrong. */
static float *interesting_floats(size_t n)
{
    float *f = lt_new_array0(n, sizeof *f);

    for (size_t i = 0; i < n; i++) {
        uint32_t u = (uint32_t)lt_random_u64(3, 0, i);

        f[i] = from_bits(i % 3 == 0 ? u & 0xffff8000u : i % 3 == 1 ? u & 0xfffff000u : u);
    }
    return f;
}

LT_TEST(convert_gives_the_bits_of_the_scalar_calls)
{
    enum { N = 200003 };
    float *f = interesting_floats(N);
    uint16_t *h = lt_new_array0(N, sizeof *h);

    lt_convert(h, LT_BF16, f, LT_F32, N);
    for (int i = 0; i < N; i++)
        LT_FAIL_IF(h[i] != lt_f32_to_bf16(f[i]), "bf16 of %08x is %04x", bits(f[i]), h[i]);
    lt_convert(h, LT_F16, f, LT_F32, N);
    for (int i = 0; i < N; i++)
        LT_FAIL_IF(h[i] != lt_f32_to_f16(f[i]), "fp16 of %08x is %04x", bits(f[i]), h[i]);
    for (int i = 0; i < ALL; i++)
        h[i] = (uint16_t)i;
    lt_convert(f, LT_F32, h, LT_BF16, ALL);
    for (int i = 0; i < ALL; i++)
        LT_CHECK_INT(bits(f[i]), (uint32_t)i << 16);
    lt_convert(f, LT_F32, h, LT_F16, ALL);
    for (int i = 0; i < ALL; i++)
        LT_CHECK_INT(bits(f[i]), bits(lt_f16_to_f32((uint16_t)i)));
    free(f);
    free(h);
}

/* Lengths around the vector width: exactly n elements are written, all alike. */
LT_TEST(convert_writes_exactly_n)
{
    float src[40];
    uint16_t dst[41];

    for (int i = 0; i < 40; i++)
        src[i] = (float)i + 0.25f;
    for (size_t n = 0; n <= 40; n++) {
        memset(dst, 0xee, sizeof dst);
        lt_convert(dst, LT_F16, src, LT_F32, n);
        for (size_t i = 0; i < n; i++)
            LT_CHECK_INT(dst[i], lt_f32_to_f16(src[i]));
        LT_CHECK_INT(dst[n], 0xeeee);
    }
}

LT_TEST(convert_other_pairs)
{
    const double d[] = { 1.5, -2.5, 3.5, 1e300, -1e300, NAN, 255.4, -0.0 };
    float f[8], back[8];
    int32_t i32[8];
    int64_t i64[8];
    uint8_t u8[8];
    uint16_t b[8], h[8];

    lt_convert(f, LT_F32, d, LT_F64, 8);
    LT_CHECK(f[0] == 1.5f && isinf(f[3]) && isnan(f[5]) && signbit(f[7]));
    lt_convert(i32, LT_I32, d, LT_F64, 8);
    LT_CHECK(i32[0] == 2 && i32[1] == -2 && i32[2] == 4);
    LT_CHECK(i32[3] == INT32_MAX && i32[4] == INT32_MIN && i32[5] == 0 && i32[6] == 255);
    lt_convert(i64, LT_I64, d, LT_F64, 8);
    LT_CHECK(i64[3] == INT64_MAX && i64[4] == INT64_MIN && i64[6] == 255);
    lt_convert(u8, LT_U8, d, LT_F64, 8);
    LT_CHECK(u8[0] == 2 && u8[1] == 0 && u8[3] == 255 && u8[6] == 255);
    lt_convert(b, LT_BF16, d, LT_F64, 3);
    lt_convert(h, LT_F16, b, LT_BF16, 3);
    lt_convert(back, LT_F32, h, LT_F16, 3);
    LT_CHECK(back[0] == 1.5f && back[1] == -2.5f && back[2] == 3.5f);
    lt_convert(back, LT_F32, f, LT_F32, 3);
    LT_CHECK(memcmp(back, f, 12) == 0);
    i32[0] = 16777217; /* one more than fp32 can count */
    lt_convert(i64, LT_I64, i32, LT_I32, 1);
    LT_CHECK_INT(i64[0], 16777217);
}

LT_TEST(dtype_names)
{
    lt_dtype t = LT_N_DTYPES;

    for (int i = 0; i < LT_N_DTYPES; i++) {
        LT_CHECK(lt_dtype_from_safetensors(&t, lt_dtype_safetensors((lt_dtype)i)));
        LT_CHECK_INT(t, i);
    }
    LT_CHECK(!lt_dtype_from_safetensors(&t, "F8_E4M3") && !lt_dtype_from_safetensors(&t, ""));
    LT_CHECK_STR(lt_dtype_name(LT_BF16), "bf16");
    LT_CHECK_INT(lt_dtype_bytes(LT_BF16), 2);
    LT_CHECK_INT(lt_dtype_bytes(LT_I64), 8);
}
