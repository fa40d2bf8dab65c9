/* device/cuda/cuda_residual_norm.cu - resid = x + branch, out = norm(resid), in one kernel.
 *
 * A warp owns a row and walks it three times: sum, squares about the mean, output.  Each lane reads
 * back only what it wrote itself, and the row stays in L1.  The norm is that of resid as stored. */
#include "device/cuda/cuda.cuh"

enum { WARPS = 4, THREADS = WARPS * WARP };

template <typename T> struct residual_norm_args {
    view<T> out, resid, x, branch;
    const T *weight, *bias;
    float *mean, *rstd;
    float eps;
};

template <typename T> __global__ static void residual_norm_kernel(residual_norm_args<T> a)
{
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP, n = a.x.cols;
    int lane = threadIdx.x % WARP;
    view<T> r = a.branch.data ? a.resid : a.x;
    float mean = 0, squares = 0, rstd;

    if (row >= a.x.rows)
        return;
    if (a.branch.data)
        for (int64_t c = lane; c < n; c += WARP)
            store(at(r, row, c), load(at(a.x, row, c)) + load(at(a.branch, row, c)));
    if (a.mean) {
        for (int64_t c = lane; c < n; c += WARP)
            mean += load(at(r, row, c));
        mean = warp_sum(mean) / (float)n;
    }
    for (int64_t c = lane; c < n; c += WARP) {
        float d = load(at(r, row, c)) - mean;

        squares += d * d;
    }
    rstd = 1.0f / sqrtf(warp_sum(squares) / (float)n + a.eps);
    for (int64_t c = lane; c < n; c += WARP) {
        float y = (load(at(r, row, c)) - mean) * rstd * load(a.weight + c);

        store(at(a.out, row, c), a.bias ? y + load(a.bias + c) : y);
    }
    if (lane > 0)
        return;
    a.rstd[row] = rstd;
    if (a.mean)
        a.mean[row] = mean;
}

template <typename T> static void launch(const lt_residual_norm *n, cudaStream_t stream)
{
    residual_norm_args<T> a = {
        .out = view_of<T>(n->out),
        .resid = view_of<T>(n->resid),
        .x = view_of<T>(n->x),
        .branch = view_of<T>(n->branch),
        .weight = (const T *)n->weight.data,
        .bias = (const T *)n->bias.data,
        .mean = n->kind == LT_NORM_LAYER ? lt_f32(n->mean) : NULL,
        .rstd = lt_f32(n->rstd),
        .eps = n->eps,
    };

    residual_norm_kernel<T><<<(unsigned)cuda_ceil_div(n->x.rows, WARPS), THREADS, 0, stream>>>(a);
}

void cuda_residual_norm(lt_dev *dev, const lt_residual_norm *n)
{
    cudaStream_t stream = cuda_begin(dev, "residual_norm");
    lt_dtype type = n->x.dtype;

    LT_BUG_ON(!cuda_same_shape(n->out, n->x) || n->out.dtype != type || n->weight.dtype != type);
    LT_BUG_ON(n->weight.cols != n->x.cols || n->rstd.cols < n->x.rows);
    LT_BUG_ON(n->bias.data && (n->bias.cols != n->x.cols || n->bias.dtype != type));
    LT_BUG_ON(n->branch.data && (!cuda_same_shape(n->branch, n->x) || n->branch.dtype != type));
    LT_BUG_ON(n->branch.data && (!n->resid.data || !cuda_same_shape(n->resid, n->x)));
    LT_BUG_ON(n->branch.data && n->resid.dtype != type);
    LT_BUG_ON(n->kind == LT_NORM_LAYER && (!n->mean.data || n->mean.cols < n->x.rows));
    CUDA_BY_ACT(type, launch<T>(n, stream));
    cuda_end(dev);
}
