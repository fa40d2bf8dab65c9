/* device/cuda/cuda_sum.cu - sums of losses and of squares, in double, in an order that depends only
 * on how many numbers there are. */
#include "device/cuda/cuda.cuh"

enum { THREADS = 256, ONE_BLOCK = 1024 };

/* One block. */
__global__ static void sum_losses_kernel(lt_step_state *state, const float *losses, int64_t n)
{
    double sum = 0;

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

template <typename T> __global__ static void squares_kernel(double *parts, const T *g, int64_t n)
{
    double sum = 0;

    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += gridDim.x * THREADS) {
        double x = (double)load(g + i);

        sum += x * x;
    }
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
    int64_t n = g.cols, blocks = cuda_ceil_div(n, THREADS);
    double *parts = (double *)cuda_scratch(dev, CUDA_SUM_BLOCKS * sizeof *parts);
    int grid = blocks < CUDA_SUM_BLOCKS ? (int)blocks : (int)CUDA_SUM_BLOCKS;

    LT_BUG_ON(g.rows != 1);
    CUDA_BY_ACT(g.dtype,
                squares_kernel<T><<<grid, THREADS, 0, stream>>>(parts, (const T *)g.data, n));
    sum_parts_kernel<<<1, ONE_BLOCK, 0, stream>>>(sum, parts, grid);
    cuda_end(dev);
}
