/* device/cuda/cuda_blas_api.h - the functions of cuBLASLt that we call, found at run time.
 *
 * NVIDIA's header gives types and prototypes at build time; nothing is linked. */
#ifndef LT_DEVICE_CUDA_BLAS_API_H
#define LT_DEVICE_CUDA_BLAS_API_H

#include "base/err.h"

#include <cublasLt.h>

/* X(name): cublasLt<name> */
#define CUDA_BLAS_CALLS(X)                                                                         \
    X(Create)                                                                                      \
    X(Destroy)                                                                                     \
    X(GetVersion)                                                                                  \
    X(MatmulDescCreate)                                                                            \
    X(MatmulDescDestroy)                                                                           \
    X(MatmulDescSetAttribute)                                                                      \
    X(MatrixLayoutCreate)                                                                          \
    X(MatrixLayoutDestroy)                                                                         \
    X(MatmulPreferenceCreate)                                                                      \
    X(MatmulPreferenceDestroy)                                                                     \
    X(MatmulPreferenceSetAttribute)                                                                \
    X(MatmulAlgoGetHeuristic)                                                                      \
    X(Matmul)

#define CUDA_BLAS_MEMBER(name) __typeof__(cublasLt##name) *name;

typedef struct cuda_blas_api {
    void *library;
    CUDA_BLAS_CALLS(CUDA_BLAS_MEMBER)
} cuda_blas_api;

/* LT_ENOTSUP when there is no library, or one that lacks a function.  Zero *api first. */
LT_MUST_USE lt_err cuda_blas_api_open(cuda_blas_api *api);
void cuda_blas_api_close(cuda_blas_api *api); /* a zeroed one is fine */

#endif
