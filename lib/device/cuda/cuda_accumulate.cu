/* device/cuda/cuda_accumulate.cu - gradients of micro-steps, as they were sent,
 * added up in fp32. */
#include "device/cuda/cuda_pack.cuh"

enum { THREADS = 256, FOUR = 4 }; /* four fp32 are 16 bytes */

/* A thread adds N neighbours; the last one also those that do not fill a pack. */
template <typename S, int N>
__global__ static void __launch_bounds__(THREADS)
    accumulate_kernel(float *dst, const S *src, int64_t n)
{
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;

    if (i + N <= n) {
        float x[N], y[N];

        unpack(x, load_pack<N>(dst + i));
        unpack(y, load_pack<N>(src + i));
#pragma unroll
        for (int j = 0; j < N; j++)
            x[j] += y[j];
        store_pack(dst + i, pack_of<float, N>(x));
        return;
    }
    for (; i < n; i++)
        dst[i] += load(src + i);
}

template <typename S>
static void launch(float *dst, const S *src, int64_t n, bool aligned, cudaStream_t stream)
{
    if (aligned)
        accumulate_kernel<S, FOUR>
            <<<(unsigned)cuda_ceil_div(n, THREADS * FOUR), THREADS, 0, stream>>>(dst, src, n);
    else
        accumulate_kernel<S, 1>
            <<<(unsigned)cuda_ceil_div(n, THREADS), THREADS, 0, stream>>>(dst, src, n);
}

/* A vector's first address; how long it is does not matter. */
static bool is_aligned(lt_tensor t)
{
    return (uintptr_t)t.data % (FOUR * lt_dtype_bytes(t.dtype)) == 0;
}

void cuda_accumulate(lt_dev *dev, lt_tensor dst, lt_tensor src, bool add)
{
    cudaStream_t stream;

    LT_BUG_ON(dst.dtype != LT_F32 || dst.rows != 1 || !cuda_same_shape(dst, src));
    if (!add) {
        cuda_copy(dev, dst, src);
        return;
    }
    stream = cuda_begin(dev, "accumulate");
    CUDA_BY_ACT(src.dtype, launch<T>(lt_f32(dst), (const T *)src.data, dst.cols,
                                     is_aligned(dst) && is_aligned(src), stream));
    cuda_end(dev);
}
