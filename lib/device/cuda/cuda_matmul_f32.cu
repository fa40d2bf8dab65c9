/* device/cuda/cuda_matmul_f32.cu - fp32 matrix product on the plain cores: the reference on a GPU.
 *
 * A block of 16 x 16 threads makes a TILE x TILE piece of D, DEPTH of k at a time.  Thread (ty, tx)
 * owns rows ty, ty + 16, ... and columns tx, tx + 16, ...; every sum runs along k in order. */
#include "device/cuda/cuda_matmul.cuh"

enum { TILE = 64, DEPTH = 16, SIDE = 16, THREADS = SIDE * SIDE, PER = TILE / SIDE };
enum {
    TILE_FLOATS = TILE * (DEPTH + 1) > DEPTH *(TILE + 1) ? TILE *(DEPTH + 1) : DEPTH *(TILE + 1)
};

/* ROWS x COLS of m from (row, col) on, padded by one float a row. */
template <int ROWS, int COLS>
__device__ static void load_tile(float *tile, view<float> m, int64_t row, int64_t col)
{
    for (int i = threadIdx.x; i < ROWS * COLS; i += THREADS) {
        int r = i / COLS, c = i % COLS;
        bool inside = row + r < m.rows && col + c < m.cols;

        tile[r * (COLS + 1) + c] = inside ? *at(m, row + r, col + c) : 0.0f;
    }
}

/* A tile of which `along_k` says that its rows run along k: stored (DEPTH, TILE), else
 * (TILE, DEPTH).  Loads the tile of outer index `outer` and depth k0; then element (i, k) of it. */
template <bool ALONG_K>
__device__ static void load_operand(float *tile, view<float> m, int64_t outer, int64_t k0)
{
    if (ALONG_K)
        load_tile<DEPTH, TILE>(tile, m, k0, outer);
    else
        load_tile<TILE, DEPTH>(tile, m, outer, k0);
}

template <bool ALONG_K> __device__ static float operand(const float *tile, int i, int k)
{
    return ALONG_K ? tile[k * (TILE + 1) + i] : tile[i * (DEPTH + 1) + k];
}

template <bool TRANS_A, bool TRANS_B>
__global__ __launch_bounds__(THREADS) static void gemm_kernel(matmul_args<float, float> m)
{
    __shared__ float a[TILE_FLOATS], b[TILE_FLOATS];
    int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
    int64_t row = (int64_t)blockIdx.x * TILE, col = (int64_t)blockIdx.y * TILE;
    float acc[PER][PER] = {};

    for (int64_t k0 = 0; k0 < m.k; k0 += DEPTH) {
        load_operand<TRANS_A>(a, m.a, row, k0);
        load_operand<!TRANS_B>(b, m.b, col, k0);
        __syncthreads();
        for (int k = 0; k < DEPTH; k++) {
            float x[PER], y[PER];

            for (int i = 0; i < PER; i++) {
                x[i] = operand<TRANS_A>(a, ty + SIDE * i, k);
                y[i] = operand<!TRANS_B>(b, tx + SIDE * i, k);
            }
            for (int i = 0; i < PER; i++)
                for (int j = 0; j < PER; j++)
                    acc[i][j] += x[i] * y[j];
        }
        __syncthreads();
    }
    for (int i = 0; i < PER; i++)
        for (int j = 0; j < PER; j++)
            matmul_finish(m, row + ty + SIDE * i, col + tx + SIDE * j, acc[i][j]);
}

void cuda_matmul_f32(const lt_matmul *m, cudaStream_t stream)
{
    matmul_args<float, float> a = matmul_args_of<float, float>(m);
    dim3 grid((unsigned)cuda_ceil_div(a.d.rows, TILE), (unsigned)cuda_ceil_div(a.d.cols, TILE));

    if (m->trans_a && m->trans_b)
        gemm_kernel<true, true><<<grid, THREADS, 0, stream>>>(a);
    else if (m->trans_a)
        gemm_kernel<true, false><<<grid, THREADS, 0, stream>>>(a);
    else if (m->trans_b)
        gemm_kernel<false, true><<<grid, THREADS, 0, stream>>>(a);
    else
        gemm_kernel<false, false><<<grid, THREADS, 0, stream>>>(a);
}
