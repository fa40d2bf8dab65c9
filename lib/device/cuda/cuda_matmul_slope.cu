/* device/cuda/cuda_matmul_slope.cu - what is left after a plain product: d = d act'(aux) in place,
 * with d's column sums.
 *
 * One pass: a block walks its share of the rows, COLS packs wide, and writes its partial sums to
 * scratch, which cuda_add_parts adds in order. */
#include "device/cuda/cuda_matmul.cuh"
#include "device/cuda/cuda_pack.cuh"

/* A block: COLS packs wide, LANES rows at a time; BLOCKS at least, to fill a large GPU. */
enum { COLS = 32, LANES = 8, THREADS = COLS * LANES, BATCH = 4, BLOCKS = 2 * CUDA_REDUCE_PARTS };

template <typename T> struct slope_args {
    float *parts; /* (parts, cols); NULL: no column sums */
    view<T> d, aux;
};

/* Rows row, row + LANES, ... of one pack of columns; BATCH of them are read before one is written,
 * for the compiler cannot know that d and aux lie apart. */
template <typename T, int N, lt_act KIND>
__device__ static void walk(float sum[N], slope_args<T> a, int64_t row, int64_t last, int64_t col)
{
    for (; row < last; row += BATCH * LANES) {
        pack<T, N> d[BATCH], aux[BATCH];

#pragma unroll
        for (int b = 0; b < BATCH; b++)
            if (row + b * LANES < last) {
                d[b] = load_pack<N>(at(a.d, row + b * LANES, col));
                aux[b] = load_pack<N>(at(a.aux, row + b * LANES, col));
            }
#pragma unroll
        for (int b = 0; b < BATCH; b++) {
            float x[N], y[N];

            if (row + b * LANES >= last)
                break;
            unpack(x, d[b]);
            unpack(y, aux[b]);
#pragma unroll
            for (int i = 0; i < N; i++) {
                x[i] *= act_slope(y[i], KIND);
                sum[i] += x[i];
            }
            store_pack(at(a.d, row + b * LANES, col), pack_of<T, N>(x));
        }
    }
}

/* Part p of P: rows [rows p / P, rows (p + 1) / P), the block's lanes added in order. */
template <typename T, int N, lt_act KIND>
__global__ __launch_bounds__(THREADS) static void slope_kernel(slope_args<T> a)
{
    __shared__ float lanes[LANES][N][COLS];
    int64_t col = ((int64_t)blockIdx.x * COLS + threadIdx.x) * N, part = blockIdx.y;
    int64_t row = a.d.rows * part / gridDim.y + threadIdx.y;
    int64_t last = a.d.rows * (part + 1) / gridDim.y;
    float sum[N] = {};

    if (col < a.d.cols)
        walk<T, N, KIND>(sum, a, row, last, col);
    if (!a.parts)
        return;
#pragma unroll
    for (int i = 0; i < N; i++)
        lanes[threadIdx.y][i][threadIdx.x] = sum[i];
    __syncthreads();
    for (int i = threadIdx.y; i < N; i += LANES) {
        float total = 0;

        for (int lane = 0; lane < LANES; lane++)
            total += lanes[lane][i][threadIdx.x];
        if (col < a.d.cols)
            a.parts[part * a.d.cols + col + i] = total;
    }
}

/* Returns the number of parts. */
template <typename T, int N> static int launch(slope_args<T> a, lt_act kind, cudaStream_t stream)
{
    int64_t blocks = cuda_ceil_div(a.d.cols, COLS * N);
    int64_t n = blocks < BLOCKS ? BLOCKS / blocks : 1;
    dim3 block(COLS, LANES), grid((unsigned)blocks);

    if (n > CUDA_REDUCE_PARTS)
        n = CUDA_REDUCE_PARTS;
    grid.y = (unsigned)n;
    switch (kind) {
    case LT_ACT_GELU_TANH:
        slope_kernel<T, N, LT_ACT_GELU_TANH><<<grid, block, 0, stream>>>(a);
        break;
    case LT_ACT_GELU_ERF:
        slope_kernel<T, N, LT_ACT_GELU_ERF><<<grid, block, 0, stream>>>(a);
        break;
    case LT_ACT_RELU:
        slope_kernel<T, N, LT_ACT_RELU><<<grid, block, 0, stream>>>(a);
        break;
    case LT_ACT_SILU:
        slope_kernel<T, N, LT_ACT_SILU><<<grid, block, 0, stream>>>(a);
        break;
    default:
        slope_kernel<T, N, LT_ACT_NONE><<<grid, block, 0, stream>>>(a);
    }
    return (int)n;
}

void cuda_matmul_slope(lt_dev *dev, const lt_matmul *m)
{
    cudaStream_t stream = cuda_begin(dev, "matmul");
    size_t bytes = CUDA_REDUCE_PARTS * (size_t)m->d.cols * sizeof(float);
    float *parts = m->col_sum.data ? (float *)cuda_scratch(dev, bytes) : NULL;
    cuda_sums sums = {};

    sums.out[0] = m->col_sum;
    sums.parts[0] = parts;
    sums.cols = m->d.cols;
    sums.add = m->add_col_sum;
    LT_BUG_ON(m->d.dtype != m->aux.dtype);
    CUDA_BY_ACT(m->d.dtype, {
        constexpr int N = pack_size<T>();
        slope_args<T> a = { parts, view_of<T>(m->d), view_of<T>(m->aux) };

        sums.n_parts = cuda_packs(m->d, N) && cuda_packs(m->aux, N)
                           ? launch<T, N>(a, m->act, stream)
                           : launch<T, 1>(a, m->act, stream);
    });
    cuda_add_parts(&sums, stream);
    cuda_end(dev);
}
