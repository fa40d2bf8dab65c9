/* device/cuda/cuda_sum.cu - sums of losses and of squares, in double, in an order that depends only
 * on type and number of the numbers. */
#include "device/cuda/cuda_pack.cuh"

enum { THREADS = 256, ONE_BLOCK = 1024, UNROLL = 4 };

/* One block. */
__global__ static void sum_losses_kernel(lt_step_state *state, const float *losses, int64_t n)
{
    double sum = 0;

#pragma unroll 16
    for (int64_t i = threadIdx.x; i < n; i += ONE_BLOCK)
        sum += (double)losses[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        state->loss_sum += sum;
}

void cuda_sum_losses(lt_dev *dev, lt_step_state *state, lt_tensor losses)
{
    cudaStream_t stream = cuda_begin(dev, "sum_losses");

    LT_BUG_ON(losses.rows != 1);
    sum_losses_kernel<<<1, ONE_BLOCK, 0, stream>>>(state, lt_f32(losses), losses.cols);
    cuda_end(dev);
}

__device__ static inline double square(float x)
{
    return (double)x * (double)x;
}

template <int N, typename T> __device__ static inline pack<T, N> load_loose(const T *p)
{
    pack<T, N> x;

#pragma unroll
    for (int i = 0; i < N; i++)
        x.v[i] = p[i];
    return x;
}

/* Packs whether the address allows it or not, so that the order is the same. */
template <typename T, bool ALIGNED>
__global__ static void squares_kernel(double *parts, const T *g, int64_t n)
{
    constexpr int N = pack_size<T>();
    int64_t step = (int64_t)gridDim.x * THREADS * N, whole = n / N * N;
    int64_t first = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    double sum = 0;

    for (int64_t i = first * N; i < whole; i += UNROLL * step) {
        pack<T, N> x[UNROLL];

#pragma unroll
        for (int u = 0; u < UNROLL; u++) { /* all under way before the first is needed */
            x[u] = {};
            if (i + u * step < whole)
                x[u] = ALIGNED ? load_pack<N>(g + i + u * step) : load_loose<N>(g + i + u * step);
        }
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            float one[N];

            unpack(one, x[u]);
#pragma unroll
            for (int j = 0; j < N; j++)
                sum += square(one[j]);
        }
    }
    if (first < n - whole) /* what does not fill a pack */
        sum += square(load(g + whole + first));
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        parts[blockIdx.x] = sum;
}

/* One block. */
__global__ static void sum_parts_kernel(double *out, const double *parts, int n)
{
    double sum = 0;

    for (int i = threadIdx.x; i < n; i += ONE_BLOCK)
        sum += parts[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        *out = sum;
}

void cuda_sum_squares(lt_dev *dev, double *sum, lt_tensor g)
{
    cudaStream_t stream = cuda_begin(dev, "sum_squares");
    double *parts = (double *)cuda_scratch(dev, CUDA_SUM_BLOCKS * sizeof *parts);
    int64_t n = g.cols, blocks = cuda_ceil_div(n, THREADS * 16 / (int)lt_dtype_bytes(g.dtype));
    int grid = blocks < CUDA_SUM_BLOCKS ? (int)blocks : (int)CUDA_SUM_BLOCKS;

    LT_BUG_ON(g.rows != 1);
    CUDA_BY_ACT(g.dtype, if ((uintptr_t)g.data % 16 == 0) squares_kernel<T, true>
                <<<grid, THREADS, 0, stream>>>(parts, (const T *)g.data, n);
                else squares_kernel<T, false>
                <<<grid, THREADS, 0, stream>>>(parts, (const T *)g.data, n));
    sum_parts_kernel<<<1, ONE_BLOCK, 0, stream>>>(sum, parts, grid);
    cuda_end(dev);
}
