/* device/cuda/cuda_matmul.cuh - what the matrix products share: arguments, epilogue.
 *
 * M tiles lie along grid x, N tiles along y.  The tiles of op(A) and op(B) are copied into shared
 * memory in the layout they have in device memory, so global reads are coalesced whatever the
 * flags; what lies outside a matrix is zero. */
#ifndef LT_DEVICE_CUDA_MATMUL_CUH
#define LT_DEVICE_CUDA_MATMUL_CUH

#include "device/cuda/cuda_act.cuh"

/* T: a, b, bias, aux; D: d, c */
template <typename T, typename D> struct matmul_args {
    view<D> d, c;
    view<T> a, b, aux; /* a, b as stored, not as op() turns them */
    const T *bias;
    int64_t k; /* summed over */
    lt_epilogue epilogue;
    lt_act act;
    bool add;
};

template <typename T, typename D> static inline matmul_args<T, D> matmul_args_of(const lt_matmul *m)
{
    matmul_args<T, D> a = {};

    a.d = view_of<D>(m->d);
    a.c = view_of<D>(m->c);
    a.a = view_of<T>(m->a);
    a.b = view_of<T>(m->b);
    a.aux = view_of<T>(m->aux);
    a.bias = (const T *)m->bias.data;
    a.k = m->trans_a ? m->a.rows : m->a.cols;
    a.epilogue = m->epilogue;
    a.act = m->act;
    a.add = m->add;
    return a;
}

/* Ends element (row, col) whose sum over k is x.  act() sees aux as stored, so that it gives the
 * same bits when the backward pass computes it again from aux. */
template <typename T, typename D>
__device__ inline void matmul_finish(const matmul_args<T, D> &m, int64_t row, int64_t col, float x)
{
    if (row >= m.d.rows || col >= m.d.cols)
        return;
    if (m.add)
        x += load(at(m.d, row, col));
    if (m.c.data)
        x += load(at(m.c, row, col));
    if (m.bias)
        x += load(m.bias + col);
    if (m.epilogue == LT_EPI_ACT) {
        x = rounded<T>(x);
        if (m.aux.data)
            store(at(m.aux, row, col), x);
        x = act_value(x, m.act);
    } else if (m.epilogue == LT_EPI_DACT) {
        x *= act_slope(load(at(m.aux, row, col)), m.act);
    }
    store(at(m.d, row, col), x);
}

/* cuda_matmul_f32.cu, cuda_matmul_half.cu: everything but col_sum */
void cuda_matmul_f32(const lt_matmul *m, cudaStream_t stream);
void cuda_matmul_half(const lt_matmul *m, cudaStream_t stream);
/* cuda_matmul_slope.cu: LT_EPI_DACT on m->d as a plain product has left it; d's type is aux's */
void cuda_matmul_slope(lt_dev *dev, const lt_matmul *m);

#endif
