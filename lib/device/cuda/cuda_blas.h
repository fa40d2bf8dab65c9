/* device/cuda/cuda_blas.h - matrix products through cuBLASLt, which is opened at run time.
 *
 * Owns the library's handle, the descriptors of every distinct call and the choice of an algorithm
 * for each: timed on the real operands when a large call is first seen, kept in a text file of the
 * user's cache folder, handed out and taken back as one blob for checkpoints.  The same algorithm
 * gives the same bits, so a run repeats exactly once its choices are made.
 * Leaves to cuda_matmul.cu: the checks, the epilogues that the library is not asked for, and every
 * product that it cannot do.  Where there is no library, all of them. */
#ifndef LT_DEVICE_CUDA_BLAS_H
#define LT_DEVICE_CUDA_BLAS_H

#include "device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_cuda_blas lt_cuda_blas;
struct CUstream_st; /* what a cudaStream_t points to */
struct lt_buf;      /* base/mem.h */

enum { CUDA_BLAS_WORKSPACE_BYTES = 64 << 20 }; /* of the device's scratch, for split sums */

/* Who ends a product: bias is the library's in both. */
typedef enum cuda_blas_form {
    CUDA_BLAS_FUSED, /* the library's epilogue applies act or act' */
    CUDA_BLAS_SPLIT, /* our kernel does, in a second pass */
    CUDA_BLAS_N_FORMS
} cuda_blas_form;

/* NULL, and a line in the debug log, when no library serves.  `stream` is where all products run;
 * the GPU, whose name is given, is the current one of the caller's thread. */
lt_cuda_blas *cuda_blas_open(const char *gpu, struct CUstream_st *stream,
                             const lt_dev_options *options);
void cuda_blas_close(lt_cuda_blas *b); /* NULL is fine */
/* "cuBLASLt 13.1.0", or what is used in its place when b is NULL. */
void cuda_blas_describe(const lt_cuda_blas *b, char *text, size_t size);

/* All of m, enqueued.  False, with nothing done, when it is not for the library or b is NULL. */
bool cuda_blas_matmul(lt_cuda_blas *b, lt_dev *dev, const lt_matmul *m);

/* What is left of m once the library has made its part (cuda_matmul.cu): act, act', column sums.
 * SPLIT with act: the sums stand in m->aux, or in m->d when aux is absent; else in m->d. */
void cuda_matmul_end(lt_dev *dev, const lt_matmul *m, cuda_blas_form form);

/* NULL when the products are our own kernels' (cuda_device.cu). */
lt_cuda_blas *cuda_blas_of(lt_dev *dev);

/* The choices made so far as text; nothing without the library. */
void lt_cuda_gemm_algorithms(lt_dev *dev, struct lt_buf *out);
/* Choices of an earlier run, as lt_cuda_gemm_algorithms wrote them; they win over those of the
 * cache folder.  LT_EMISMATCH when another kind of GPU or library version made them, LT_EFORMAT
 * when the text is damaged; nothing is taken then.  `source` is for the sentence. */
LT_MUST_USE lt_err lt_cuda_gemm_load(lt_dev *dev, const char *text, size_t n, const char *source);

#ifdef __cplusplus
}
#endif
#endif
