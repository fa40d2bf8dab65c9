/* device/cuda/cuda_act.cu - out = act(x), element by element. */
#include "device/cuda/cuda_act.cuh"

enum { THREADS = 256 };

template <typename T> __global__ static void act_kernel(view<T> out, view<T> x, lt_act kind)
{
    int64_t col = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (col >= x.cols)
        return;
    for (int64_t row = blockIdx.y; row < x.rows; row += gridDim.y)
        store(at(out, row, col), act_value(load(at(x, row, col)), kind));
}

void cuda_act(lt_dev *dev, lt_tensor out, lt_tensor x, lt_act kind)
{
    cudaStream_t stream = cuda_begin(dev, "act");

    LT_BUG_ON(!cuda_same_shape(out, x) || out.dtype != x.dtype);
    CUDA_BY_ACT(x.dtype, act_kernel<T><<<cuda_grid(x.rows, x.cols, THREADS), THREADS, 0, stream>>>(
                             view_of<T>(out), view_of<T>(x), kind));
    cuda_end(dev);
}
