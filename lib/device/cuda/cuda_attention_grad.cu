/* device/cuda/cuda_attention_grad.cu - the gradient of attention, from lse, deterministic.
 *
 * With P = exp(scale q k^T - lse), D = row sums of dout out, dP = dout v^T, dS = P (dP - D) scale:
 *     dv = P^T dout,  dk = dS^T q,  dq = dS k
 * Three kernels: D; dk and dv, where a block owns TILE keys of a kv head and walks the queries of
 * all heads that read it; dq, where a block owns TILE queries and walks the keys.  P is computed in
 * both.  No block writes what another writes. */
#include "device/cuda/cuda_attention.cuh"

/* Shared memory: q, k, v, dout tiles, p and ds.  Below the 99 KiB
 * that every GPU from 8.0 on has. */
template <int TILE, int HEAD> static constexpr size_t shared_bytes(void)
{
    return (4 * TILE * (HEAD + 1) + 2 * TILE * (TILE + 1)) * sizeof(float);
}

/* delta (B H, Tq): one warp a head's row. */
template <typename T> __global__ static void delta_kernel(attention_args<T> a, int64_t n)
{
    int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    int64_t t = i % a.t_q, h = i / a.t_q % a.n_head, b = i / a.t_q / a.n_head;
    float sum = 0;

    if (i >= n)
        return;
    for (int c = threadIdx.x % WARP; c < a.head_dim; c += WARP)
        sum += load(at(a.out, b * a.t_q + t, h * a.head_dim + c)) *
               load(at(a.dout, b * a.t_q + t, h * a.head_dim + c));
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0)
        a.delta[i] = sum;
}

/* p and ds (TILE, TILE + 1) of the queries from t0 and keys from s0 on, from the tiles in shared
 * memory; zero where the key is not seen.  The caller puts barriers around it. */
template <typename T, int TILE, int HEAD>
__device__ static void scores(float *p, float *ds, const float *q, const float *k, const float *v,
                              const float *dout, const attention_args<T> &a, int64_t b, int64_t h,
                              int64_t t0, int64_t s0)
{
    constexpr int R = TILE / SIDE, LP = TILE + 1;
    int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
    float s[R][R], dp[R][R];

    rows_dot_rows<TILE, HEAD>(s, q, k);
    rows_dot_rows<TILE, HEAD>(dp, dout, v);
    for (int i = 0; i < R; i++) {
        int64_t t = t0 + ty * R + i, row = b * a.n_head + h;
        float lse = t < a.t_q ? *at(a.lse, row, t) : 0.0f;
        float delta = t < a.t_q ? a.delta[row * a.t_q + t] : 0.0f;

        for (int j = 0; j < R; j++) {
            int at_ij = (ty * R + i) * LP + tx + SIDE * j;
            bool seen = visible(a, b, t, s0 + tx + SIDE * j);
            float pij = seen ? expf(s[i][j] * a.scale - lse) : 0.0f;

            p[at_ij] = pij;
            ds[at_ij] = seen ? pij * (dp[i][j] - delta) * a.scale : 0.0f;
        }
    }
}

template <typename T, int TILE, int HEAD>
__global__ __launch_bounds__(ATTENTION_THREADS) static void dkdv_kernel(attention_args<T> a)
{
    constexpr int R = TILE / SIDE, LD = HEAD + 1, LP = TILE + 1;
    extern __shared__ float shared[];
    float *q = shared, *k = q + TILE * LD, *v = k + TILE * LD, *dout = v + TILE * LD;
    float *p = dout + TILE * LD, *ds = p + TILE * LP;
    int64_t s0 = (int64_t)blockIdx.x * TILE, kv_h = blockIdx.y, b = blockIdx.z;
    int64_t kv_row = b * a.kv_rows + s0, kv_col = kv_h * a.head_dim, group = a.n_head / a.n_kv_head;
    float dk[R][HEAD / SIDE] = {}, dv[R][HEAD / SIDE] = {};

    load_heads<T, TILE, HEAD>(k, a.k, kv_row, a.t_k - s0, kv_col, a.head_dim);
    load_heads<T, TILE, HEAD>(v, a.v, kv_row, a.t_k - s0, kv_col, a.head_dim);
    for (int64_t h = kv_h * group; h < (kv_h + 1) * group; h++)
        for (int64_t t0 = queries_begin(a, s0) / TILE * TILE; t0 < a.t_q; t0 += TILE) {
            int64_t row = b * a.t_q + t0, col = h * a.head_dim;

            __syncthreads(); /* the last round is done with q, dout, p and ds */
            load_heads<T, TILE, HEAD>(q, a.q, row, a.t_q - t0, col, a.head_dim);
            load_heads<T, TILE, HEAD>(dout, a.dout, row, a.t_q - t0, col, a.head_dim);
            __syncthreads();
            scores<T, TILE, HEAD>(p, ds, q, k, v, dout, a, b, h, t0, s0);
            __syncthreads();
            add_product<TILE, HEAD, true>(dv, p, dout);
            add_product<TILE, HEAD, true>(dk, ds, q);
        }
    store_heads<T, TILE, HEAD>(a.dk, kv_row, a.t_k - s0, kv_col, a.head_dim, dk);
    store_heads<T, TILE, HEAD>(a.dv, kv_row, a.t_k - s0, kv_col, a.head_dim, dv);
}

template <typename T, int TILE, int HEAD>
__global__ __launch_bounds__(ATTENTION_THREADS) static void dq_kernel(attention_args<T> a)
{
    constexpr int R = TILE / SIDE, LD = HEAD + 1, LP = TILE + 1;
    extern __shared__ float shared[];
    float *q = shared, *k = q + TILE * LD, *v = k + TILE * LD, *dout = v + TILE * LD;
    float *p = dout + TILE * LD, *ds = p + TILE * LP;
    int64_t t0 = (int64_t)blockIdx.x * TILE, h = blockIdx.y, b = blockIdx.z;
    int64_t row = b * a.t_q + t0, col = h * a.head_dim, end = keys_end(a, t0, TILE);
    int64_t kv_col = h / (a.n_head / a.n_kv_head) * a.head_dim;
    float dq[R][HEAD / SIDE] = {};

    load_heads<T, TILE, HEAD>(q, a.q, row, a.t_q - t0, col, a.head_dim);
    load_heads<T, TILE, HEAD>(dout, a.dout, row, a.t_q - t0, col, a.head_dim);
    for (int64_t s0 = 0; s0 < end; s0 += TILE) {
        int64_t kv_row = b * a.kv_rows + s0;

        __syncthreads(); /* the last round is done with k and ds */
        load_heads<T, TILE, HEAD>(k, a.k, kv_row, a.t_k - s0, kv_col, a.head_dim);
        load_heads<T, TILE, HEAD>(v, a.v, kv_row, a.t_k - s0, kv_col, a.head_dim);
        __syncthreads();
        scores<T, TILE, HEAD>(p, ds, q, k, v, dout, a, b, h, t0, s0);
        __syncthreads();
        add_product<TILE, HEAD, false>(dq, ds, k);
    }
    store_heads<T, TILE, HEAD>(a.dq, row, a.t_q - t0, col, a.head_dim, dq);
}

template <typename T, int TILE, int HEAD>
static void launch(lt_dev *dev, const lt_attention_grad *g, cudaStream_t stream)
{
    constexpr size_t bytes = shared_bytes<TILE, HEAD>();
    const lt_attention *f = &g->fwd;
    int64_t n = f->n_batch * f->n_head * f->t_q;
    dim3 keys((unsigned)cuda_ceil_div(f->t_k, TILE), (unsigned)f->n_kv_head, (unsigned)f->n_batch);
    dim3 queries((unsigned)cuda_ceil_div(f->t_q, TILE), (unsigned)f->n_head, (unsigned)f->n_batch);
    attention_args<T> a = attention_args_of<T>(f);

    a.dq = view_of<T>(g->dq);
    a.dk = view_of<T>(g->dk);
    a.dv = view_of<T>(g->dv);
    a.dout = view_of<T>(g->dout);
    a.delta = (float *)cuda_scratch(dev, (size_t)n * sizeof(float));
    cuda_note(dev, cudaFuncSetAttribute(dkdv_kernel<T, TILE, HEAD>,
                                        cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    cuda_note(dev, cudaFuncSetAttribute(dq_kernel<T, TILE, HEAD>,
                                        cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    delta_kernel<T>
        <<<(unsigned)cuda_ceil_div(n * WARP, ATTENTION_THREADS), ATTENTION_THREADS, 0, stream>>>(a,
                                                                                                 n);
    dkdv_kernel<T, TILE, HEAD><<<keys, ATTENTION_THREADS, bytes, stream>>>(a);
    dq_kernel<T, TILE, HEAD><<<queries, ATTENTION_THREADS, bytes, stream>>>(a);
}

void cuda_attention_grad(lt_dev *dev, const lt_attention_grad *g)
{
    cudaStream_t stream = cuda_begin(dev, "attention_grad");
    const lt_attention *f = &g->fwd;
    lt_dtype type = f->q.dtype;

    attention_check(f);
    LT_BUG_ON(!f->lse.data || !cuda_same_shape(g->dout, f->out) || g->dout.dtype != type);
    LT_BUG_ON(!cuda_same_shape(g->dq, f->q) || !cuda_same_shape(g->dk, f->k));
    LT_BUG_ON(!cuda_same_shape(g->dv, f->v) || g->dq.dtype != type);
    LT_BUG_ON(g->dk.dtype != type || g->dv.dtype != type);
    if (cuda_attention_by_dnn(dev, f, g))
        return;
    CUDA_BY_ACT(type, if (f->head_dim <= 64) launch<T, 64, 64>(dev, g, stream);
                else if (f->head_dim <= 128) launch<T, 32, 128>(dev, g, stream);
                else launch<T, 16, 256>(dev, g, stream));
    cuda_end(dev);
}
