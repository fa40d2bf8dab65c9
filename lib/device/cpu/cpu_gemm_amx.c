/* device/cpu/cpu_gemm_amx.c - a bf16 tile on processors with AMX_BF16.
 *
 * The matrix unit has eight registers of 16 rows x 64 bytes.  Four hold the sums of a block of 32 x
 * 32 elements of D; two take squares of A, packed by lane (a row of D in each row), two squares of
 * B, packed by word (two neighbours along K in each row), see cpu_gemm_pack.c.  One tdpbf16ps
 * multiplies a square by a square, 32 steps of K.
 *
 * Sums start at zero or at what is in D and take up K in order, so an element is the sum of the
 * same terms in the same order whatever tile or block it falls into.  tdpbf16ps treats denormals as
 * zero. */
#include "device/cpu/cpu_gemm.h"

#include <immintrin.h>

#define AMX __attribute__((target("amx-tile,amx-bf16")))

enum {
    LANES = CPU_LANES,
    SIDE = 2 * LANES, /* of a block of D */
    SQUARE = LANES * LANES,
    ROW_BYTES = 64,
};

static inline int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* As ldtilecfg reads it: all eight registers at their full size. */
static const struct tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes = {
    .palette = 1,
    .row_bytes = { 64, 64, 64, 64, 64, 64, 64, 64 },
    .rows = { 16, 16, 16, 16, 16, 16, 16, 16 },
};

/* out (32, 32), rows `stride` floats apart, (+)= two groups of rows of A
 * times two of columns of B. */
AMX static void multiply_block(float *out, int64_t stride, const uint32_t *a, const uint32_t *b,
                               int64_t words, bool add)
{
    int64_t group = words * LANES;
    int64_t bytes = stride * (int64_t)sizeof(float);
    float *below = out + LANES * stride;

    if (add) {
        _tile_loadd(0, out, bytes);
        _tile_loadd(1, out + LANES, bytes);
        _tile_loadd(2, below, bytes);
        _tile_loadd(3, below + LANES, bytes);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t at = 0; at < group; at += SQUARE) {
        _tile_loadd(4, a + at, ROW_BYTES);
        _tile_loadd(5, a + group + at, ROW_BYTES);
        _tile_loadd(6, b + at, ROW_BYTES);
        _tile_loadd(7, b + group + at, ROW_BYTES);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, out, bytes);
    _tile_stored(1, out + LANES, bytes);
    _tile_stored(2, below, bytes);
    _tile_stored(3, below + LANES, bytes);
}

static void copy_block(float *to, int64_t to_stride, const float *from, int64_t from_stride,
                       int64_t rows, int64_t cols)
{
    for (int64_t row = 0; row < rows; row++)
        memcpy(to + row * to_stride, from + row * from_stride, (size_t)cols * sizeof *to);
}

/* The packed operands against each other.  A block over the edge of the tile is computed aside;
 * where it has only one group of rows or columns, whatever else is in the room (it holds an even
 * number of groups) makes sums that go nowhere. */
static void multiply_packed(const cpu_tile *t, int64_t words, bool add)
{
    _Alignas(64) float aside[SIDE * SIDE] = { 0 };
    int64_t stride = t->out_stride;

    for (int64_t col = 0; col < t->n; col += SIDE) {
        int64_t cols = min_of(t->n - col, SIDE);
        const uint32_t *b = t->b_room + col * words;

        for (int64_t row = 0; row < t->m; row += SIDE) {
            int64_t rows = min_of(t->m - row, SIDE);
            const uint32_t *a = t->a_room + row * words;
            float *out = t->out + row * stride + col;

            for (int64_t i = row + SIDE; i < min_of(t->m, row + 2 * SIDE); i++) {
                __builtin_prefetch(t->out + i * stride + col, 1); /* for the next block */
                __builtin_prefetch(t->out + i * stride + col + LANES, 1);
            }
            if (rows == SIDE && cols == SIDE) {
                multiply_block(out, stride, a, b, words, add);
                continue;
            }
            if (add)
                copy_block(aside, SIDE, out, stride, rows, cols);
            multiply_block(aside, SIDE, a, b, words, add);
            copy_block(out, stride, aside, SIDE, rows, cols);
        }
    }
}

AMX void cpu_gemm_amx(const cpu_tile *t)
{
    _tile_loadconfig(&tile_shapes);
    cpu_gemm_packed(t, true, multiply_packed);
    _tile_release();
}
