/* device/cuda/cuda_blas_plan.h - a call as cuBLASLt sees it; private to the cuda_blas files.
 *
 * A key is everything that defines a call but its addresses; a plan is what was made of it: a form,
 * the library's descriptors, an algorithm.  Our matrices are row-major; the library's are columns
 * first, so it is asked for D^T = op(B)^T op(A)^T: its A is our b, its m our number of columns. */
#ifndef LT_DEVICE_CUDA_BLAS_PLAN_H
#define LT_DEVICE_CUDA_BLAS_PLAN_H

#include "device/cuda/cuda_blas.h"
#include "device/cuda/cuda_blas_api.h"
#include "device/gemm_table.h"

#include <cuda_runtime_api.h>

enum { CUDA_BLAS_PLANS = 1024 }; /* then the oldest make room */

/* Compared as bytes: made by cuda_blas_key_of alone, without padding. */
typedef struct cuda_blas_key {
    int64_t m, n, k; /* D is (m, n) */
    int64_t ld_a, ld_b, ld_c, ld_d, ld_aux;
    int32_t type, d_type, trans_a, trans_b;
    int32_t bias, epilogue, act, aux, col_sum;
    int32_t addend; /* 0: none, 1: D itself, 2: another matrix */
    int32_t align;  /* bytes, of a, b, c, d and aux: a power of two, at most 256 */
    int32_t rules;  /* of this device: 1 deterministic, 2 TF32 */
} cuda_blas_key;

/* The library's part of a call in one form. */
typedef struct cuda_blas_product {
    cuda_blas_form form;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c, d;
    cublasLtMatmulAlgo_t algo;
} cuda_blas_product;

typedef struct cuda_blas_plan {
    cuda_blas_key key;
    bool usable; /* else the library cannot do it */
    cuda_blas_product product;
} cuda_blas_plan;

struct lt_cuda_blas {
    cuda_blas_api lt;
    cublasLtHandle_t handle;
    cudaStream_t stream;
    int32_t rules; /* see cuda_blas_key */
    bool tune;
    char title[160]; /* of the table's text: GPU and library */
    char *path;      /* of the table in the cache folder; NULL: there is none */
    lt_gemm_table table;
    cuda_blas_plan *plans;
    size_t n_plans, capacity, oldest;
};

cuda_blas_key cuda_blas_key_of(const lt_cuda_blas *b, const lt_matmul *m);
void cuda_blas_key_text(const cuda_blas_key *key, char text[LT_GEMM_CALL_BYTES]);

/* False when the library has no such form of the call; the algorithm is still open. */
bool cuda_blas_product_init(cuda_blas_product *p, lt_cuda_blas *b, const lt_matmul *m,
                            cuda_blas_form form);
void cuda_blas_product_release(cuda_blas_product *p, lt_cuda_blas *b);
/* The library's part alone, enqueued.  False when it refuses; then nothing was enqueued. */
bool cuda_blas_product_run(const cuda_blas_product *p, lt_cuda_blas *b, lt_dev *dev,
                           const lt_matmul *m);

/* Puts a choice into the table and writes it to the cache folder (cuda_blas.c). */
void cuda_blas_remember(lt_cuda_blas *b, const lt_gemm_choice *choice);

/* Fills plan->product and plan->usable for the call m of plan->key (cuda_blas_tune.c). */
void cuda_blas_choose(cuda_blas_plan *plan, lt_cuda_blas *b, lt_dev *dev, const lt_matmul *m);

#endif
