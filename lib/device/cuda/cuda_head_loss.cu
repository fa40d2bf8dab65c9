/* device/cuda/cuda_head_loss.cu - LM head and cross entropy, chunk by chunk of rows.
 *
 * A chunk's logits are made once and turned into dlogits in place; probabilities are never stored.
 * The logits of a row are read once when shared memory can hold them, else a second time for the
 * gradient.  The matrix products are the table's own. */
#include "device/cuda/cuda_pack.cuh"

enum { THREADS = 512, UNROLL = 4 };

template <typename T> struct loss_args {
    view<T> logits; /* (rows of this chunk, V) */
    float *losses;
    const int32_t *targets;
    const lt_step_state *state;
    int64_t n_vocab;
};

/* Exponentials are powers of two: exp(x - top) = 2^(x LOG2_E - peak) with peak = top LOG2_E
 * rounded.  Whatever peak is, it cancels. */
#define LOG2_E 1.4426950408889634f
#define LN_2   0.6931471805599453f

__device__ static inline float power_of_two(float x)
{
    float y;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* The largest of some numbers, and the sum of 2^(x LOG2_E - peak) over them. */
typedef struct soft_sum {
    float top, peak, sum;
} soft_sum;

template <int N> __device__ static inline void soft_add(soft_sum *s, const float *x)
{
    float top = s->top;

#pragma unroll
    for (int i = 0; i < N; i++)
        top = fmaxf(top, x[i]);
    if (top == -INFINITY) /* nothing but overflow so far: exp(x - top) would be NaN */
        return;
    if (top > s->top) {
        float peak = top * LOG2_E;

        s->sum *= power_of_two(s->peak - peak);
        s->peak = peak;
        s->top = top;
    }
#pragma unroll
    for (int i = 0; i < N; i++)
        s->sum += power_of_two(x[i] * LOG2_E - s->peak);
}

/* One walk over the classes; `kept`, when present, gets a copy of what this thread read. */
template <typename T, int N>
__device__ static inline soft_sum walk(const T *x, T *kept, int64_t n_vocab)
{
    soft_sum s = { -INFINITY, -INFINITY, 0 };
    int64_t whole = n_vocab / N * N;

    for (int64_t first = (int64_t)threadIdx.x * N; first < whole; first += UNROLL * THREADS * N) {
        pack<T, N> p[UNROLL];

#pragma unroll
        for (int u = 0; u < UNROLL; u++) /* all under way before the first is needed */
            if (first + u * THREADS * N < whole)
                p[u] = load_pack<N>(x + first + u * THREADS * N);
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            float v[N];

            if (first + u * THREADS * N >= whole)
                break;
            if (kept)
                *(pack<T, N> *)(kept + first + u * THREADS * N) = p[u];
            unpack(v, p[u]);
            soft_add<N>(&s, v);
        }
    }
    if (threadIdx.x < n_vocab - whole) { /* what does not fill a pack */
        float v = load(x + whole + threadIdx.x);

        soft_add<1>(&s, &v);
    }
    return s;
}

/* One block a row. */
template <typename T, int N>
__global__ static void __launch_bounds__(THREADS, 2)
    loss_kernel(loss_args<T> a, bool grad, bool keep)
{
    extern __shared__ uint4 room[];
    int64_t row = blockIdx.x, target = a.targets[row], v = a.logits.cols;
    T *x = at(a.logits, row, 0), *kept = keep ? (T *)room : NULL;
    soft_sum s;
    float peak, sum, at_target, unit, scale;

    if (target >= a.n_vocab)
        __trap(); /* a bug of the caller, as in cuda_embed.cu */
    if (target < 0) {
        const float zeros[N] = {};

        if (threadIdx.x == 0)
            a.losses[row] = 0;
        for (int64_t c = threadIdx.x * N; grad && c < v; c += THREADS * N)
            store_pack(x + c, pack_of<T, N>(zeros));
        return;
    }
    at_target = load(x + target);
    s = walk<T, N>(x, kept, a.n_vocab);
    peak = block_max(s.peak);
    sum = block_sum(s.peak == -INFINITY ? 0.0f : s.sum * power_of_two(s.peak - peak));
    if (threadIdx.x == 0)
        a.losses[row] = logf(sum) - (at_target - peak * LN_2);
    if (!grad)
        return;
    unit = a.state->grad_scale;
    scale = unit / sum;
    for (int64_t c = (int64_t)threadIdx.x * N; c < v; c += THREADS * N) {
        bool whole = c + N <= a.n_vocab;
        float d[N];

        unpack(d, kept && whole ? *(const pack<T, N> *)(kept + c) : load_pack<N>(x + c));
#pragma unroll
        for (int i = 0; i < N; i++)
            d[i] = power_of_two(d[i] * LOG2_E - peak) * scale;
        if (!whole)
            for (int i = 0; i < N; i++)
                d[i] = c + i < a.n_vocab ? d[i] : 0.0f;
        if (target >= c && target < c + N)
#pragma unroll
            for (int i = 0; i < N; i++)
                d[i] -= c + i == target ? unit : 0.0f;
        store_pack(x + c, pack_of<T, N>(d));
    }
}

/* Most shared memory a block may ask for besides what the kernel has of its own. */
template <typename T, int N> static size_t shared_room(lt_dev *dev)
{
    int most = 0;
    cudaFuncAttributes own = {};

    cuda_note(dev, cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                                          ((lt_cuda_dev *)dev)->ordinal));
    cuda_note(dev, cudaFuncGetAttributes(&own, loss_kernel<T, N>));
    return (size_t)most > own.sharedSizeBytes ? (size_t)most - own.sharedSizeBytes : 0;
}

template <typename T, int N>
static void launch(lt_dev *dev, const lt_head_loss *h, lt_tensor logits, int64_t first,
                   cudaStream_t stream)
{
    size_t bytes = (size_t)cuda_ceil_div(logits.cols, N) * N * sizeof(T);
    bool grad = h->dx.data != NULL, keep = grad && bytes <= shared_room<T, N>(dev);
    loss_args<T> a = { view_of<T>(logits), lt_f32(h->losses) + first, lt_i32(h->targets) + first,
                       h->state, h->n_vocab };

    if (!keep)
        bytes = 0;
    cuda_note(dev, cuda_take_shared(loss_kernel<T, N>, (int)bytes));
    loss_kernel<T, N><<<(unsigned)logits.rows, THREADS, bytes, stream>>>(a, grad, keep);
}

static void loss_rows(lt_dev *dev, const lt_head_loss *h, lt_tensor logits, int64_t first,
                      cudaStream_t stream)
{
    CUDA_BY_ACT(logits.dtype, {
        constexpr int N = pack_size<T>();

        if (cuda_packs(logits, N))
            launch<T, N>(dev, h, logits, first, stream);
        else
            launch<T, 1>(dev, h, logits, first, stream);
    });
}

/* dx = dlogits W, dw (+)= dlogits^T x */
static void grads(lt_dev *dev, const lt_head_loss *h, lt_tensor dlogits, int64_t first)
{
    lt_matmul dx = {}, dw = {};

    dx.d = lt_rows(h->dx, first, dlogits.rows);
    dx.a = dlogits;
    dx.b = h->w;
    cuda_matmul(dev, &dx);
    dw.d = h->dw;
    dw.a = dlogits;
    dw.b = lt_rows(h->x, first, dlogits.rows);
    dw.trans_a = true;
    dw.add = h->add || first > 0;
    cuda_matmul(dev, &dw);
}

void cuda_head_loss(lt_dev *dev, const lt_head_loss *h)
{
    int64_t rows = h->x.rows, step = h->chunk.rows;

    LT_BUG_ON(h->targets.cols != rows || h->losses.cols != rows || h->w.cols != h->x.cols);
    LT_BUG_ON(step < 1 || h->chunk.cols != h->w.rows || h->n_vocab > h->w.rows);
    LT_BUG_ON(h->chunk.dtype != h->x.dtype || h->w.dtype != h->x.dtype);
    LT_BUG_ON(h->dx.data && (!h->state || !h->dw.data));
    for (int64_t first = 0; first < rows; first += step) {
        int64_t n = rows - first < step ? rows - first : step;
        lt_matmul head = {};
        cudaStream_t stream;

        head.d = lt_rows(h->chunk, 0, n);
        head.a = lt_rows(h->x, first, n);
        head.b = h->w;
        head.trans_b = true;
        cuda_matmul(dev, &head);
        stream = cuda_begin(dev, "head_loss");
        loss_rows(dev, h, head.d, first, stream);
        cuda_end(dev);
        if (h->dx.data)
            grads(dev, h, head.d, first);
    }
}
