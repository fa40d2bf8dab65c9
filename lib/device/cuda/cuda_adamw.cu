/* device/cuda/cuda_adamw.cu - one AdamW step on flat vectors, in one launch.  Clip factor, learning
 * rate and skip flag are read from the step state by every thread: one cached line. */
#include "device/cuda/cuda_pack.cuh"

enum { THREADS = 256, FOUR = 4 }; /* four fp32 are 16 bytes */

template <typename C, typename G> struct adamw_args {
    float *p, *m, *v;
    C *copy; /* NULL: absent */
    const G *g;
    int64_t n;
    const lt_step_state *state;
    lt_adamw run;
};

/* The constants of one step. */
typedef struct adamw_step {
    float clip, decay, keep, rate; /* keep: 1 - lr decay; rate: lr / bias1 */
    float b1, b2, inv_bias2_sqrt, eps;
    bool decoupled;
} adamw_step;

__device__ static inline adamw_step step_of(const lt_step_state *s, const lt_adamw &run)
{
    return { s->clip,
             run.weight_decay,
             1.0f - s->lr * run.weight_decay,
             s->lr / s->bias1,
             run.beta1,
             run.beta2,
             1.0f / s->bias2_sqrt,
             run.eps,
             run.decoupled };
}

__device__ static inline void update(const adamw_step &s, float *p, float *m, float *v, float g)
{
    g *= s.clip;
    if (s.decoupled)
        *p *= s.keep;
    else
        g += s.decay * *p;
    *m = s.b1 * *m + (1.0f - s.b1) * g;
    *v = s.b2 * *v + (1.0f - s.b2) * g * g;
    *p -= __fdividef(s.rate * *m, sqrtf(*v) * s.inv_bias2_sqrt + s.eps);
}

/* A thread updates N neighbours; the last one also those that do not fill a pack. */
template <typename C, typename G, int N>
__global__ static void __launch_bounds__(THREADS, 6) adamw_kernel(adamw_args<C, G> a)
{
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;
    adamw_step s = step_of(a.state, a.run);

    if (i >= a.n || a.state->skip)
        return;
    if (i + N <= a.n) {
        float p[N], m[N], v[N], g[N];

        unpack(p, load_pack<N>(a.p + i));
        unpack(m, load_pack<N>(a.m + i));
        unpack(v, load_pack<N>(a.v + i));
        unpack(g, load_pack<N>(a.g + i));

#pragma unroll
        for (int j = 0; j < N; j++)
            update(s, &p[j], &m[j], &v[j], g[j]);
        store_pack(a.p + i, pack_of<float, N>(p));
        store_pack(a.m + i, pack_of<float, N>(m));
        store_pack(a.v + i, pack_of<float, N>(v));
        if (a.copy)
            store_pack(a.copy + i, pack_of<C, N>(p));
        return;
    }
    for (; i < a.n; i++) {
        update(s, a.p + i, a.m + i, a.v + i, load(a.g + i));
        if (a.copy)
            store(a.copy + i, a.p[i]);
    }
}

template <typename C, typename G>
static void launch(const adamw_args<float, float> *f, void *copy, const void *g, bool aligned,
                   cudaStream_t stream)
{
    adamw_args<C, G> a = { f->p, f->m, f->v, (C *)copy, (const G *)g, f->n, f->state, f->run };

    if (aligned)
        adamw_kernel<C, G, FOUR>
            <<<(unsigned)cuda_ceil_div(a.n, THREADS * FOUR), THREADS, 0, stream>>>(a);
    else
        adamw_kernel<C, G, 1><<<(unsigned)cuda_ceil_div(a.n, THREADS), THREADS, 0, stream>>>(a);
}

/* A vector's first address; how long it is does not matter. */
static bool is_aligned(lt_tensor t)
{
    return (uintptr_t)t.data % (FOUR * lt_dtype_bytes(t.dtype)) == 0;
}

void cuda_adamw(lt_dev *dev, lt_tensor p, lt_tensor copy, lt_tensor m, lt_tensor v, lt_tensor g,
                const lt_step_state *state, const lt_adamw *run)
{
    cudaStream_t stream = cuda_begin(dev, "adamw");
    lt_dtype copy_type = copy.data ? copy.dtype : LT_F32;
    bool aligned =
        is_aligned(p) && is_aligned(m) && is_aligned(v) && is_aligned(g) && is_aligned(copy);
    adamw_args<float, float> a = {
        lt_f32(p), lt_f32(m), lt_f32(v), NULL, NULL, p.cols, state, *run
    };

    LT_BUG_ON(p.rows != 1 || m.cols != p.cols || v.cols != p.cols || g.cols != p.cols);
    LT_BUG_ON(copy.data && copy.cols != p.cols);
    CUDA_BY_ACT(copy_type, using C = T;
                CUDA_BY_ACT(g.dtype, launch<C, T>(&a, copy.data, g.data, aligned, stream)));
    cuda_end(dev);
}
