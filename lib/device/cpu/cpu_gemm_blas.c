/* device/cpu/cpu_gemm_blas.c - a tile through OpenBLAS, for processors without AVX512_BF16.
 *
 * OpenBLAS runs single-threaded here (cpu_device.c sees to that): the pool owns the parallelism and
 * calls from all workers at once, on disjoint tiles.  16-bit operands are widened
 * in blocks of K. */
#include "device/cpu/cpu_gemm.h"

#include <cblas.h>

/* out (+)= op(a) op(b), fp32, k0 <= K index < k0 + k of the tile. */
static void sgemm(const cpu_tile *t, const float *a, int64_t a_stride, const float *b,
                  int64_t b_stride, int64_t k, bool add)
{
    cblas_sgemm(CblasRowMajor, t->trans_a ? CblasTrans : CblasNoTrans,
                t->trans_b ? CblasTrans : CblasNoTrans, (blasint)t->m, (blasint)t->n, (blasint)k,
                1.0f, a, (blasint)a_stride, b, (blasint)b_stride, add ? 1.0f : 0.0f, t->out,
                (blasint)t->out_stride);
}

/* The whole of t as fp32 in room, without gaps between the rows. */
static const float *widen(uint32_t *room, lt_tensor t)
{
    float *to = (float *)room;

    for (int64_t row = 0; row < t.rows; row++)
        lt_convert(to + row * t.cols, LT_F32, lt_at(t, row, 0), t.dtype, (size_t)t.cols);
    return to;
}

void cpu_gemm_blas(const cpu_tile *t)
{
    if (t->a.dtype == LT_F32) {
        sgemm(t, lt_f32(t->a), t->a.stride, lt_f32(t->b), t->b.stride, t->k, t->add);
        return;
    }
    for (int64_t k0 = 0; k0 < t->k; k0 += CPU_TILE_WORDS) {
        int64_t k = t->k - k0 < CPU_TILE_WORDS ? t->k - k0 : CPU_TILE_WORDS;
        lt_tensor a = t->trans_a ? lt_rows(t->a, k0, k) : lt_block(t->a, 0, t->m, k0, k);
        lt_tensor b = t->trans_b ? lt_block(t->b, 0, t->n, k0, k) : lt_rows(t->b, k0, k);

        sgemm(t, widen(t->a_room, a), a.cols, widen(t->b_room, b), b.cols, k, t->add || k0 > 0);
    }
}
