/* device/cpu/cpu_gemm_pack.c - the blocks of a tile, packed for the kernels of AVX-512 and AMX.
 *
 * Both operands are packed, CPU_TILE_WORDS words of K at a time, into groups of 16 lanes (rows of
 * op(A), columns of op(B)); a word is one fp32, one fp16 widened to fp32, or two bf16 neighbours
 * along K.  A group is a row of
 * squares of 16 words, and a square lies in one of two orders:
 *
 *     by word    [word 0: lane 0 .. lane 15] [word 1: lane 0 .. lane 15] ...
 *     by lane    [lane 0: word 0 .. word 15] [lane 1: word 0 .. word 15] ...
 *
 * Lanes and words beyond the edge are zero and nothing beyond it is read.  Any processor with
 * AVX-512 (F, BW, VL) can run this; what is multiplied, and how, is up to the kernels. */
#include "base/mem.h"
#include "device/cpu/cpu_gemm.h"

#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,f16c")))
#define INLINE static inline __attribute__((always_inline))

enum {
    LANES = CPU_LANES,
    FETCH_BYTES = 256, /* how far ahead packing asks for memory, along a row and down the rows; */
    FETCH_ROWS = 16,   /* beyond the matrix that does nothing */
};

/* One operand of a tile: `lanes` of them, K along its rows (rows are lanes) or across them. */
typedef struct operand {
    lt_tensor t;
    int64_t lanes;
    bool k_in_row;
    bool by_lane; /* the order it is packed in; fp32 is by word */
} operand;

static inline int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Turns a square of 16 vectors of 16 words. */
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

/* Up to 16 elements as words of fp32. */
AVX512 INLINE __m512i load_words(__mmask16 mask, const char *from, lt_dtype type)
{
    if (type == LT_F16)
        return _mm512_castps_si512(_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, from)));
    return _mm512_maskz_loadu_epi32(mask, from);
}

/* n elements of each of the rows, `stride` bytes apart: r[lane] = words. */
AVX512 INLINE void load_rows(__m512i r[LANES], const char *from, int64_t stride, int lanes, int n,
                             lt_dtype type)
{
    for (int lane = 0; lane < LANES; lane++) {
        uint32_t mask = lane < lanes ? ~0u >> (32 - n) : 0;
        const char *row = from + (lane < lanes ? lane * stride : 0);

        __builtin_prefetch(row + FETCH_BYTES);
        r[lane] = type == LT_BF16 ? _mm512_maskz_loadu_epi16(mask, row)
                                  : load_words((__mmask16)mask, row, type);
    }
}

/* `lanes` elements of each of n rows: r[word] = lanes. */
AVX512 INLINE void load_columns(__m512i r[LANES], const char *from, int64_t stride, int lanes,
                                int n, lt_dtype type)
{
    __mmask16 mask = (__mmask16)(0xffffu >> (LANES - lanes));

    for (int w = 0; w < LANES; w++) {
        int first = type == LT_BF16 ? 2 * w : w;
        const char *row = from + first * stride;

        r[w] = _mm512_setzero_si512();
        if (first >= n)
            continue;
        __builtin_prefetch(row + FETCH_ROWS * stride);
        if (type != LT_BF16) {
            r[w] = load_words(mask, row, type);
            continue;
        }
        r[w] = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, row));
        if (first + 1 < n) { /* else K is odd and the other half of the word is zero */
            __m256i odd = _mm256_maskz_loadu_epi16(mask, row + stride);

            __builtin_prefetch(row + (FETCH_ROWS + 1) * stride);
            r[w] = _mm512_or_si512(r[w], _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
        }
    }
}

/* One group, k elements of each lane; the last three arguments are constants where it expands. */
AVX512 INLINE void pack_group(uint32_t *to, const char *from, int64_t stride, int lanes, int64_t k,
                              lt_dtype type, bool k_in_row, bool by_lane)
{
    int64_t square = type == LT_BF16 ? 2 * LANES : LANES;
    int64_t row_bytes = type == LT_F16 ? 32 : 64; /* of a square, as it lies in memory */

    for (int64_t i = 0; i < k; i += square, to += LANES * LANES) {
        int n = (int)min_of(k - i, square);
        __m512i r[LANES];

        if (k_in_row)
            load_rows(r, from + i / square * row_bytes, stride, lanes, n, type);
        else
            load_columns(r, from + i * stride, stride, lanes, n, type);
        if (k_in_row != by_lane)
            transpose(r);
        for (int j = 0; j < LANES; j++)
            _mm512_store_si512(to + j * LANES, r[j]);
    }
}

#define PACKER(name, type, k_in_row, by_lane)                                                      \
    AVX512 static void name(uint32_t *to, const char *from, int64_t stride, int lanes, int64_t k)  \
    {                                                                                              \
        pack_group(to, from, stride, lanes, k, type, k_in_row, by_lane);                           \
    }
PACKER(f32_columns, LT_F32, false, false)
PACKER(f32_rows, LT_F32, true, false)
PACKER(f16_columns, LT_F16, false, false)
PACKER(f16_rows, LT_F16, true, false)
PACKER(bf16_columns, LT_BF16, false, false)
PACKER(bf16_rows, LT_BF16, true, false)
PACKER(bf16_columns_by_lane, LT_BF16, false, true)
PACKER(bf16_rows_by_lane, LT_BF16, true, true)

static void (*const packers[4][2])(uint32_t *to, const char *from, int64_t stride, int lanes,
                                   int64_t k) = {
    { f32_columns, f32_rows },
    { f16_columns, f16_rows },
    { bf16_columns, bf16_rows },
    { bf16_columns_by_lane, bf16_rows_by_lane },
};

/* K elements k0 .. k0 + k - 1 of all lanes. */
static void pack(uint32_t *to, const operand *o, int64_t k0, int64_t k, int64_t words)
{
    int64_t stride = o->t.stride * (int64_t)lt_dtype_bytes(o->t.dtype);
    int format = o->t.dtype == LT_F32 ? 0 : o->t.dtype == LT_F16 ? 1 : o->by_lane ? 3 : 2;

    for (int64_t lane = 0; lane < o->lanes; lane += LANES, to += words * LANES) {
        int lanes = (int)min_of(LANES, o->lanes - lane);
        const void *from = o->k_in_row ? lt_at(o->t, lane, k0) : lt_at(o->t, k0, lane);

        packers[format][o->k_in_row](to, from, stride, lanes, k);
    }
}

void cpu_gemm_packed(const cpu_tile *t, bool a_by_lane, cpu_multiply *multiply)
{
    operand a = { t->a, t->m, !t->trans_a, a_by_lane };
    operand b = { t->b, t->n, t->trans_b, false };
    int64_t per_word = t->a.dtype == LT_BF16 ? 2 : 1, step = CPU_TILE_WORDS * per_word;

    for (int64_t k0 = 0; k0 < t->k; k0 += step) {
        int64_t k = min_of(t->k - k0, step);
        int64_t words = LT_ALIGN_UP((k + per_word - 1) / per_word, (int64_t)LANES);

        pack(t->a_room, &a, k0, k, words);
        pack(t->b_room, &b, k0, k, words);
        multiply(t, words, t->add || k0 > 0);
    }
}
