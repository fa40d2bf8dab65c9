/* device/cuda/cuda_col_sum.cu - column sums in two stages: partial rows in scratch, each for a
 * fixed share of the rows, then their sum in order.  The second stage serves norm_grad too. */
#include "device/cuda/cuda_pack.cuh"

/* A block of the first stage: COLS packs wide, LANES rows at a time;
 * BLOCKS fill an H100 or H200. */
enum { COLS = 32, LANES = 8, UNROLL = 8, BLOCKS = 5 * 132 };
/* Of the second: ADD_COLS columns, ADD_LANES parts at a time. */
enum { ADD_COLS = 32, ADD_LANES = 16 };

/* part p of P of N columns: rows [rows p / P, rows (p + 1) / P),
 * the block's lanes added in order */
template <typename T, int N> __global__ static void col_parts_kernel(float *parts, view<T> x)
{
    __shared__ float lanes[LANES][N][COLS];
    int64_t col = ((int64_t)blockIdx.x * COLS + threadIdx.x) * N, part = blockIdx.y;
    int64_t row = x.rows * part / gridDim.y + threadIdx.y;
    int64_t last = x.rows * (part + 1) / gridDim.y;
    float sum[N] = {};

    for (; row < last && col < x.cols; row += LANES * UNROLL) {
        pack<T, N> v[UNROLL];

#pragma unroll
        for (int u = 0; u < UNROLL; u++) /* all under way before the first is needed */
            v[u] =
                row + u * LANES < last ? load_pack<N>(at(x, row + u * LANES, col)) : pack<T, N>{};
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            float one[N];

            unpack(one, v[u]);
#pragma unroll
            for (int i = 0; i < N; i++)
                sum[i] += one[i];
        }
    }
#pragma unroll
    for (int i = 0; i < N; i++)
        lanes[threadIdx.y][i][threadIdx.x] = sum[i];
    __syncthreads();
    for (int i = threadIdx.y; i < N; i += LANES) { /* LANES columns of a pack at a time */
        float total = 0;

        for (int lane = 0; lane < LANES; lane++)
            total += lanes[lane][i][threadIdx.x];
        if (col < x.cols)
            parts[part * x.cols + col + i] = total;
    }
}

typedef struct add_args {
    void *out[CUDA_MAX_SUMS];
    lt_dtype dtype[CUDA_MAX_SUMS];
    const float *parts[CUDA_MAX_SUMS];
    int64_t cols;
    int n_parts;
    bool add;
} add_args;

template <typename G> __device__ static void put(G *out, float x, bool add)
{
    store(out, add ? load(out) + x : x);
}

/* Output blockIdx.y.  A lane adds parts lane, lane + ADD_LANES, ...;
 * the lanes are added in order. */
__global__ static void add_parts_kernel(const __grid_constant__ add_args a)
{
    __shared__ float lanes[ADD_LANES][ADD_COLS];
    int64_t col = (int64_t)blockIdx.x * ADD_COLS + threadIdx.x;
    const float *parts = a.parts[blockIdx.y];
    void *out = a.out[blockIdx.y];
    float sum = 0;

    if (col < a.cols)
#pragma unroll 8
        for (int part = threadIdx.y; part < a.n_parts; part += ADD_LANES)
            sum += parts[part * a.cols + col];
    lanes[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || col >= a.cols)
        return;
    for (int lane = 1; lane < ADD_LANES; lane++)
        sum += lanes[lane][threadIdx.x];
    switch (a.dtype[blockIdx.y]) {
    case LT_BF16:
        put((bf16 *)out + col, sum, a.add);
        return;
    case LT_F16:
        put((__half *)out + col, sum, a.add);
        return;
    default:
        put((float *)out + col, sum, a.add);
    }
}

void cuda_add_parts(const cuda_sums *sums, cudaStream_t stream)
{
    add_args a = {};
    dim3 grid((unsigned)cuda_ceil_div(sums->cols, ADD_COLS), 0);

    a.cols = sums->cols;
    a.n_parts = sums->n_parts;
    a.add = sums->add;
    for (int i = 0; i < CUDA_MAX_SUMS; i++) {
        lt_tensor out = sums->out[i];

        if (!out.data)
            continue;
        LT_BUG_ON(out.rows != 1 || out.cols != sums->cols);
        LT_BUG_ON(out.dtype != LT_F32 && out.dtype != LT_BF16 && out.dtype != LT_F16);
        a.out[grid.y] = out.data;
        a.dtype[grid.y] = out.dtype;
        a.parts[grid.y++] = sums->parts[i];
    }
    if (grid.y > 0)
        add_parts_kernel<<<grid, dim3(ADD_COLS, ADD_LANES), 0, stream>>>(a);
}

/* As many parts as make BLOCKS blocks. */
template <typename T, int N> static int launch(float *parts, lt_tensor x, cudaStream_t stream)
{
    int64_t blocks = cuda_ceil_div(x.cols, COLS * N);
    int64_t n = blocks < BLOCKS ? BLOCKS / blocks : 1;

    if (n > CUDA_REDUCE_PARTS)
        n = CUDA_REDUCE_PARTS;
    col_parts_kernel<T, N><<<dim3((unsigned)blocks, (unsigned)n), dim3(COLS, LANES), 0, stream>>>(
        parts, view_of<T>(x));
    return (int)n;
}

void cuda_col_sum(lt_dev *dev, lt_tensor out, lt_tensor x, bool add)
{
    cudaStream_t stream = cuda_begin(dev, "col_sum");
    float *parts = (float *)cuda_scratch(dev, CUDA_REDUCE_PARTS * (size_t)x.cols * sizeof(float));
    cuda_sums sums = {
        .out = { out }, .parts = { parts }, .cols = x.cols, .n_parts = 0, .add = add
    };

    LT_BUG_ON(out.dtype != LT_F32 && out.dtype != x.dtype);
    CUDA_BY_ACT(x.dtype, {
        constexpr int N = pack_size<T>();

        sums.n_parts =
            cuda_packs(x, N) ? launch<T, N>(parts, x, stream) : launch<T, 1>(parts, x, stream);
    });
    cuda_add_parts(&sums, stream);
    cuda_end(dev);
}
