/* device/cuda/cuda_matmul_half.cu - bf16 and fp16 matrix product on the tensor cores, fp32 sums.
 *
 * A block of 8 warps makes a TILE x TILE piece of D, DEPTH of k at a time; a warp makes 32 x 64 of
 * it from 16 x 16 x 16 products.  Tiles are read 16 bytes at a time where the matrix lies so that
 * this is aligned, else element by element.  Sums leave the fragments through shared memory. */
#include "device/cuda/cuda_matmul.cuh"

#include <mma.h>

using namespace nvcuda;

enum { TILE = 128, DEPTH = 32, THREADS = 256, FRAG = 16, PACK = 8 };
enum { WARP_ROWS = 32, WARP_COLS = 64, FRAGS_M = WARP_ROWS / FRAG, FRAGS_N = WARP_COLS / FRAG };
enum { PAD = 8 }; /* elements that keep the rows of a tile out of each other's banks */
enum { TILE_ELEMENTS = TILE * (DEPTH + PAD), STAGE_LD = FRAG + 4 };

/* Rows are 16-byte aligned, so PACK elements can be read as one word. */
static bool is_packed(lt_tensor t)
{
    return (uintptr_t)t.data % 16 == 0 && t.stride % PACK == 0;
}

/* ROWS x COLS of m from (row, col) on; a row of the tile has COLS + PAD elements. */
template <int ROWS, int COLS, typename T>
__device__ static void load_tile(T *tile, view<T> m, int64_t row, int64_t col, bool packed)
{
    for (int i = threadIdx.x; i < ROWS * COLS / PACK; i += THREADS) {
        int r = i / (COLS / PACK), c = i % (COLS / PACK) * PACK;
        T *dst = tile + r * (COLS + PAD) + c;

        if (packed && row + r < m.rows && col + c + PACK <= m.cols) {
            *(uint4 *)dst = *(const uint4 *)at(m, row + r, col + c);
            continue;
        }
        for (int e = 0; e < PACK; e++) {
            bool inside = row + r < m.rows && col + c + e < m.cols;

            dst[e] = inside ? *at(m, row + r, col + c + e) : T(0.0f);
        }
    }
}

/* The tile of an operand at outer index `outer` and depth k0; ALONG_K: stored (k, outer). */
template <bool ALONG_K, typename T>
__device__ static void load_operand(T *tile, view<T> m, int64_t outer, int64_t k0, bool packed)
{
    if (ALONG_K)
        load_tile<DEPTH, TILE>(tile, m, k0, outer, packed);
    else
        load_tile<TILE, DEPTH>(tile, m, outer, k0, packed);
}

/* Fragment whose outer index begins at i and whose depth begins at k. */
template <bool ALONG_K, typename F, typename T>
__device__ static void load_fragment(F &fragment, const T *tile, int i, int k)
{
    if (ALONG_K)
        wmma::load_matrix_sync(fragment, tile + k * (TILE + PAD) + i, TILE + PAD);
    else
        wmma::load_matrix_sync(fragment, tile + i * (DEPTH + PAD) + k, DEPTH + PAD);
}

template <bool ALONG_K> struct layout_a {
    using type = wmma::row_major;
};
template <> struct layout_a<true> {
    using type = wmma::col_major;
};
template <bool ALONG_K> struct layout_b {
    using type = wmma::col_major;
};
template <> struct layout_b<true> {
    using type = wmma::row_major;
};

typedef wmma::fragment<wmma::accumulator, FRAG, FRAG, FRAG, float> sum_fragment;

/* One DEPTH of products of a warp: rows from warp_row,
 * columns from warp_col on of the block's tile. */
template <bool TRANS_A, bool TRANS_B, typename T>
__device__ static void multiply(sum_fragment acc[FRAGS_M][FRAGS_N], const T *a, const T *b,
                                int warp_row, int warp_col)
{
    wmma::fragment<wmma::matrix_a, FRAG, FRAG, FRAG, T, typename layout_a<TRANS_A>::type>
        x[FRAGS_M];
    wmma::fragment<wmma::matrix_b, FRAG, FRAG, FRAG, T, typename layout_b<!TRANS_B>::type>
        y[FRAGS_N];

#pragma unroll
    for (int k = 0; k < DEPTH; k += FRAG) {
        for (int i = 0; i < FRAGS_M; i++)
            load_fragment<TRANS_A>(x[i], a, warp_row + i * FRAG, k);
        for (int j = 0; j < FRAGS_N; j++)
            load_fragment<!TRANS_B>(y[j], b, warp_col + j * FRAG, k);
        for (int i = 0; i < FRAGS_M; i++)
            for (int j = 0; j < FRAGS_N; j++)
                wmma::mma_sync(acc[i][j], x[i], y[j], acc[i][j]);
    }
}

template <bool TRANS_A, bool TRANS_B, typename T, typename D>
__global__ __launch_bounds__(THREADS) static void gemm_kernel(matmul_args<T, D> m, bool packed_a,
                                                              bool packed_b)
{
    __shared__ __align__(32) T a[TILE_ELEMENTS], b[TILE_ELEMENTS]; /* wmma wants 32 bytes */
    __shared__ __align__(32) float stage[THREADS / WARP][FRAG * STAGE_LD];
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    int warp_row = warp % (TILE / WARP_ROWS) * WARP_ROWS;
    int warp_col = warp / (TILE / WARP_ROWS) * WARP_COLS;
    int64_t row = (int64_t)blockIdx.x * TILE, col = (int64_t)blockIdx.y * TILE;
    sum_fragment acc[FRAGS_M][FRAGS_N];

    for (int i = 0; i < FRAGS_M; i++)
        for (int j = 0; j < FRAGS_N; j++)
            wmma::fill_fragment(acc[i][j], 0.0f);
    for (int64_t k0 = 0; k0 < m.k; k0 += DEPTH) {
        load_operand<TRANS_A>(a, m.a, row, k0, packed_a);
        load_operand<!TRANS_B>(b, m.b, col, k0, packed_b);
        __syncthreads();
        multiply<TRANS_A, TRANS_B>(acc, a, b, warp_row, warp_col);
        __syncthreads();
    }
#pragma unroll /* or the fragments would be indexed at run time and live in local memory */
    for (int i = 0; i < FRAGS_M; i++)
#pragma unroll
        for (int j = 0; j < FRAGS_N; j++) {
            wmma::store_matrix_sync(stage[warp], acc[i][j], STAGE_LD, wmma::mem_row_major);
            __syncwarp();
#pragma unroll 1
            for (int e = lane; e < FRAG * FRAG; e += WARP)
                matmul_finish(m, row + warp_row + i * FRAG + e / FRAG,
                              col + warp_col + j * FRAG + e % FRAG,
                              stage[warp][e / FRAG * STAGE_LD + e % FRAG]);
            __syncwarp();
        }
}

template <typename T, typename D> static void launch(const lt_matmul *m, cudaStream_t stream)
{
    matmul_args<T, D> a = matmul_args_of<T, D>(m);
    dim3 grid((unsigned)cuda_ceil_div(a.d.rows, TILE), (unsigned)cuda_ceil_div(a.d.cols, TILE));
    bool pa = is_packed(m->a), pb = is_packed(m->b);

    if (m->trans_a && m->trans_b)
        gemm_kernel<true, true, T, D><<<grid, THREADS, 0, stream>>>(a, pa, pb);
    else if (m->trans_a)
        gemm_kernel<true, false, T, D><<<grid, THREADS, 0, stream>>>(a, pa, pb);
    else if (m->trans_b)
        gemm_kernel<false, true, T, D><<<grid, THREADS, 0, stream>>>(a, pa, pb);
    else
        gemm_kernel<false, false, T, D><<<grid, THREADS, 0, stream>>>(a, pa, pb);
}

void cuda_matmul_half(const lt_matmul *m, cudaStream_t stream)
{
    bool wide = m->d.dtype == LT_F32;

    if (m->a.dtype == LT_BF16)
        wide ? launch<bf16, float>(m, stream) : launch<bf16, bf16>(m, stream);
    else
        wide ? launch<__half, float>(m, stream) : launch<__half, __half>(m, stream);
}
