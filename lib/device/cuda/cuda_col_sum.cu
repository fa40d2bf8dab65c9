/* device/cuda/cuda_col_sum.cu - column sums in two stages: CUDA_REDUCE_PARTS partial rows in scratch,
 * each for a fixed share of the rows, then their sum in order. */
#include "device/cuda/cuda.cuh"

enum { COLS = 32, LANES = 8, THREADS = 256 }; /* a block: COLS columns, LANES rows at a time */

/* part p of column c: rows [rows p / P, rows (p + 1) / P), the block's lanes added in order */
template <typename T> __global__ static void col_parts_kernel(float *parts, view<T> x)
{
    __shared__ float lanes[LANES][COLS];
    int64_t col = (int64_t)blockIdx.x * COLS + threadIdx.x, part = blockIdx.y;
    int64_t first = x.rows * part / CUDA_REDUCE_PARTS;
    int64_t last = x.rows * (part + 1) / CUDA_REDUCE_PARTS;
    float sum = 0;

    if (col < x.cols)
        for (int64_t row = first + threadIdx.y; row < last; row += LANES)
            sum += load(at(x, row, col));
    lanes[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || col >= x.cols)
        return;
    for (int lane = 1; lane < LANES; lane++)
        sum += lanes[lane][threadIdx.x];
    parts[part * x.cols + col] = sum;
}

template <typename T>
__global__ static void add_parts_kernel(view<T> out, const float *parts, bool add)
{
    int64_t col = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    float sum = 0;

    if (col >= out.cols)
        return;
    for (int part = 0; part < CUDA_REDUCE_PARTS; part++)
        sum += parts[part * out.cols + col];
    store(out.data + col, add ? load(out.data + col) + sum : sum);
}

void cuda_add_parts(lt_tensor out, const float *parts, bool add, cudaStream_t stream)
{
    CUDA_BY_ACT(
        out.dtype, add_parts_kernel<T>
        <<<cuda_grid(1, out.cols, THREADS), THREADS, 0, stream>>>(view_of<T>(out), parts, add));
}

void cuda_col_sum(lt_dev *dev, lt_tensor out, lt_tensor x, bool add)
{
    cudaStream_t stream = cuda_begin(dev, "col_sum");
    float *parts = (float *)cuda_scratch(dev, CUDA_REDUCE_PARTS * (size_t)x.cols * sizeof(float));
    dim3 grid((unsigned)cuda_ceil_div(x.cols, COLS), CUDA_REDUCE_PARTS);

    LT_BUG_ON(out.rows != 1 || out.cols != x.cols);
    LT_BUG_ON(out.dtype != LT_F32 && out.dtype != x.dtype);
    CUDA_BY_ACT(x.dtype,
                col_parts_kernel<T><<<grid, dim3(COLS, LANES), 0, stream>>>(parts, view_of<T>(x)));
    cuda_add_parts(out, parts, add, stream);
    cuda_end(dev);
}
