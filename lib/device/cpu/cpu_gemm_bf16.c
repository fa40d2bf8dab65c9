/* device/cpu/cpu_gemm_bf16.c - a tile on processors with AVX512_BF16, fp32 and bf16 operands alike.
 *
 * Both operands are packed, CPU_TILE_WORDS words of K at a time, into groups of 16 lanes (rows of
 * op(A), columns of op(B)); a word is one fp32 or two bf16 neighbours along K:
 *
 *     group 0: [word 0: lane 0 .. lane 15] [word 1: lane 0 .. lane 15] ...    group 1: ...
 *
 * so that one kernel of 8 rows x 48 columns, 24 accumulators, serves both types with one
 * instruction exchanged: vfmadd or vdpbf16ps.  Lanes and words beyond the edge are zero.
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
    LANES = 16,
    KERNEL_ROWS = 8,
    KERNEL_GROUPS = 3, /* of columns */
    WORDS = CPU_TILE_WORDS,
    FETCH_BYTES = 256, /* how far ahead packing asks for memory, along a row and down the rows; */
    FETCH_ROWS = 16,   /* beyond the matrix that does nothing */
};

/* One operand of a tile: `lanes` of them, K along its rows (rows are lanes) or across them. */
typedef struct operand {
    lt_tensor t;
    int64_t lanes;
    bool k_in_row;
} operand;

static inline int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* r[lane] holds 16 words of K; afterwards r[word] holds 16 lanes. */
AVX512 INLINE void transpose(__m512i r[LANES])
{
    __m512i s[LANES];

    for (int i = 0; i < 16; i += 2) {
        s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(s[i], s[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(s[i], s[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(s[i + 1], s[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(s[i + 1], s[i + 3]);
    }
    /* r[4 g + c]: lanes 4g..4g+3 of words c, 4 + c, 8 + c, 12 + c, one in each 128-bit quarter */
    for (int c = 0; c < 4; c++) {
        __m512i low = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x44);
        __m512i high = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xee);
        __m512i low2 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x44);
        __m512i high2 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xee);

        s[c] = _mm512_shuffle_i32x4(low, low2, 0x88);
        s[4 + c] = _mm512_shuffle_i32x4(low, low2, 0xdd);
        s[8 + c] = _mm512_shuffle_i32x4(high, high2, 0x88);
        s[12 + c] = _mm512_shuffle_i32x4(high, high2, 0xdd);
    }
    for (int i = 0; i < 16; i++)
        r[i] = s[i];
}

/* One group whose lanes are rows, `stride` bytes apart: k elements of each from `from` on. */
AVX512 INLINE void pack_rows(uint32_t *to, const char *from, int64_t stride, int lanes, int64_t k,
                             bool bf16)
{
    int64_t per_word = bf16 ? 2 : 1;

    for (int64_t i = 0; i < k; i += LANES * per_word, from += 64, to += LANES * LANES) {
        int n = (int)min_of(k - i, LANES * per_word);
        int words = bf16 ? (n + 1) / 2 : n;
        __m512i r[LANES];

        for (int lane = 0; lane < LANES; lane++) {
            uint32_t mask = lane < lanes ? ~0u >> (32 - n) : 0;
            const char *row = from + (lane < lanes ? lane * stride : 0);

            __builtin_prefetch(row + FETCH_BYTES);
            r[lane] = bf16 ? _mm512_maskz_loadu_epi16(mask, row)
                           : _mm512_maskz_loadu_epi32((__mmask16)mask, row);
        }
        transpose(r);
        for (int w = 0; w < LANES; w++)
            if (w < words)
                _mm512_store_si512(to + w * LANES, r[w]);
    }
}

AVX512 static void pack_rows_f32(uint32_t *to, const char *from, int64_t stride, int lanes,
                                 int64_t k)
{
    pack_rows(to, from, stride, lanes, k, false);
}

AVX512 static void pack_rows_bf16(uint32_t *to, const char *from, int64_t stride, int lanes,
                                  int64_t k)
{
    pack_rows(to, from, stride, lanes, k, true);
}

/* One group whose lanes are columns. */
AVX512 static void pack_columns_f32(uint32_t *to, const char *from, int64_t stride, int lanes,
                                    int64_t k)
{
    __mmask16 mask = (__mmask16)(0xffffu >> (LANES - lanes));

    for (int64_t i = 0; i < k; i++, from += stride, to += LANES) {
        __builtin_prefetch(from + FETCH_ROWS * stride);
        _mm512_store_si512(to, _mm512_maskz_loadu_epi32(mask, from));
    }
}

AVX512 static void pack_columns_bf16(uint32_t *to, const char *from, int64_t stride, int lanes,
                                     int64_t k)
{
    __mmask16 mask = (__mmask16)(0xffffu >> (LANES - lanes));

    for (int64_t i = 0; i < k; i += 2, from += 2 * stride, to += LANES) {
        __m512i even, odd;

        __builtin_prefetch(from + FETCH_ROWS * stride);
        __builtin_prefetch(from + (FETCH_ROWS + 1) * stride);
        even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from));
        odd = _mm512_setzero_si512();
        if (i + 1 < k)
            odd = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from + stride));
        _mm512_store_si512(to, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
    }
}

static void (*const packers[2][2])(uint32_t *to, const char *from, int64_t stride, int lanes,
                                   int64_t k) = {
    { pack_columns_f32, pack_rows_f32 },
    { pack_columns_bf16, pack_rows_bf16 },
};

/* K elements k0 .. k0 + k - 1 of all lanes. */
static void pack(uint32_t *to, const operand *o, int64_t k0, int64_t k, int64_t words)
{
    int64_t stride = o->t.stride * (int64_t)lt_dtype_bytes(o->t.dtype);

    for (int64_t lane = 0; lane < o->lanes; lane += LANES, to += words * LANES) {
        int lanes = (int)min_of(LANES, o->lanes - lane);
        const void *from = o->k_in_row ? lt_at(o->t, lane, k0) : lt_at(o->t, k0, lane);

        packers[o->t.dtype == LT_BF16][o->k_in_row](to, from, stride, lanes, k);
    }
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

void cpu_gemm_bf16(const cpu_tile *t)
{
    operand a = { t->a, t->m, !t->trans_a };
    operand b = { t->b, t->n, t->trans_b };
    int64_t per_word = t->a.dtype == LT_BF16 ? 2 : 1;

    for (int64_t k0 = 0; k0 < t->k; k0 += WORDS * per_word) {
        int64_t k = min_of(t->k - k0, WORDS * per_word);
        int64_t words = (k + per_word - 1) / per_word;

        pack(t->a_room, &a, k0, k, words);
        pack(t->b_room, &b, k0, k, words);
        multiply_packed(t, words, t->add || k0 > 0);
    }
}
