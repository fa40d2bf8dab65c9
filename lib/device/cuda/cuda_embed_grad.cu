/* device/cuda/cuda_embed_grad.cu - gradients of embedding tables, deterministic.
 *
 * The rows of dout are put into buckets, one a table row, and each bucket is added up in row order:
 *   1. count   start[id] = rows with that id, slot[r] = r's place among them, in any order
 *   2. scan    start[id] = where the id's bucket begins
 *   3. place   loose[start + slot[r]] = r
 *   4. order   sorted[start + rank] = r, rank = rows of the bucket before r
 *   5. sum     one warp a table row; those with more than LARGE rows get a block for every WARP
 *              packs of columns, whose warps share the rows
 * Only integers are added atomically (1), and 4 undoes the order in which that happened.  Step 4
 * costs the square of a bucket's size: fine for text, where the most frequent token has a few per
 * cent of the rows.
 * Scratch, int32: start (table rows + 1), slot, loose, sorted (rows of dout each). */
#include "device/cuda/cuda_pack.cuh"

enum { THREADS = 64, SCAN_THREADS = 1024, SCAN_ITEMS = 16 };
enum { ORDER_BATCH = 32 };
/* Step 5: blocks, of which LARGE_BLOCKS take the large buckets;
 * rows that a warp reads at a time. */
enum { SUM_WARPS = 16, SUM_THREADS = SUM_WARPS * WARP, LARGE = 32, LARGE_BLOCKS = 264, BATCH = 4 };

typedef struct buckets {
    const int32_t *ids; /* (n_rows) */
    int64_t n_rows, n_buckets;
    int32_t *start, *slot, *loose, *sorted;
} buckets;

/* Lanes with the same id add to its count together: text has ids that take 5 % of all rows. */
__global__ static void count_kernel(buckets b)
{
    int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int32_t id = row < b.n_rows ? b.ids[row] : -1, first = 0;
    uint32_t lane = threadIdx.x % WARP, same = __match_any_sync(0xffffffffu, id);
    int leader = __ffs((int)same) - 1;

    if (row < b.n_rows && (id < 0 || id >= b.n_buckets))
        __trap(); /* as in cuda_embed.cu */
    if (row < b.n_rows && lane == (uint32_t)leader)
        first = atomicAdd(&b.start[id], __popc(same));
    first = __shfl_sync(0xffffffffu, first, leader);
    if (row < b.n_rows)
        b.slot[row] = first + __popc(same & ((1u << lane) - 1));
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

/* Counts become starts; start[n_buckets] = n_rows.  One block: in a round each warp takes
 * SCAN_ITEMS times WARP neighbours, each lane every WARPth of them. */
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
    int32_t row, start, end, i, rank = 0;

    if (place >= b.n_rows)
        return;
    row = b.loose[place];
    start = b.start[b.ids[row]];
    end = b.start[b.ids[row] + 1];
    for (i = start; i + ORDER_BATCH <= end; i += ORDER_BATCH) {
        int32_t other[ORDER_BATCH];

#pragma unroll
        for (int u = 0; u < ORDER_BATCH; u++) /* all under way before the first is needed */
            other[u] = b.loose[i + u];
#pragma unroll
        for (int u = 0; u < ORDER_BATCH; u++)
            rank += other[u] < row;
    }
    for (; i < end; i++)
        rank += b.loose[i] < row;
    b.sorted[start + rank] = row;
}

/* sum += rows first, first + step, ... of a bucket that ends at `end` in b.sorted.  All lanes take
 * part, those past the last column without adding; each fetches one row's number for all. */
template <typename T, int N>
__device__ static inline void add_rows(float *sum, view<T> dout, const buckets &b, int64_t col,
                                       int32_t first, int32_t end, int step)
{
    int lane = threadIdx.x % WARP;

    for (; first < end; first += WARP * step) {
        int32_t mine = first + lane * step < end ? b.sorted[first + lane * step] : -1;

        for (int i = 0; i < WARP && first + i * step < end; i += BATCH) {
            pack<T, N> x[BATCH];

#pragma unroll
            for (int u = 0; u < BATCH; u++) { /* all under way before the first is needed */
                int32_t row = __shfl_sync(0xffffffffu, mine, i + u);

                x[u] = {};
                if (row >= 0 && col < dout.cols)
                    x[u] = load_pack<N>(at(dout, row, col));
            }
#pragma unroll
            for (int u = 0; u < BATCH; u++) {
                float one[N];

                unpack(one, x[u]);
#pragma unroll
                for (int j = 0; j < N; j++)
                    sum[j] += one[j];
            }
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

/* One bucket, columns [col, col + N) by lane, its rows shared by the block's warps. */
template <typename T, typename G, int N>
__device__ static void sum_bucket(view<G> dtable, view<T> dout, const buckets &b, bool add,
                                  int64_t id, int64_t col)
{
    __shared__ float parts[SUM_WARPS][N][WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    float sum[N] = {};

    add_rows<T, N>(sum, dout, b, col, b.start[id] + warp, b.start[id + 1], SUM_WARPS);
    __syncthreads(); /* parts of the bucket before have been read */
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

/* The large bucket, or -1, whose first place divisible by LARGE is the given one: each has one. */
__device__ static inline int32_t large_at(const buckets &b, int64_t place)
{
    int32_t id = b.ids[b.sorted[place]], start = b.start[id];

    return b.start[id + 1] - start > LARGE && place - start < LARGE ? id : -1;
}

/* Item i is group i % groups of the columns of the large bucket at place i / groups LARGE, if there
 * is one.  The block's items are looked at all at once, then worked off. */
template <typename T, typename G, int N>
__device__ static void sum_large(view<G> dtable, view<T> dout, const buckets &b, bool add)
{
    __shared__ int32_t found[SUM_THREADS];
    int64_t groups = cuda_ceil_div(dtable.cols, WARP * N);
    int64_t n_items = cuda_ceil_div(b.n_rows, LARGE) * groups;

    for (int64_t first = blockIdx.x; first < n_items; first += LARGE_BLOCKS * SUM_THREADS) {
        int64_t item = first + (int64_t)threadIdx.x * LARGE_BLOCKS;

        __syncthreads(); /* the round before is done with found */
        found[threadIdx.x] = item < n_items ? large_at(b, item / groups * LARGE) : -1;
        __syncthreads();
        item = first;
        for (int i = 0; i < SUM_THREADS && item < n_items; i++, item += LARGE_BLOCKS)
            if (found[i] >= 0)
                sum_bucket<T, G, N>(dtable, dout, b, add, found[i],
                                    (item % groups * WARP + threadIdx.x % WARP) * N);
    }
}

/* The first LARGE_BLOCKS blocks sum the large buckets, the others the small ones, a warp each. */
template <typename T, typename G, int N>
__global__ static void __launch_bounds__(SUM_THREADS, 3)
    sum_kernel(view<G> dtable, view<T> dout, buckets b, bool add)
{
    int64_t id = ((int64_t)blockIdx.x - LARGE_BLOCKS) * SUM_WARPS + threadIdx.x / WARP;
    int32_t start, end;

    if (blockIdx.x < LARGE_BLOCKS) {
        sum_large<T, G, N>(dtable, dout, b, add);
        return;
    }
    if (id >= dtable.rows)
        return;
    start = b.start[id];
    end = b.start[id + 1];
    if ((start == end && add) || end - start > LARGE)
        return;
    for (int64_t first = 0; first < dtable.cols; first += WARP * N) {
        int64_t col = first + threadIdx.x % WARP * N;
        float sum[N] = {};

        add_rows<T, N>(sum, dout, b, col, start, end, 1);
        if (col < dtable.cols)
            put_sum<G, N>(at(dtable, id, col), sum, add);
    }
}

template <typename T, typename G, int N>
static void launch_sum(lt_tensor dtable, lt_tensor dout, const buckets &b, bool add,
                       cudaStream_t stream)
{
    int64_t blocks = LARGE_BLOCKS + cuda_ceil_div(dtable.rows, SUM_WARPS);

    sum_kernel<T, G, N><<<(unsigned)blocks, SUM_THREADS, 0, stream>>>(view_of<G>(dtable),
                                                                      view_of<T>(dout), b, add);
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
