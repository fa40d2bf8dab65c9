/* device/cuda/cuda_copy.cu - zero, and copy between any element types and strides.
 *
 * A copy within one type is left to the copy engine.  Casts between float types, the ones in a
 * training step, move packs (cuda_pack.cuh).  Any other pair goes element by element through a
 * double with base/dtype.h's rules: nearest even, integers saturate, NaN becomes integer 0. */
#include "device/cuda/cuda_pack.cuh"

enum { THREADS = 256, UNROLL = 4, FOUR = 4 }; /* four fp32 are 16 bytes */

void cuda_zero(lt_dev *dev, void *data, size_t bytes)
{
    cudaStream_t stream = cuda_begin(dev, "zero");

    cuda_note(dev, cudaMemsetAsync(data, 0, bytes, stream));
}

__device__ static double load_any(const void *data, lt_dtype type, int64_t i)
{
    switch (type) {
    case LT_F32:
        return ((const float *)data)[i];
    case LT_BF16:
        return load((const bf16 *)data + i);
    case LT_F16:
        return load((const __half *)data + i);
    case LT_I32:
        return ((const int32_t *)data)[i];
    case LT_F64:
        return ((const double *)data)[i];
    case LT_I64:
        return (double)((const int64_t *)data)[i];
    case LT_U8:
        return ((const uint8_t *)data)[i];
    default:
        return 0;
    }
}

__device__ static int64_t to_integer(double x, int64_t min, int64_t max)
{
    if (isnan(x))
        return 0;
    if (x >= (double)max)
        return max;
    return x <= (double)min ? min : __double2ll_rn(x);
}

__device__ static void store_any(void *data, lt_dtype type, int64_t i, double x)
{
    switch (type) {
    case LT_F32:
        ((float *)data)[i] = (float)x;
        return;
    case LT_BF16:
        store((bf16 *)data + i, (float)x);
        return;
    case LT_F16:
        store((__half *)data + i, (float)x);
        return;
    case LT_I32:
        ((int32_t *)data)[i] = (int32_t)to_integer(x, INT32_MIN, INT32_MAX);
        return;
    case LT_F64:
        ((double *)data)[i] = x;
        return;
    case LT_I64:
        ((int64_t *)data)[i] = to_integer(x, INT64_MIN, INT64_MAX);
        return;
    case LT_U8:
        ((uint8_t *)data)[i] = (uint8_t)to_integer(x, 0, UINT8_MAX);
        return;
    default:
        return;
    }
}

static bool is_float(lt_dtype t)
{
    return t == LT_F32 || t == LT_BF16 || t == LT_F16;
}

__global__ static void convert_kernel(lt_tensor dst, lt_tensor src)
{
    int64_t col = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (col >= dst.cols)
        return;
    for (int64_t row = blockIdx.y; row < dst.rows; row += gridDim.y)
        store_any(dst.data, dst.dtype, row * dst.stride + col,
                  load_any(src.data, src.dtype, row * src.stride + col));
}

template <typename D, typename S> __global__ static void cast_kernel(view<D> dst, view<S> src)
{
    int64_t n = src.cols / FOUR, first = (int64_t)blockIdx.x * THREADS * UNROLL + threadIdx.x;

    for (int64_t row = blockIdx.y; row < src.rows; row += gridDim.y) {
        pack<S, FOUR> in[UNROLL];

#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            if (first + u * THREADS < n)
                in[u] = load_pack<FOUR>(at(src, row, (first + u * THREADS) * FOUR));
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            float x[FOUR];

            unpack(x, in[u]);
            if (first + u * THREADS < n)
                store_pack(at(dst, row, (first + u * THREADS) * FOUR), pack_of<D, FOUR>(x));
        }
    }
}

/* Does it if both are float types whose rows can be moved in packs. */
static bool cast_packs(lt_tensor dst, lt_tensor src, cudaStream_t stream)
{
    dim3 grid;

    if (!is_float(dst.dtype) || !is_float(src.dtype))
        return false;
    if (dst.stride == src.stride) {
        dst = cuda_flat(dst);
        src = cuda_flat(src);
    }
    if (!cuda_packs(dst, FOUR) || !cuda_packs(src, FOUR))
        return false;
    grid = cuda_grid(src.rows, src.cols, THREADS * UNROLL * FOUR);
    CUDA_BY_ACT(dst.dtype, using D = T;
                CUDA_BY_ACT(src.dtype, cast_kernel<D, T>
                            <<<grid, THREADS, 0, stream>>>(view_of<D>(dst), view_of<T>(src))));
    return true;
}

static void copy_same_type(lt_dev *dev, lt_tensor dst, lt_tensor src, cudaStream_t stream)
{
    size_t element = lt_dtype_bytes(src.dtype), width = (size_t)src.cols * element;
    bool gap_free = dst.stride == dst.cols && src.stride == src.cols;

    if (src.rows == 1 || gap_free)
        cuda_note(dev, cudaMemcpyAsync(dst.data, src.data, (size_t)src.rows * width,
                                       cudaMemcpyDefault, stream));
    else
        cuda_note(dev, cudaMemcpy2DAsync(dst.data, (size_t)dst.stride * element, src.data,
                                         (size_t)src.stride * element, width, (size_t)src.rows,
                                         cudaMemcpyDefault, stream));
}

void cuda_copy(lt_dev *dev, lt_tensor dst, lt_tensor src)
{
    cudaStream_t stream = cuda_begin(dev, "copy");

    LT_BUG_ON(!cuda_same_shape(dst, src));
    if (src.rows == 0 || src.cols == 0)
        return;
    if (dst.dtype == src.dtype) {
        copy_same_type(dev, dst, src, stream);
        return;
    }
    if (!cast_packs(dst, src, stream))
        convert_kernel<<<cuda_grid(src.rows, src.cols, THREADS), THREADS, 0, stream>>>(dst, src);
    cuda_end(dev);
}
