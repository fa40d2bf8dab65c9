/* device/cuda/cuda_head_loss.cu - LM head and cross entropy, chunk by chunk of rows.
 *
 * A chunk's logits are made once and turned into dlogits in place; probabilities are never stored.
 * The matrix products are the table's own. */
#include "device/cuda/cuda.cuh"

enum { THREADS = 512 };

template <typename T> struct loss_args {
    view<T> logits; /* (rows of this chunk, V) */
    float *losses;
    const int32_t *targets;
    const lt_step_state *state;
    int64_t n_vocab;
};

/* One block a row.  The maximum and the sum of exp(x - maximum) are found in one walk: a thread
 * shrinks its sum when its own maximum grows, the block does so at the end. */
template <typename T> __global__ static void loss_kernel(loss_args<T> a, bool grad)
{
    int64_t row = blockIdx.x, target = a.targets[row], v = a.logits.cols;
    T *x = at(a.logits, row, 0);
    float own = -INFINITY, sum = 0, top, at_target;

    if (target >= a.n_vocab)
        __trap(); /* a bug of the caller, as in cuda_embed.cu */
    if (target < 0) {
        if (threadIdx.x == 0)
            a.losses[row] = 0;
        for (int64_t c = threadIdx.x; grad && c < v; c += blockDim.x)
            store(x + c, 0.0f);
        return;
    }
    for (int64_t c = threadIdx.x; c < a.n_vocab; c += blockDim.x) {
        float xc = load(x + c), higher = fmaxf(own, xc);

        if (higher > own)
            sum *= expf(own - higher);
        own = higher;
        sum += expf(xc - own);
    }
    at_target = load(x + target);
    top = block_max(own);
    sum = block_sum(own == -INFINITY ? 0.0f : sum * expf(own - top));
    if (threadIdx.x == 0)
        a.losses[row] = logf(sum) - (at_target - top);
    if (!grad)
        return;
    for (int64_t c = threadIdx.x; c < v; c += blockDim.x) {
        float p = c < a.n_vocab ? expf(load(x + c) - top) / sum : 0.0f;

        store(x + c, (c == target ? p - 1.0f : p) * a.state->grad_scale);
    }
}

static void loss_rows(const lt_head_loss *h, lt_tensor logits, int64_t first, cudaStream_t stream)
{
    CUDA_BY_ACT(logits.dtype, {
        loss_args<T> a = { view_of<T>(logits), lt_f32(h->losses) + first,
                           lt_i32(h->targets) + first, h->state, h->n_vocab };

        loss_kernel<T><<<(unsigned)logits.rows, THREADS, 0, stream>>>(a, h->dx.data != NULL);
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
        loss_rows(h, head.d, first, stream);
        cuda_end(dev);
        if (h->dx.data)
            grads(dev, h, head.d, first);
    }
}
