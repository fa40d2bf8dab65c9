/* device/cpu/cpu_gemm_avx512.c - a tile on processors with AVX512_BF16, fp32 and bf16 alike.
 *
 * Both operands are packed by word (cpu_gemm_pack.c), so that one kernel of 8 rows x 48 columns, 24
 * accumulators, serves both types with one instruction exchanged: vfmadd or vdpbf16ps.
 *
 * Every element of D is the sum of the same terms in the same order whatever tile it falls into, so
 * the tiling and the number of threads never change a bit.  vdpbf16ps treats denormals as zero and
 * has its own order and rounding: bf16 sums differ from OpenBLAS's in the last bits.
 *
 * OpenBLAS would do for fp32, but Debian 12's (0.3.21) does not know AMD family 26 and runs its
 * AVX2 kernels there, at half the speed. */
#include "device/cpu/cpu_gemm.h"

#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define INLINE static inline __attribute__((always_inline))

enum {
    LANES = CPU_LANES,
    KERNEL_ROWS = 8,
    KERNEL_GROUPS = 3, /* of columns */
};

static inline int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* What one call of a kernel does: out (+)= a b for `rows` x `cols`. */
typedef struct block {
    float *out;
    int64_t out_stride;
    const uint32_t *a; /* half a group: 8 of 16 lanes */
    const uint32_t *b; /* up to 3 groups, words * LANES apart */
    int64_t words;
    int rows, cols;
    bool add;
} block;

/* `groups` and `bf16` are constants where it is expanded. */
AVX512 INLINE void multiply(const block *x, int groups, bool bf16)
{
    const uint32_t *a = x->a, *b = x->b;
    int64_t group = x->words * LANES, stride = x->out_stride;
    __mmask16 last = (__mmask16)(0xffffu >> (groups * LANES - x->cols));
    float *out = x->out;
    bool add = x->add;
    __m512 sum[KERNEL_ROWS][KERNEL_GROUPS];

    for (int i = 0; i < KERNEL_ROWS; i++)
        for (int g = 0; g < groups; g++)
            sum[i][g] = _mm512_setzero_ps();
    for (int i = 0; i < x->rows; i++) /* out comes from memory while we multiply */
        for (int g = 0; g < groups; g++)
            __builtin_prefetch(out + i * stride + g * LANES, 1);
    for (int64_t w = 0; w < x->words; w++, a += LANES, b += LANES) {
        __m512i column[KERNEL_GROUPS];

        for (int g = 0; g < groups; g++)
            column[g] = _mm512_load_si512(b + g * group);
        for (int i = 0; i < KERNEL_ROWS; i++) {
            __m512i row = _mm512_set1_epi32((int)a[i]);

            for (int g = 0; g < groups; g++)
                sum[i][g] = bf16 ? _mm512_dpbf16_ps(sum[i][g], (__m512bh)row, (__m512bh)column[g])
                                 : _mm512_fmadd_ps(_mm512_castsi512_ps(row),
                                                   _mm512_castsi512_ps(column[g]), sum[i][g]);
        }
    }
    /* the constant bound lets the compilers keep all sums in registers */
    for (int i = 0; i < KERNEL_ROWS && i < x->rows; i++, out += stride)
        for (int g = 0; g < groups; g++) {
            __mmask16 mask = g < groups - 1 ? 0xffff : last;
            __m512 y = sum[i][g];

            if (add)
                y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(mask, out + g * LANES));
            _mm512_mask_storeu_ps(out + g * LANES, mask, y);
        }
}

#define KERNEL(name, groups, bf16)                                                                 \
    AVX512 static void name(const block *x)                                                        \
    {                                                                                              \
        multiply(x, groups, bf16);                                                                 \
    }
KERNEL(f32_16, 1, false)
KERNEL(f32_32, 2, false)
KERNEL(f32_48, 3, false)
KERNEL(bf16_16, 1, true)
KERNEL(bf16_32, 2, true)
KERNEL(bf16_48, 3, true)

static void (*const kernels[2][KERNEL_GROUPS])(const block *) = {
    { f32_16, f32_32, f32_48 },
    { bf16_16, bf16_32, bf16_48 },
};

/* The packed blocks of A and B against each other.  Both live in the L2 cache, which delivers what
 * the kernel reads, 3 lines of B for 24 multiply-adds, long before it is needed. */
static void multiply_packed(const cpu_tile *t, int64_t words, bool add)
{
    for (int64_t col = 0; col < t->n; col += KERNEL_GROUPS * LANES) {
        int cols = (int)min_of(KERNEL_GROUPS * LANES, t->n - col);
        void (*kernel)(const block *) = kernels[t->a.dtype == LT_BF16][(cols - 1) / LANES];

        for (int64_t row = 0; row < t->m; row += KERNEL_ROWS) {
            block x = {
                .out = t->out + row * t->out_stride + col,
                .out_stride = t->out_stride,
                .a = t->a_room + row / LANES * words * LANES + row % LANES,
                .b = t->b_room + col * words,
                .words = words,
                .rows = (int)min_of(KERNEL_ROWS, t->m - row),
                .cols = cols,
                .add = add,
            };
            kernel(&x);
        }
    }
}

void cpu_gemm_avx512(const cpu_tile *t)
{
    cpu_gemm_packed(t, false, multiply_packed);
}
