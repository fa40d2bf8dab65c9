/* device/cuda/cuda_residual_norm.cu - resid = x + branch, out = norm(resid), in one kernel.
 *
 * A warp owns a row.  Where packs fit (cuda_pack.cuh) and the row is not too wide, it stays in
 * registers between the sum, the squares about the mean and the output, so that each operand
 * crosses the memory bus once.  Other rows are walked three times by the plain kernel, in which a
 * lane reads back only what it wrote itself.  The norm is that of resid as stored. */
#include "device/cuda/cuda_pack.cuh"

enum { WARPS = 4, THREADS = WARPS * WARP };

template <typename T> struct residual_norm_args {
    view<T> out, resid, x, branch;
    const T *weight, *bias;
    float *mean, *rstd; /* mean NULL: RMSNorm */
    float eps;
};

template <typename T>
__device__ static void store_stats(const residual_norm_args<T> &a, int64_t row, float mean,
                                   float rstd)
{
    if (threadIdx.x % WARP > 0)
        return;
    a.rstd[row] = rstd;
    if (a.mean)
        a.mean[row] = mean;
}

/* Packs lane, lane + WARP, ... of a row.  Lanes past its end keep zeros. */
template <typename T, int N, int PACKS>
__device__ static inline void load_row(pack<T, N> *r, view<T> v, int64_t row)
{
#pragma unroll
    for (int i = 0; i < PACKS; i++) {
        int64_t col = (threadIdx.x % WARP + i * WARP) * N;

        r[i] = col < v.cols ? load_pack<N>(at(v, row, col)) : pack<T, N>{};
    }
}

/* resid = x + branch for the packs in registers: from now on they are resid as stored. */
template <typename T, int N, int PACKS>
__device__ static inline void add_branch(pack<T, N> *r, const residual_norm_args<T> &a, int64_t row)
{
    pack<T, N> branch[PACKS];

    load_row<T, N, PACKS>(branch, a.branch, row);
#pragma unroll
    for (int i = 0; i < PACKS; i++) {
        int64_t col = (threadIdx.x % WARP + i * WARP) * N;

        float x[N], b[N];

        if (i * WARP * N >= a.x.cols)
            break; /* all lanes alike */
        unpack(x, r[i]);
        unpack(b, branch[i]);
#pragma unroll
        for (int j = 0; j < N; j++)
            x[j] += b[j];
        r[i] = pack_of<T, N>(x);
        if (col < a.x.cols)
            store_pack(at(a.resid, row, col), r[i]);
    }
}

/* Rows of at most PACKS packs a lane. */
template <typename T, int N, int PACKS>
__global__ static void __launch_bounds__(THREADS) row_kernel(residual_norm_args<T> a)
{
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP, n = a.x.cols;
    int lane = threadIdx.x % WARP;
    float mean = 0, squares = 0, rstd;
    pack<T, N> r[PACKS];

    if (row >= a.x.rows)
        return;
    load_row<T, N, PACKS>(r, a.x, row);
    if (a.branch.data)
        add_branch<T, N, PACKS>(r, a, row);
    if (a.mean) {
#pragma unroll
        for (int i = 0; i < PACKS; i++) {
            float x[N];

            if (i * WARP * N >= n)
                break; /* all lanes alike */
            unpack(x, r[i]);
#pragma unroll
            for (int j = 0; j < N; j++)
                mean += x[j];
        }
        mean = warp_sum(mean) / (float)n;
    }
#pragma unroll
    for (int i = 0; i < PACKS; i++) {
        float x[N];

        unpack(x, r[i]);
        if ((lane + i * WARP) * N < n)
#pragma unroll
            for (int j = 0; j < N; j++)
                squares += (x[j] - mean) * (x[j] - mean);
    }
    rstd = 1.0f / sqrtf(warp_sum(squares) / (float)n + a.eps);
#pragma unroll
    for (int i = 0; i < PACKS; i++) {
        int64_t col = (lane + i * WARP) * N;

        if (col < n) {
            pack<T, N> bias = {};
            float y[N], w[N], b[N];

            if (a.bias)
                bias = load_pack<N>(a.bias + col);
            unpack(w, load_pack<N>(a.weight + col));
            unpack(b, bias);
            unpack(y, r[i]);
#pragma unroll
            for (int j = 0; j < N; j++)
                y[j] = (y[j] - mean) * rstd * w[j] + b[j];
            store_pack(at(a.out, row, col), pack_of<T, N>(y));
        }
    }
    store_stats(a, row, mean, rstd);
}

template <typename T> __global__ static void plain_kernel(residual_norm_args<T> a)
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
    store_stats(a, row, mean, rstd);
}

template <typename T> static void launch(const lt_residual_norm *n, cudaStream_t stream)
{
    constexpr int N = pack_size<T>();
    unsigned grid = (unsigned)cuda_ceil_div(n->x.rows, WARPS);
    int64_t packs = cuda_ceil_div(n->x.cols, N * WARP); /* a lane's */
    bool fits = cuda_packs(n->out, N) && cuda_packs(n->resid, N) && cuda_packs(n->x, N) &&
                cuda_packs(n->branch, N) && cuda_packs(n->weight, N) && cuda_packs(n->bias, N);
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

    if (fits && packs <= 4)
        row_kernel<T, N, 4><<<grid, THREADS, 0, stream>>>(a);
    else if (fits && packs <= 8)
        row_kernel<T, N, 8><<<grid, THREADS, 0, stream>>>(a);
    else if (fits && packs <= 16)
        row_kernel<T, N, 16><<<grid, THREADS, 0, stream>>>(a);
    else
        plain_kernel<T><<<grid, THREADS, 0, stream>>>(a);
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
