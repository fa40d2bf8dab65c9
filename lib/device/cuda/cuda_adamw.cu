/* device/cuda/cuda_adamw.cu - one AdamW step on flat vectors, in one launch.  Clip factor, learning
 * rate and skip flag are read from the step state by every thread: one cached line. */
#include "device/cuda/cuda.cuh"

enum { THREADS = 256 };

template <typename C, typename G> struct adamw_args {
    float *p, *m, *v;
    C *copy; /* NULL: absent */
    const G *g;
    int64_t n;
    const lt_step_state *state;
    lt_adamw run;
};

template <typename C, typename G> __global__ static void adamw_kernel(adamw_args<C, G> a)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    float lr = a.state->lr, b1 = a.run.beta1, b2 = a.run.beta2, decay = a.run.weight_decay;
    float p, g, m, v;

    if (i >= a.n || a.state->skip)
        return;
    p = a.p[i];
    g = load(a.g + i) * a.state->clip;
    if (a.run.decoupled)
        p *= 1.0f - lr * decay;
    else
        g += decay * p;
    m = b1 * a.m[i] + (1.0f - b1) * g;
    v = b2 * a.v[i] + (1.0f - b2) * g * g;
    p -= lr / a.state->bias1 * m / (sqrtf(v) / a.state->bias2_sqrt + a.run.eps);
    a.m[i] = m;
    a.v[i] = v;
    a.p[i] = p;
    if (a.copy)
        store(a.copy + i, p);
}

template <typename C, typename G>
static void launch(const adamw_args<float, float> *f, void *copy, const void *g,
                   cudaStream_t stream)
{
    adamw_args<C, G> a = { f->p, f->m, f->v, (C *)copy, (const G *)g, f->n, f->state, f->run };

    adamw_kernel<C, G><<<(unsigned)cuda_ceil_div(a.n, THREADS), THREADS, 0, stream>>>(a);
}

void cuda_adamw(lt_dev *dev, lt_tensor p, lt_tensor copy, lt_tensor m, lt_tensor v, lt_tensor g,
                const lt_step_state *state, const lt_adamw *run)
{
    cudaStream_t stream = cuda_begin(dev, "adamw");
    lt_dtype copy_type = copy.data ? copy.dtype : LT_F32;
    adamw_args<float, float> a = {
        lt_f32(p), lt_f32(m), lt_f32(v), NULL, NULL, p.cols, state, *run
    };

    LT_BUG_ON(p.rows != 1 || m.cols != p.cols || v.cols != p.cols || g.cols != p.cols);
    LT_BUG_ON(copy.data && copy.cols != p.cols);
    CUDA_BY_ACT(copy_type, using C = T;
                CUDA_BY_ACT(g.dtype, launch<C, T>(&a, copy.data, g.data, stream)));
    cuda_end(dev);
}
