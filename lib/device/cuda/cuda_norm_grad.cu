/* device/cuda/cuda_norm_grad.cu - the gradient of residual_norm.
 *
 * With xh = (r - mean) rstd and g = dout w:
 *     dx = dresid + rstd (g - mean(g) - xh mean(g xh)),  RMSNorm has no mean(g)
 *     dweight (+)= column sums of dout xh,  dbias (+)= column sums of dout
 *     col_sum (+)= column sums of dx as stored
 * In the fast form a thread owns one pack of columns (cuda_pack.cuh) and a block walks the rows
 * with a fixed step, ROWS a turn.  Every operand is read once, two turns ahead, into shared memory;
 * the column sums stay in registers until the block's last turn, and cuda_add_parts adds the
 * blocks'.  Widths and addresses that do not allow it take two plain kernels. */
#include "device/cuda/cuda_pack.cuh"

#include <cuda_pipeline_primitives.h>

enum { ROWS = 2, DOUT = 0, RESID, DRESID, OPERANDS }; /* the fast form: rows of a turn */
enum { WARPS = 4, THREADS = WARPS * WARP };
enum { COLS = 32, LANES = 8, PLAIN_PARTS = 64 }; /* the plain column sums' blocks, rows in parts */
enum { MAX_THREADS = 512, SM_THREADS = 448, SMS = 132 }; /* the fast form: see fast_grid */

template <typename T> struct norm_grad_args {
    view<T> dx, dout, dresid, resid;
    const T *weight;
    const float *mean, *rstd;         /* mean NULL: RMSNorm */
    float *dweight, *dbias, *col_sum; /* parts (gridDim.x, cols) of the sums */
};

/* ---- one pass */

/* What a block reads waits in shared memory: two stages of ROWS rows of each operand, a pack a
 * thread.  A thread reads only what it fetched itself, so nobody waits for anybody else's. */
template <typename T, int N>
__device__ static inline pack<T, N> *slot(int stage, int k, int operand)
{
    extern __shared__ uint4 room[];

    return (pack<T, N> *)room + ((stage * ROWS + k) * OPERANDS + operand) * blockDim.x +
           threadIdx.x;
}

/* Starts to copy rows row, row + 1, ... to a stage;
 * a row or an operand that is not there is zero. */
template <typename T, int N>
__device__ static inline void fetch(int stage, const norm_grad_args<T> &a, int64_t row, int64_t col)
{
    const view<T> from[OPERANDS] = { a.dout, a.resid, a.dresid };

#pragma unroll
    for (int k = 0; k < ROWS; k++)
#pragma unroll
        for (int i = 0; i < OPERANDS; i++)
            if (from[i].data && row + k < a.dout.rows && col < a.dout.cols)
                __pipeline_memcpy_async(slot<T, N>(stage, k, i), at(from[i], row + k, col), 16);
            else
                *slot<T, N>(stage, k, i) = {};
    __pipeline_commit();
}

/* Mean and rstd of a turn's rows; rows that do not exist have none, so that they add nothing. */
typedef struct row_stats {
    float mean[ROWS], rstd[ROWS];
} row_stats;

template <typename T>
__device__ static inline row_stats load_stats(const norm_grad_args<T> &a, int64_t row)
{
    row_stats s = {};

#pragma unroll
    for (int k = 0; k < ROWS; k++)
        if (row + k < a.dout.rows) {
            s.mean[k] = a.mean ? a.mean[row + k] : 0.0f;
            s.rstd[k] = a.rstd[row + k];
        }
    return s;
}

/* Sums of g and of g xh over the block, for each of ROWS rows; `parts` must not be the array of the
 * call before. */
__device__ static inline void block_sums(float (&sum)[2 * ROWS], float4 *parts)
{
    float4 x = { warp_sum(sum[0]), warp_sum(sum[1]), warp_sum(sum[2]), warp_sum(sum[3]) };

    if (threadIdx.x % WARP == 0)
        parts[threadIdx.x / WARP] = x;
    __syncthreads();
    x = parts[0];
    for (int w = 1; w < blockDim.x / WARP; w++) {
        float4 y = parts[w];

        x.x += y.x;
        x.y += y.y;
        x.z += y.z;
        x.w += y.w;
    }
    sum[0] = x.x;
    sum[1] = x.y;
    sum[2] = x.z;
    sum[3] = x.w;
}

template <int N>
__device__ static inline void store_sums(float *parts, const float *sums, int64_t cols, int64_t col)
{
    enum { FOUR = N < 4 ? N : 4 };

    if (col < cols)
#pragma unroll
        for (int i = 0; i < N; i += FOUR)
            store_pack(parts + blockIdx.x * cols + col + i, pack_of<float, FOUR>(sums + i));
}

template <typename T, int N>
__global__ static void __launch_bounds__(MAX_THREADS) rows_kernel(norm_grad_args<T> a)
{
    __shared__ float4 parts[2][MAX_THREADS / WARP]; /* of even and of odd turns */
    int64_t cols = a.dout.cols, col = (int64_t)threadIdx.x * N;
    int64_t step = (int64_t)gridDim.x * ROWS, row = (int64_t)blockIdx.x * ROWS;
    float dweight[N] = {}, dbias[N] = {}, col_sum[N] = {}, w[N] = {}, per_col = 1.0f / (float)cols;
    row_stats next = load_stats(a, row);

    fetch<T, N>(0, a, row, col);
    fetch<T, N>(1, a, row + step, col);
    if (col < cols)
        for (int i = 0; i < N; i++)
            w[i] = load(a.weight + col + i);
    for (int odd = 0; row < a.dout.rows; row += step, odd ^= 1) {
        row_stats now = next;
        float sum[2 * ROWS] = {}, d[ROWS][N], xh[ROWS][N];
        pack<T, N> dresid[ROWS];

        next = load_stats(a, row + step);
        __pipeline_wait_prior(1);
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            unpack(d[k], *slot<T, N>(odd, k, DOUT));
            unpack(xh[k], *slot<T, N>(odd, k, RESID));
            dresid[k] = *slot<T, N>(odd, k, DRESID);
#pragma unroll
            for (int i = 0; i < N; i++) {
                float g = d[k][i] * w[i];

                xh[k][i] = (xh[k][i] - now.mean[k]) * now.rstd[k];
                dweight[i] += d[k][i] * xh[k][i];
                dbias[i] += d[k][i];
                sum[2 * k] += g;
                sum[2 * k + 1] += g * xh[k][i];
            }
        }
        block_sums(sum, parts[odd]);
        fetch<T, N>(odd, a, row + 2 * step, col);
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            float y[N], mean_g = a.mean ? sum[2 * k] * per_col : 0.0f;
            pack<T, N> dx;

            unpack(y, dresid[k]);
#pragma unroll
            for (int i = 0; i < N; i++)
                y[i] +=
                    now.rstd[k] * (d[k][i] * w[i] - mean_g - xh[k][i] * (sum[2 * k + 1] * per_col));
            dx = pack_of<T, N>(y);
            if (row + k < a.dout.rows && col < cols)
                store_pack(at(a.dx, row + k, col), dx);
            unpack(y, dx);
#pragma unroll
            for (int i = 0; i < N; i++)
                col_sum[i] += y[i];
        }
    }
    store_sums<N>(a.dweight, dweight, cols, col);
    if (a.dbias)
        store_sums<N>(a.dbias, dbias, cols, col);
    if (a.col_sum)
        store_sums<N>(a.col_sum, col_sum, cols, col);
}

/* ---- two passes; the column sums come first, since dx may be written over dout */

/* One part of the rows for COLS columns. */
template <typename T> __global__ static void plain_sums_kernel(norm_grad_args<T> a)
{
    __shared__ float lanes[2][LANES][COLS];
    int64_t col = (int64_t)blockIdx.x * COLS + threadIdx.x, part = blockIdx.y;
    int64_t first = a.dout.rows * part / gridDim.y, last = a.dout.rows * (part + 1) / gridDim.y;
    float sum_gx = 0, sum_g = 0;

    if (col < a.dout.cols)
        for (int64_t row = first + threadIdx.y; row < last; row += LANES) {
            float d = load(at(a.dout, row, col)), mean = a.mean ? a.mean[row] : 0.0f;

            sum_gx += d * (load(at(a.resid, row, col)) - mean) * a.rstd[row];
            sum_g += d;
        }
    lanes[0][threadIdx.y][threadIdx.x] = sum_gx;
    lanes[1][threadIdx.y][threadIdx.x] = sum_g;
    __syncthreads();
    if (threadIdx.y > 0 || col >= a.dout.cols)
        return;
    for (int lane = 1; lane < LANES; lane++) {
        sum_gx += lanes[0][lane][threadIdx.x];
        sum_g += lanes[1][lane][threadIdx.x];
    }
    a.dweight[part * a.dout.cols + col] = sum_gx;
    if (a.dbias)
        a.dbias[part * a.dout.cols + col] = sum_g;
}

/* A warp a row.  A lane reads dout and dresid of an element before it writes dx there. */
template <typename T> __global__ static void plain_dx_kernel(norm_grad_args<T> a)
{
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP, n = a.dout.cols;
    int lane = threadIdx.x % WARP;
    float sum_g = 0, sum_gx = 0, mean, rstd;

    if (row >= a.dout.rows)
        return;
    mean = a.mean ? a.mean[row] : 0.0f;
    rstd = a.rstd[row];
    for (int64_t c = lane; c < n; c += WARP) {
        float g = load(at(a.dout, row, c)) * load(a.weight + c);

        sum_g += g;
        sum_gx += g * (load(at(a.resid, row, c)) - mean) * rstd;
    }
    sum_g = a.mean ? warp_sum(sum_g) / (float)n : 0.0f;
    sum_gx = warp_sum(sum_gx) / (float)n;
    for (int64_t c = lane; c < n; c += WARP) {
        float g = load(at(a.dout, row, c)) * load(a.weight + c);
        float xh = (load(at(a.resid, row, c)) - mean) * rstd;
        float dx = rstd * (g - sum_g - xh * sum_gx);

        store(at(a.dx, row, c), a.dresid.data ? load(at(a.dresid, row, c)) + dx : dx);
    }
}

/* ---- entry */

/* Blocks of the fast form, and so parts of its sums: about SM_THREADS threads on each SM of an H100
 * or H200, a constant, so that the bits are those of the shape alone.  At most what scratch has. */
static int fast_grid(int64_t rows, int threads)
{
    int64_t n = SMS * (threads < SM_THREADS ? SM_THREADS / threads : 1);

    if (n > 2 * CUDA_REDUCE_PARTS)
        n = 2 * CUDA_REDUCE_PARTS;
    return (int)(n < rows ? n : rows); /* more than turns does no harm */
}

template <typename T> static bool packs_fit(const lt_norm_grad *n)
{
    constexpr int N = pack_size<T>();

    return n->dout.cols <= MAX_THREADS * N && cuda_packs(n->dx, N) && cuda_packs(n->dout, N) &&
           cuda_packs(n->dresid, N) && cuda_packs(n->resid, N);
}

/* Leaves in *sums what is to be added up; returns whether col_sum is among it. */
template <typename T>
static bool launch(lt_dev *dev, const lt_norm_grad *n, cuda_sums *sums, cudaStream_t stream)
{
    constexpr int N = pack_size<T>();
    int64_t rows = n->dout.rows, cols = n->dout.cols;
    int threads = (int)cuda_ceil_div(cols, N * WARP) * WARP;
    bool fast = packs_fit<T>(n);
    int parts = fast ? fast_grid(rows, threads) : PLAIN_PARTS;
    size_t room = CUDA_MAX_SUMS * (size_t)parts * (size_t)cols * sizeof(float);
    float *scratch = (float *)cuda_scratch(dev, room);
    norm_grad_args<T> a = {
        .dx = view_of<T>(n->dx),
        .dout = view_of<T>(n->dout),
        .dresid = view_of<T>(n->dresid),
        .resid = view_of<T>(n->resid),
        .weight = (const T *)n->weight.data,
        .mean = n->kind == LT_NORM_LAYER ? lt_f32(n->mean) : NULL,
        .rstd = lt_f32(n->rstd),
        .dweight = scratch,
        .dbias = n->dbias.data ? scratch + parts * cols : NULL,
        .col_sum = n->col_sum.data ? scratch + 2 * parts * cols : NULL,
    };

    if (fast) {
        int bytes = 2 * ROWS * OPERANDS * 16 * threads;

        cuda_note(dev, cuda_take_shared(rows_kernel<T, N>, bytes));
        rows_kernel<T, N><<<parts, threads, bytes, stream>>>(a);
    } else {
        dim3 grid((unsigned)cuda_ceil_div(cols, COLS), (unsigned)parts);

        plain_sums_kernel<T><<<grid, dim3(COLS, LANES), 0, stream>>>(a);
        plain_dx_kernel<T><<<(unsigned)cuda_ceil_div(rows, WARPS), THREADS, 0, stream>>>(a);
    }
    *sums = { .out = { n->dweight, n->dbias, fast ? n->col_sum : lt_absent() },
              .parts = { a.dweight, a.dbias, a.col_sum },
              .cols = cols,
              .n_parts = parts,
              .add = n->add };
    return fast;
}

static void check(const lt_norm_grad *n)
{
    lt_dtype type = n->dout.dtype;

    LT_BUG_ON(!cuda_same_shape(n->dx, n->dout) || !cuda_same_shape(n->resid, n->dout));
    LT_BUG_ON(n->dx.dtype != type || n->resid.dtype != type || n->weight.dtype != type);
    LT_BUG_ON(n->dresid.data && (!cuda_same_shape(n->dresid, n->dout) || n->dresid.dtype != type));
    LT_BUG_ON(n->weight.cols != n->dout.cols || n->dweight.cols != n->dout.cols);
    LT_BUG_ON(n->dweight.dtype != LT_F32 && n->dweight.dtype != type);
    LT_BUG_ON(n->dbias.data && n->dbias.cols != n->dout.cols);
    LT_BUG_ON(n->rstd.cols < n->dout.rows);
    LT_BUG_ON(n->kind == LT_NORM_LAYER && (!n->mean.data || n->mean.cols < n->dout.rows));
}

void cuda_norm_grad(lt_dev *dev, const lt_norm_grad *n)
{
    cudaStream_t stream = cuda_begin(dev, "norm_grad");
    bool has_col_sum = false;
    cuda_sums sums;

    check(n);
    CUDA_BY_ACT(n->dout.dtype, has_col_sum = launch<T>(dev, n, &sums, stream));
    cuda_add_parts(&sums, stream);
    cuda_end(dev);
    if (n->col_sum.data && !has_col_sum)
        cuda_col_sum(dev, n->col_sum, n->dx, n->add);
}
