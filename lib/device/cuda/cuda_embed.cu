/* device/cuda/cuda_embed.cu - token and position embeddings: one block a row.  An id outside its
 * table is a bug of the caller; the kernel traps, which faults the device as LT_BUG_ON would here. */
#include "device/cuda/cuda.cuh"

enum { THREADS = 256 };

template <typename T>
__global__ static void embed_kernel(view<T> out, const int32_t *ids, const int32_t *positions,
                                    view<T> wte, view<T> wpe)
{
    int64_t row = blockIdx.x, id = ids[row], position = positions ? positions[row] : 0;

    if (id < 0 || id >= wte.rows || position < 0 || (positions && position >= wpe.rows))
        __trap();
    for (int64_t c = threadIdx.x; c < out.cols; c += blockDim.x) {
        float x = load(at(wte, id, c));

        store(at(out, row, c), positions ? x + load(at(wpe, position, c)) : x);
    }
}

void cuda_embed(lt_dev *dev, lt_tensor out, lt_tensor ids, lt_tensor positions, lt_tensor wte,
                lt_tensor wpe)
{
    cudaStream_t stream = cuda_begin(dev, "embed");
    const int32_t *places = wpe.data ? lt_i32(positions) : NULL;

    LT_BUG_ON(ids.cols != out.rows || wte.cols != out.cols || wte.dtype != out.dtype);
    LT_BUG_ON(wpe.data && (wpe.cols != out.cols || wpe.dtype != out.dtype || !places));
    LT_BUG_ON(wpe.data && positions.cols != out.rows);
    CUDA_BY_ACT(out.dtype, embed_kernel<T>
                <<<(unsigned)out.rows, THREADS, 0, stream>>>(view_of<T>(out), lt_i32(ids), places,
                                                             view_of<T>(wte), view_of<T>(wpe)));
    cuda_end(dev);
}
