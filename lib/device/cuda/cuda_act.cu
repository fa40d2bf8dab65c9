/* device/cuda/cuda_act.cu - out = act(x), element by element.  A thread has several packs in
 * flight; a matrix without gaps is walked as one row. */
#include "device/cuda/cuda_act.cuh"
#include "device/cuda/cuda_pack.cuh"

enum { THREADS = 256, UNROLL = 4 };

template <typename T, int N, lt_act KIND> __global__ static void act_kernel(view<T> out, view<T> x)
{
    int64_t n = x.cols / N, first = (int64_t)blockIdx.x * THREADS * UNROLL + threadIdx.x;

    for (int64_t row = blockIdx.y; row < x.rows; row += gridDim.y) {
        pack<T, N> in[UNROLL];

#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            if (first + u * THREADS < n)
                in[u] = load_pack<N>(at(x, row, (first + u * THREADS) * N));
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            float y[N];

            unpack(y, in[u]);
#pragma unroll
            for (int i = 0; i < N; i++)
                y[i] = act_value(y[i], KIND);
            if (first + u * THREADS < n)
                store_pack(at(out, row, (first + u * THREADS) * N), pack_of<T, N>(y));
        }
    }
}

template <typename T, int N>
static void launch(lt_tensor out, lt_tensor x, lt_act kind, cudaStream_t stream)
{
    dim3 grid = cuda_grid(x.rows, x.cols, THREADS * UNROLL * N);
    view<T> o = view_of<T>(out), v = view_of<T>(x);

    switch (kind) {
    case LT_ACT_GELU_TANH:
        act_kernel<T, N, LT_ACT_GELU_TANH><<<grid, THREADS, 0, stream>>>(o, v);
        return;
    case LT_ACT_GELU_ERF:
        act_kernel<T, N, LT_ACT_GELU_ERF><<<grid, THREADS, 0, stream>>>(o, v);
        return;
    case LT_ACT_RELU:
        act_kernel<T, N, LT_ACT_RELU><<<grid, THREADS, 0, stream>>>(o, v);
        return;
    case LT_ACT_SILU:
        act_kernel<T, N, LT_ACT_SILU><<<grid, THREADS, 0, stream>>>(o, v);
        return;
    default:
        act_kernel<T, N, LT_ACT_NONE><<<grid, THREADS, 0, stream>>>(o, v);
    }
}

void cuda_act(lt_dev *dev, lt_tensor out, lt_tensor x, lt_act kind)
{
    cudaStream_t stream = cuda_begin(dev, "act");

    LT_BUG_ON(!cuda_same_shape(out, x) || out.dtype != x.dtype);
    if (out.stride == x.stride) {
        out = cuda_flat(out);
        x = cuda_flat(x);
    }
    CUDA_BY_ACT(x.dtype, {
        constexpr int N = pack_size<T>();

        if (cuda_packs(out, N) && cuda_packs(x, N))
            launch<T, N>(out, x, kind, stream);
        else
            launch<T, 1>(out, x, kind, stream);
    });
    cuda_end(dev);
}
