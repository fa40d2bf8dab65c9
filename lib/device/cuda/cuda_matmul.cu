/* device/cuda/cuda_matmul.cu - the matmul entry: checks, then cuBLASLt where it can and our kernels
 * where not; what ends a product that the library has made. */
#include "device/cuda/cuda_blas.h"
#include "device/cuda/cuda_matmul.cuh"

static void check(const lt_matmul *m)
{
    lt_dtype type = m->a.dtype;
    int64_t rows = m->trans_a ? m->a.cols : m->a.rows, k = m->trans_a ? m->a.rows : m->a.cols;
    int64_t cols = m->trans_b ? m->b.rows : m->b.cols, k_b = m->trans_b ? m->b.cols : m->b.rows;

    LT_BUG_ON(m->d.rows != rows || m->d.cols != cols || k != k_b);
    LT_BUG_ON(m->b.dtype != type || (m->d.dtype != LT_F32 && m->d.dtype != type));
    LT_BUG_ON(m->c.data && (m->add || !cuda_same_shape(m->c, m->d) || m->c.dtype != m->d.dtype));
    LT_BUG_ON(m->bias.data && (m->bias.cols != cols || m->bias.dtype != type));
    LT_BUG_ON(m->aux.data && (!cuda_same_shape(m->aux, m->d) || m->aux.dtype != type));
    LT_BUG_ON(m->epilogue == LT_EPI_DACT && !m->aux.data);
    LT_BUG_ON(m->col_sum.data && m->epilogue != LT_EPI_DACT);
}

void cuda_matmul_end(lt_dev *dev, const lt_matmul *m, cuda_blas_form form)
{
    if (m->epilogue == LT_EPI_ACT && form == CUDA_BLAS_SPLIT)
        cuda_act(dev, m->d, m->aux.data ? m->aux : m->d, m->act);
    else if (m->epilogue == LT_EPI_DACT && form == CUDA_BLAS_SPLIT)
        cuda_matmul_slope(dev, m);
    else if (m->col_sum.data)
        cuda_col_sum(dev, m->col_sum, m->d, m->add_col_sum);
}

void cuda_matmul(lt_dev *dev, const lt_matmul *m)
{
    cudaStream_t stream = cuda_begin(dev, "matmul");

    check(m);
    LT_BUG_ON(m->a.dtype != LT_F32 && m->a.dtype != LT_BF16 && m->a.dtype != LT_F16);
    if (cuda_blas_matmul(cuda_blas_of(dev), dev, m)) {
        cuda_end(dev);
        return;
    }
    if (m->a.dtype == LT_F32)
        cuda_matmul_f32(m, stream);
    else
        cuda_matmul_half(m, stream);
    cuda_end(dev);
    if (m->col_sum.data)
        cuda_col_sum(dev, m->col_sum, m->d, m->add_col_sum);
}
