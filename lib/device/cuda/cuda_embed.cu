/* device/cuda/cuda_embed.cu - token and position embeddings: a warp a row.  An id outside its table
 * is a bug of the caller; the kernel traps, which faults the device as LT_BUG_ON would here. */
#include "device/cuda/cuda_pack.cuh"

enum { WARPS = 8, THREADS = WARPS * WARP, UNROLL = 4 };

template <typename T, int N>
__global__ static void embed_kernel(view<T> out, const int32_t *ids, const int32_t *positions,
                                    view<T> wte, view<T> wpe)
{
    int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP, id, position;

    if (row >= out.rows)
        return;
    id = ids[row];
    position = positions ? positions[row] : 0;
    if (id < 0 || id >= wte.rows || position < 0 || (positions && position >= wpe.rows))
        __trap();
    for (int64_t c = threadIdx.x % WARP * N; c < out.cols; c += UNROLL * WARP * N) {
        pack<T, N> x[UNROLL], place[UNROLL];

#pragma unroll
        for (int u = 0; u < UNROLL; u++) { /* all under way before the first is needed */
            place[u] = {};
            if (c + u * WARP * N < out.cols) {
                x[u] = load_pack<N>(at(wte, id, c + u * WARP * N));
                if (positions)
                    place[u] = load_pack<N>(at(wpe, position, c + u * WARP * N));
            }
        }
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            float a[N], b[N];

            unpack(a, x[u]);
            unpack(b, place[u]);
#pragma unroll
            for (int i = 0; i < N; i++)
                a[i] += b[i];
            if (c + u * WARP * N < out.cols)
                store_pack(at(out, row, c + u * WARP * N), pack_of<T, N>(a));
        }
    }
}

void cuda_embed(lt_dev *dev, lt_tensor out, lt_tensor ids, lt_tensor positions, lt_tensor wte,
                lt_tensor wpe)
{
    cudaStream_t stream = cuda_begin(dev, "embed");
    const int32_t *places = wpe.data ? lt_i32(positions) : NULL;
    unsigned grid = (unsigned)cuda_ceil_div(out.rows, WARPS);

    LT_BUG_ON(ids.cols != out.rows || wte.cols != out.cols || wte.dtype != out.dtype);
    LT_BUG_ON(wpe.data && (wpe.cols != out.cols || wpe.dtype != out.dtype || !places));
    LT_BUG_ON(wpe.data && positions.cols != out.rows);
    CUDA_BY_ACT(out.dtype, {
        constexpr int N = pack_size<T>();
        view<T> o = view_of<T>(out), te = view_of<T>(wte), pe = view_of<T>(wpe);

        if (cuda_packs(out, N) && cuda_packs(wte, N) && cuda_packs(wpe, N))
            embed_kernel<T, N><<<grid, THREADS, 0, stream>>>(o, lt_i32(ids), places, te, pe);
        else
            embed_kernel<T, 1><<<grid, THREADS, 0, stream>>>(o, lt_i32(ids), places, te, pe);
    });
    cuda_end(dev);
}
