/* device/cuda/cuda_embed_grad.cu - gradients of embedding tables, deterministic.
 *
 * The rows of dout are put into buckets, one a table row, and each bucket is added up in row order:
 *   1. count   start[id] = rows with that id, slot[r] = r's place among them, in any order
 *   2. scan    start[id] = where the id's bucket begins
 *   3. place   loose[start + slot[r]] = r
 *   4. order   sorted[start + rank] = r, rank = rows of the bucket before r
 *   5. sum     one block a table row
 * Only integers are added atomically (1), and 4 undoes the order in which that happened.  Step 4
 * costs the square of a bucket's size and step 5 is serial along it: fine for text, where the most
 * frequent token has a few per cent of the rows.
 * Scratch, int32: start (table rows + 1), slot, loose, sorted (rows of dout each). */
#include "device/cuda/cuda.cuh"

enum { THREADS = 256, SCAN_THREADS = 1024 };

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

/* Sum of x over the threads of the block up to and including this one; SCAN_THREADS threads. */
__device__ static int32_t block_scan(int32_t x)
{
    __shared__ int32_t warps[SCAN_THREADS / WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;

    for (int step = 1; step < WARP; step *= 2) {
        int32_t left = __shfl_up_sync(0xffffffffu, x, step);

        x += lane >= step ? left : 0;
    }
    __syncthreads(); /* the previous call is done with warps */
    if (lane == WARP - 1)
        warps[warp] = x;
    __syncthreads();
    for (int w = 0; w < warp; w++)
        x += warps[w];
    return x;
}

/* Counts become starts; start[n_buckets] = n_rows.  One block. */
__global__ static void scan_kernel(buckets b)
{
    __shared__ int32_t before; /* rows in the buckets of earlier rounds */

    if (threadIdx.x == 0)
        before = 0;
    for (int64_t first = 0; first < b.n_buckets; first += SCAN_THREADS) {
        int64_t id = first + threadIdx.x;
        int32_t count = id < b.n_buckets ? b.start[id] : 0;
        int32_t end = block_scan(count);

        end += before; /* written before block_scan's barriers, by the round before */
        if (id < b.n_buckets)
            b.start[id] = end - count;
        __syncthreads();
        if (threadIdx.x == SCAN_THREADS - 1)
            before = end;
    }
    if (threadIdx.x == SCAN_THREADS - 1)
        b.start[b.n_buckets] = before;
}

__global__ static void place_kernel(buckets b)
{
    int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (row < b.n_rows)
        b.loose[b.start[b.ids[row]] + b.slot[row]] = (int32_t)row;
}

__global__ static void order_kernel(buckets b)
{
    int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int32_t start, end, rank = 0;

    if (row >= b.n_rows)
        return;
    start = b.start[b.ids[row]];
    end = b.start[b.ids[row] + 1];
    for (int32_t i = start; i < end; i++)
        rank += b.loose[i] < row;
    b.sorted[start + rank] = (int32_t)row;
}

template <typename T, typename G>
__global__ static void sum_kernel(view<G> dtable, view<T> dout, buckets b, bool add)
{
    int64_t id = blockIdx.x;
    int32_t start = b.start[id], end = b.start[id + 1];

    if (start == end && add)
        return;
    for (int64_t c = threadIdx.x; c < dtable.cols; c += blockDim.x) {
        float sum = add ? load(at(dtable, id, c)) : 0.0f;

#pragma unroll 4
        for (int32_t i = start; i < end; i++)
            sum += load(at(dout, b.sorted[i], c));
        store(at(dtable, id, c), sum);
    }
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
    CUDA_BY_ACT_GRAD(dout.dtype, dtable.dtype,
                     sum_kernel<T, G><<<(unsigned)n, THREADS, 0, stream>>>(
                         view_of<G>(dtable), view_of<T>(dout), b, add));
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
