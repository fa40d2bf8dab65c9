/* device/cuda/cuda_embed_grad.cu - gradients of embedding tables, deterministic.
 *
 * The rows of dout are put into buckets, one a table row, and each bucket is added up in row order:
 *   1. count   start[id] = rows with that id, slot[r] = r's place among them, in any order
 *   2. scan    start[id] = where the id's bucket begins
 *   3. place   loose[start + slot[r]] = r
 *   4. order   sorted[start + rank] = r, rank = rows of the bucket before r
 *   5. sum     one warp a table row; the few with more than LARGE rows get a block for every WARP
 *              packs of columns, whose warps share the rows
 * Only integers are added atomically (1), and 4 undoes the order in which that happened.  Step 4
 * costs the square of a bucket's size: fine for text, where the most frequent token has a few per
 * cent of the rows.
 * Scratch, int32: start (table rows + 1), slot, loose, sorted (rows of dout each). */
#include "device/cuda/cuda_pack.cuh"

enum { THREADS = 64, SCAN_THREADS = 1024, SCAN_ITEMS = 16 };
enum { SUM_WARPS = 16, SUM_THREADS = SUM_WARPS * WARP, LARGE = 32, UNROLL = 8 };

typedef struct buckets {
    const int32_t *ids; /* (n_rows) */
    int64_t n_rows, n_buckets;
    int32_t *start, *slot, *loose, *sorted;
} buckets;

__global__ static void count_kernel(buckets b)
{
    int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (row >= b.n_rows)
        return;
    if (b.ids[row] < 0 || b.ids[row] >= b.n_buckets)
        __trap(); /* as in cuda_embed.cu */
    b.slot[row] = atomicAdd(&b.start[b.ids[row]], 1);
}

/* Sum of x over the lanes of the warp up to and including this one. */
__device__ static inline int32_t warp_scan(int32_t x)
{
    for (int step = 1; step < WARP; step *= 2) {
        int32_t left = __shfl_up_sync(0xffffffffu, x, step);

        x += threadIdx.x % WARP >= step ? left : 0;
    }
    return x;
}

/* Counts become starts; start[n_buckets] = n_rows.  One block: in a round each warp takes SCAN_ITEMS
 * times WARP neighbours, each lane every WARPth of them. */
__global__ static void __launch_bounds__(SCAN_THREADS) scan_kernel(buckets b)
{
    __shared__ int32_t warps[SCAN_THREADS / WARP]; /* a round's rows by warp */
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int32_t before = 0; /* rows in the buckets of earlier rounds */

    for (int64_t first = 0; first < b.n_buckets; first += SCAN_THREADS * SCAN_ITEMS) {
        int64_t id = first + warp * WARP * SCAN_ITEMS + lane;
        int32_t start[SCAN_ITEMS], sum = 0, earlier = 0, round = 0;

#pragma unroll
        for (int i = 0; i < SCAN_ITEMS; i++)
            start[i] = id + i * WARP < b.n_buckets ? b.start[id + i * WARP] : 0;
#pragma unroll
        for (int i = 0; i < SCAN_ITEMS; i++) {
            int32_t end = sum + warp_scan(start[i]);

            start[i] = end - start[i];
            sum = __shfl_sync(0xffffffffu, end, WARP - 1);
        }
        warps[warp] = sum;
        __syncthreads();
        for (int w = 0; w < SCAN_THREADS / WARP; w++) {
            earlier += w < warp ? warps[w] : 0;
            round += warps[w];
        }
#pragma unroll
        for (int i = 0; i < SCAN_ITEMS; i++)
            if (id + i * WARP < b.n_buckets)
                b.start[id + i * WARP] = before + earlier + start[i];
        before += round;
        __syncthreads(); /* before warps is written again */
    }
    if (threadIdx.x == 0)
        b.start[b.n_buckets] = before;
}

__global__ static void place_kernel(buckets b)
{
    int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (row < b.n_rows)
        b.loose[b.start[b.ids[row]] + b.slot[row]] = (int32_t)row;
}

/* Threads take places, not rows: those of a warp then mostly walk the same bucket. */
__global__ static void order_kernel(buckets b)
{
    int64_t place = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int32_t row, start, end, rank = 0;

    if (place >= b.n_rows)
        return;
    row = b.loose[place];
    start = b.start[b.ids[row]];
    end = b.start[b.ids[row] + 1];
#pragma unroll 16
    for (int32_t i = start; i < end; i++)
        rank += b.loose[i] < row;
    b.sorted[start + rank] = row;
}

/* sum += rows first, first + step, ... of a bucket that ends at `end` in b.sorted */
template <typename T, int N>
__device__ static inline void add_rows(float *sum, view<T> dout, const buckets &b, int64_t col,
                                       int32_t first, int32_t end, int step)
{
    for (int32_t i = first; i < end; i += UNROLL * step) {
        pack<T, N> x[UNROLL];
        int32_t row[UNROLL];

#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            row[u] = i + u * step < end ? b.sorted[i + u * step] : -1;
#pragma unroll
        for (int u = 0; u < UNROLL; u++) /* all under way before the first is needed */
            x[u] = row[u] < 0 ? pack<T, N>{} : load_pack<N>(at(dout, row[u], col));
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            float one[N];

            unpack(one, x[u]);
#pragma unroll
            for (int j = 0; j < N; j++)
                sum[j] += one[j];
        }
    }
}

/* dtable (+)= sum.  N elements at a time would be 32 bytes of fp32; the row stays in cache. */
template <typename G, int N>
__device__ static inline void put_sum(G *out, const float *sum, bool add)
{
    enum { FOUR = N < 4 ? N : 4 };

#pragma unroll
    for (int j = 0; j < N; j += FOUR) {
        float x[FOUR] = {};

        if (add)
            unpack(x, load_pack<FOUR>(out + j));
#pragma unroll
        for (int i = 0; i < FOUR; i++)
            x[i] += sum[j + i];
        store_pack(out + j, pack_of<G, FOUR>(x));
    }
}

/* The large bucket, if any, whose first place divisible by LARGE is block / groups * LARGE: every
 * large bucket has one.  The block takes group block % groups of its columns. */
template <typename T, typename G, int N>
__device__ static void sum_large(view<G> dtable, view<T> dout, const buckets &b, bool add)
{
    __shared__ float parts[SUM_WARPS][N][WARP];
    int64_t groups = cuda_ceil_div(dtable.cols, WARP * N), place = blockIdx.x / groups * LARGE;
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int64_t col = (blockIdx.x % groups * WARP + lane) * N, id = b.ids[b.sorted[place]];
    int32_t start = b.start[id], end = b.start[id + 1];
    float sum[N] = {};

    if (end - start <= LARGE || place - start >= LARGE)
        return;
    if (col < dtable.cols)
        add_rows<T, N>(sum, dout, b, col, start + warp, end, SUM_WARPS);
    for (int j = 0; j < N; j++)
        parts[warp][j][lane] = sum[j];
    __syncthreads();
    if (warp > 0 || col >= dtable.cols)
        return;
    for (int w = 1; w < SUM_WARPS; w++)
        for (int j = 0; j < N; j++)
            sum[j] += parts[w][j][lane];
    put_sum<G, N>(at(dtable, id, col), sum, add);
}

/* The first n_large blocks look for large buckets, the others sum the small ones, a warp each. */
template <typename T, typename G, int N>
__global__ static void __launch_bounds__(SUM_THREADS)
    sum_kernel(view<G> dtable, view<T> dout, buckets b, bool add, int64_t n_large)
{
    int64_t id = (blockIdx.x - n_large) * SUM_WARPS + threadIdx.x / WARP;
    int32_t start, end;

    if (blockIdx.x < n_large) {
        sum_large<T, G, N>(dtable, dout, b, add);
        return;
    }
    if (id >= dtable.rows)
        return;
    start = b.start[id];
    end = b.start[id + 1];
    if ((start == end && add) || end - start > LARGE)
        return;
    for (int64_t c = threadIdx.x % WARP * N; c < dtable.cols; c += WARP * N) {
        float sum[N] = {};

        add_rows<T, N>(sum, dout, b, c, start, end, 1);
        put_sum<G, N>(at(dtable, id, c), sum, add);
    }
}

template <typename T, typename G, int N>
static void launch_sum(lt_tensor dtable, lt_tensor dout, const buckets &b, bool add,
                       cudaStream_t stream)
{
    int64_t groups = cuda_ceil_div(dtable.cols, WARP * N);
    int64_t n_large = cuda_ceil_div(dout.rows, LARGE) * groups;
    int64_t n_small = cuda_ceil_div(dtable.rows, SUM_WARPS);

    sum_kernel<T, G, N><<<(unsigned)(n_large + n_small), SUM_THREADS, 0, stream>>>(
        view_of<G>(dtable), view_of<T>(dout), b, add, n_large);
}

static void scatter(lt_dev *dev, lt_tensor dtable, lt_tensor dout, lt_tensor ids, bool add,
                    cudaStream_t stream)
{
    int64_t rows = dout.rows, n = dtable.rows;
    unsigned grid = (unsigned)cuda_ceil_div(rows, THREADS);
    size_t bytes = (size_t)(n + 1 + 3 * rows) * sizeof(int32_t);
    int32_t *scratch = (int32_t *)cuda_scratch(dev, bytes);
    buckets b = { lt_i32(ids),
                  rows,
                  n,
                  scratch,
                  scratch + n + 1,
                  scratch + n + 1 + rows,
                  scratch + n + 1 + 2 * rows };

    LT_BUG_ON(dtable.cols != dout.cols || ids.cols != rows || rows > INT32_MAX);
    cuda_note(dev, cudaMemsetAsync(b.start, 0, (size_t)(n + 1) * sizeof *b.start, stream));
    count_kernel<<<grid, THREADS, 0, stream>>>(b);
    scan_kernel<<<1, SCAN_THREADS, 0, stream>>>(b);
    place_kernel<<<grid, THREADS, 0, stream>>>(b);
    order_kernel<<<grid, THREADS, 0, stream>>>(b);
    CUDA_BY_ACT_GRAD(dout.dtype, dtable.dtype, {
        constexpr int N = pack_size<T>();

        if (cuda_packs(dout, N) && cuda_packs(dtable, pack_size<G>() < N ? pack_size<G>() : N))
            launch_sum<T, G, N>(dtable, dout, b, add, stream);
        else
            launch_sum<T, G, 1>(dtable, dout, b, add, stream);
    });
    cuda_end(dev);
}

void cuda_embed_grad(lt_dev *dev, lt_tensor dwte, lt_tensor dwpe, lt_tensor dout, lt_tensor ids,
                     lt_tensor positions, bool add_wte, bool add_wpe)
{
    cudaStream_t stream = cuda_begin(dev, "embed_grad");

    scatter(dev, dwte, dout, ids, add_wte, stream);
    if (dwpe.data)
        scatter(dev, dwpe, dout, positions, add_wpe, stream);
}
