/* device/cuda/cuda_attention.cu - attention with an online softmax: scores never leave the chip.
 *
 * A block owns TILE queries of one head and walks the keys that any of them may see.  m and l are
 * the running maximum and sum of a row; all 16 threads of the row hold the same values.  What cuDNN
 * takes goes there instead (cuda_dnn.h); this is for all the rest. */
#include "device/cuda/cuda_attention.cuh"
#include "device/cuda/cuda_dnn.h"

/* Shared memory: q and k-or-v tiles, and p. */
template <int TILE, int HEAD> static constexpr size_t shared_bytes(void)
{
    return (2 * TILE * (HEAD + 1) + TILE * (TILE + 1)) * sizeof(float);
}

__device__ static float half_warp_max(float x)
{
    for (int step = SIDE / 2; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

__device__ static float half_warp_sum(float x)
{
    for (int step = SIDE / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

/* Turns one row of scores into exp(score - m), updates m and l; returns the factor by which what
 * was summed before shrinks.  A row that has seen no key yet has m = -infinity and stays zero. */
template <int N> __device__ static float online_softmax(float s[N], float *m, float *l)
{
    float top = *m, sum = 0, shrink;

    for (int j = 0; j < N; j++)
        top = fmaxf(top, s[j]);
    top = half_warp_max(top);
    for (int j = 0; j < N; j++) {
        s[j] = top == -INFINITY ? 0.0f : expf(s[j] - top);
        sum += s[j];
    }
    shrink = top == -INFINITY ? 1.0f : expf(*m - top);
    *l = *l * shrink + half_warp_sum(sum);
    *m = top;
    return shrink;
}

template <typename T, int TILE, int HEAD>
__global__ __launch_bounds__(ATTENTION_THREADS) static void attention_kernel(attention_args<T> a)
{
    constexpr int R = TILE / SIDE, LD = HEAD + 1, LP = TILE + 1;
    extern __shared__ float shared[];
    float *q = shared, *kv = q + TILE * LD, *p = kv + TILE * LD;
    int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
    int64_t t0 = (int64_t)blockIdx.x * TILE, h = blockIdx.y, b = blockIdx.z;
    int64_t col = h * a.head_dim, kv_col = h / (a.n_head / a.n_kv_head) * a.head_dim;
    int64_t end = keys_end(a, t0, TILE);
    float acc[R][HEAD / SIDE] = {}, s[R][R], m[R], l[R] = {};

    for (int i = 0; i < R; i++)
        m[i] = -INFINITY;
    load_heads<T, TILE, HEAD>(q, a.q, b * a.t_q + t0, a.t_q - t0, col, a.head_dim);
    for (int64_t s0 = 0; s0 < end; s0 += TILE) {
        int64_t kv_row = b * a.kv_rows + s0;

        __syncthreads(); /* the last round is done with v and p */
        load_heads<T, TILE, HEAD>(kv, a.k, kv_row, a.t_k - s0, kv_col, a.head_dim);
        __syncthreads();
        rows_dot_rows<TILE, HEAD>(s, q, kv);
        for (int i = 0; i < R; i++) {
            float shrink;

            for (int j = 0; j < R; j++) {
                bool seen = visible(a, b, t0 + ty * R + i, s0 + tx + SIDE * j);

                s[i][j] = seen ? s[i][j] * a.scale : -INFINITY;
            }
            shrink = online_softmax<R>(s[i], &m[i], &l[i]);
            for (int j = 0; j < R; j++)
                p[(ty * R + i) * LP + tx + SIDE * j] = s[i][j];
            for (int j = 0; j < HEAD / SIDE; j++)
                acc[i][j] *= shrink;
        }
        __syncthreads(); /* all are done with k */
        load_heads<T, TILE, HEAD>(kv, a.v, kv_row, a.t_k - s0, kv_col, a.head_dim);
        __syncthreads();
        add_product<TILE, HEAD, false>(acc, p, kv);
    }
    for (int i = 0; i < R; i++) {
        int64_t t = t0 + ty * R + i;

        for (int j = 0; j < HEAD / SIDE; j++)
            acc[i][j] *= l[i] > 0.0f ? 1.0f / l[i] : 0.0f; /* l = 0: a query that sees no key */
        if (a.lse.data && tx == 0 && t < a.t_q)
            *at(a.lse, b * a.n_head + h, t) = m[i] + logf(l[i]);
    }
    store_heads<T, TILE, HEAD>(a.out, b * a.t_q + t0, a.t_q - t0, col, a.head_dim, acc);
}

template <typename T, int TILE, int HEAD>
static void launch(lt_dev *dev, const lt_attention *f, cudaStream_t stream)
{
    constexpr size_t bytes = shared_bytes<TILE, HEAD>();
    dim3 grid((unsigned)cuda_ceil_div(f->t_q, TILE), (unsigned)f->n_head, (unsigned)f->n_batch);

    cuda_note(dev, cudaFuncSetAttribute(attention_kernel<T, TILE, HEAD>,
                                        cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    attention_kernel<T, TILE, HEAD>
        <<<grid, ATTENTION_THREADS, bytes, stream>>>(attention_args_of<T>(f));
}

bool cuda_attention_by_dnn(lt_dev *dev, const lt_attention *f, const lt_attention_grad *g)
{
    lt_cuda_dev *d = (lt_cuda_dev *)dev;

    switch (cuda_dnn_attention(d->dnn, f, g, dev->scratch, dev->scratch_bytes)) {
    case CUDA_DNN_DONE:
        return true;
    case CUDA_DNN_LEFT:
        return false;
    case CUDA_DNN_REFUSED:
        d->op = cuda_dnn_fault(d->dnn);
        cuda_note(dev, cudaErrorNotSupported);
        return true;
    default:
        d->op = cuda_dnn_fault(d->dnn);
        cuda_note(dev, cudaErrorLaunchFailure);
        return true;
    }
}

void cuda_attention(lt_dev *dev, const lt_attention *a)
{
    cudaStream_t stream = cuda_begin(dev, "attention");

    attention_check(a);
    if (cuda_attention_by_dnn(dev, a, NULL))
        return;
    CUDA_BY_ACT(a->q.dtype, if (a->head_dim <= 64) launch<T, 64, 64>(dev, a, stream);
                else if (a->head_dim <= 128) launch<T, 32, 128>(dev, a, stream);
                else launch<T, 32, 256>(dev, a, stream));
    cuda_end(dev);
}
