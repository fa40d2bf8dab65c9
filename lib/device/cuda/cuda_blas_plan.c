/* device/cuda/cuda_blas_plan.c - keys, and the descriptors of a call. */
#include "device/cuda/cuda_blas_plan.h"

#include <stdio.h>

/* ---- keys */

static int32_t least_align(int32_t align, const void *data)
{
    while ((uintptr_t)data % (uintptr_t)align != 0)
        align /= 2;
    return align;
}

cuda_blas_key cuda_blas_key_of(const lt_cuda_blas *b, const lt_matmul *m)
{
    const void *data[] = { m->a.data, m->b.data, m->c.data, m->d.data, m->aux.data };
    cuda_blas_key key;

    memset(&key, 0, sizeof key);
    key.m = m->d.rows;
    key.n = m->d.cols;
    key.k = m->trans_a ? m->a.rows : m->a.cols;
    key.ld_a = m->a.stride;
    key.ld_b = m->b.stride;
    key.ld_d = m->d.stride;
    key.ld_c = m->c.data ? m->c.stride : m->d.stride;
    key.ld_aux = m->aux.data ? m->aux.stride : 0;
    key.type = (int32_t)m->a.dtype;
    key.d_type = (int32_t)m->d.dtype;
    key.trans_a = m->trans_a;
    key.trans_b = m->trans_b;
    key.bias = m->bias.data != NULL;
    key.epilogue = (int32_t)m->epilogue;
    key.act = m->epilogue == LT_EPI_NONE ? 0 : (int32_t)m->act;
    key.aux = m->aux.data != NULL;
    key.col_sum = m->col_sum.data != NULL;
    key.addend = m->add || (m->c.data && m->c.data == m->d.data) ? 1 : m->c.data ? 2 : 0;
    key.align = 256;
    for (size_t i = 0; i < LT_COUNT(data); i++)
        key.align = least_align(key.align, data[i]);
    key.rules = b->rules;
    return key;
}

void cuda_blas_key_text(const cuda_blas_key *key, char text[LT_GEMM_CALL_BYTES])
{
    snprintf(text, LT_GEMM_CALL_BYTES,
             "%s %s %c%c %lld %lld %lld ld %lld %lld %lld %lld %lld bias %d epilogue %d act %d "
             "aux %d sums %d add %d align %d rules %d",
             lt_dtype_name((lt_dtype)key->type), lt_dtype_name((lt_dtype)key->d_type),
             key->trans_a ? 't' : 'n', key->trans_b ? 't' : 'n', (long long)key->m,
             (long long)key->n, (long long)key->k, (long long)key->ld_a, (long long)key->ld_b,
             (long long)key->ld_c, (long long)key->ld_d, (long long)key->ld_aux, (int)key->bias,
             (int)key->epilogue, (int)key->act, (int)key->aux, (int)key->col_sum, (int)key->addend,
             (int)key->align, (int)key->rules);
}

/* ---- descriptors */

/* The library's GELU is not ours: it was seen to differ by up to 0.017 (|x| + 0.01), more than
 * rounding to 16 bits does, and takes sums that are not rounded yet.  Where bits count, or fp32
 * does, ours is taken, so that a recomputation gives the same bits.  Its slope, of which gradients
 * in 16 bits ask less, may be used anywhere.  Its epilogues add nothing but a bias. */
static bool has_form(const lt_cuda_blas *b, const lt_matmul *m, cuda_blas_form form)
{
    bool adds = m->add || m->c.data;

    if (m->epilogue == LT_EPI_NONE)
        return form == CUDA_BLAS_FUSED;
    if (form == CUDA_BLAS_SPLIT)
        return true;
    if (m->act != LT_ACT_GELU_TANH || m->d.dtype == LT_F32 || adds)
        return false;
    return m->epilogue == LT_EPI_ACT ? !(b->rules & 1) : !m->bias.data;
}

static cublasLtEpilogue_t epilogue_of(const lt_matmul *m, cuda_blas_form form)
{
    bool bias = m->bias.data != NULL;

    if (m->epilogue == LT_EPI_NONE || form == CUDA_BLAS_SPLIT)
        return bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    if (m->epilogue == LT_EPI_DACT)
        return CUBLASLT_EPILOGUE_DGELU;
    if (m->aux.data)
        return bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
    return bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
}

/* Where the library writes. */
static lt_tensor output_of(const lt_matmul *m, cuda_blas_form form)
{
    bool to_aux = form == CUDA_BLAS_SPLIT && m->epilogue == LT_EPI_ACT && m->aux.data;

    return to_aux ? m->aux : m->d;
}

static bool set(lt_cuda_blas *b, const cuda_blas_product *p, cublasLtMatmulDescAttributes_t what,
                const void *value, size_t bytes)
{
    return b->lt.MatmulDescSetAttribute(p->desc, what, value, bytes) == CUBLAS_STATUS_SUCCESS;
}

/* What differs from call to call. */
static bool set_addresses(lt_cuda_blas *b, const cuda_blas_product *p, const lt_matmul *m)
{
    const void *bias = m->bias.data, *aux = m->aux.data;
    bool aux_used = p->form == CUDA_BLAS_FUSED && m->epilogue != LT_EPI_NONE && aux;

    if (bias && !set(b, p, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias))
        return false;
    return !aux_used || set(b, p, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &aux, sizeof aux);
}

static bool new_desc(cuda_blas_product *p, lt_cuda_blas *b, const lt_matmul *m)
{
    bool tf32 = b->rules & 2 && m->a.dtype == LT_F32;
    cublasComputeType_t compute = tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    cublasOperation_t turn = CUBLAS_OP_T;
    cublasLtEpilogue_t epilogue = epilogue_of(m, p->form);
    int64_t ld_aux = m->aux.stride;
    bool aux = (epilogue & 128) != 0; /* the bit of every epilogue that has one */

    if (b->lt.MatmulDescCreate(&p->desc, compute, CUDA_R_32F) != CUBLAS_STATUS_SUCCESS)
        return false;
    return (!m->trans_b || set(b, p, CUBLASLT_MATMUL_DESC_TRANSA, &turn, sizeof turn)) &&
           (!m->trans_a || set(b, p, CUBLASLT_MATMUL_DESC_TRANSB, &turn, sizeof turn)) &&
           set(b, p, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue) &&
           (!aux || set(b, p, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &ld_aux, sizeof ld_aux)) &&
           set_addresses(b, p, m);
}

/* A row-major matrix of ours: the library's columns are our rows. */
static bool new_layout(cublasLtMatrixLayout_t *out, lt_cuda_blas *b, lt_tensor t)
{
    cudaDataType type = t.dtype == LT_F32    ? CUDA_R_32F
                        : t.dtype == LT_BF16 ? CUDA_R_16BF
                                             : CUDA_R_16F;

    return b->lt.MatrixLayoutCreate(out, type, (uint64_t)t.cols, (uint64_t)t.rows, t.stride) ==
           CUBLAS_STATUS_SUCCESS;
}

bool cuda_blas_product_init(cuda_blas_product *p, lt_cuda_blas *b, const lt_matmul *m,
                            cuda_blas_form form)
{
    lt_tensor d = output_of(m, form), c = m->c.data ? m->c : m->add ? m->d : d;

    *p = (cuda_blas_product){ .form = form };
    if (has_form(b, m, form) && new_desc(p, b, m) && new_layout(&p->a, b, m->b) &&
        new_layout(&p->b, b, m->a) && new_layout(&p->c, b, c) && new_layout(&p->d, b, d))
        return true;
    cuda_blas_product_release(p, b);
    return false;
}

void cuda_blas_product_release(cuda_blas_product *p, lt_cuda_blas *b)
{
    cublasLtMatrixLayout_t layouts[] = { p->a, p->b, p->c, p->d };

    for (size_t i = 0; i < LT_COUNT(layouts); i++)
        if (layouts[i])
            (void)b->lt.MatrixLayoutDestroy(layouts[i]);
    if (p->desc)
        (void)b->lt.MatmulDescDestroy(p->desc);
    *p = (cuda_blas_product){ 0 };
}

bool cuda_blas_product_run(const cuda_blas_product *p, lt_cuda_blas *b, lt_dev *dev,
                           const lt_matmul *m)
{
    const float one = 1, beta = m->add || m->c.data ? 1 : 0;
    lt_tensor d = output_of(m, p->form), c = m->c.data ? m->c : m->add ? m->d : d;
    size_t room = dev->scratch_bytes;

    room = room < CUDA_BLAS_WORKSPACE_BYTES ? room : CUDA_BLAS_WORKSPACE_BYTES;
    return set_addresses(b, p, m) &&
           b->lt.Matmul(b->handle, p->desc, &one, m->b.data, p->a, m->a.data, p->b, &beta, c.data,
                        p->c, d.data, p->d, &p->algo, dev->scratch, room,
                        b->stream) == CUBLAS_STATUS_SUCCESS;
}
