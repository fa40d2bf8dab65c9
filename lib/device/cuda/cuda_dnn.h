/* device/cuda/cuda_dnn.h - attention through cuDNN where it is present and knows the shape.
 *
 * It takes bf16 and fp16, causal, without document starts, T_q = T_k a multiple of 64 (128 for the
 * gradient before cuDNN 9.16), heads of a multiple of 8 up to 256 wide, rows on 16-byte boundaries,
 * fewer kv heads too; the rest is left to lt's own kernels.  lse means the same in both.
 *
 * The first call of a shape compiles its graph (0.1 to 1 s) and allocates on the host: it belongs
 * to the warm-up and must not be captured; later ones may be.  Device memory is the scratch alone.
 * With deterministic set the gradient has the same bits in every run; that form writes dS, 2 T^2
 * bytes a head, so a call is cut into slices of whole sequences, or of the kv heads of one, as many
 * as the scratch has room for: cuda_dnn_plan asks for CUDA_DNN_SLICE_BYTES at most (slices of
 * 256 MB would cost a third more time) unless one kv head alone needs more. */
#ifndef LT_DEVICE_CUDA_DNN_H
#define LT_DEVICE_CUDA_DNN_H

#include "device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { CUDA_DNN_SLICE_BYTES = 1 << 30 };

typedef struct cuda_dnn cuda_dnn;

typedef enum cuda_dnn_result {
    CUDA_DNN_DONE,    /* enqueued */
    CUDA_DNN_LEFT,    /* nothing happened: the caller's own kernels are to do it */
    CUDA_DNN_REFUSED, /* cuDNN was demanded and has nothing for this shape */
    CUDA_DNN_FAILED,
} cuda_dnn_result;

/* For the compute stream of the current GPU.  options->attention: CUDNN loads the library now and
 * fails with a sentence when it is absent, AUTO loads it when it is first of use, REFERENCE makes
 * *out NULL. */
LT_MUST_USE lt_err cuda_dnn_new(cuda_dnn **out, const lt_dev_options *options, void *stream);
void cuda_dnn_free(cuda_dnn *dnn); /* NULL is fine */

/* Scratch for these shapes, a bound taken without looking for the library; LT_ENOTSUP with a
 * sentence when need->attention demands cuDNN for what it does not take. */
LT_MUST_USE lt_err cuda_dnn_plan(const lt_dev_need *need, size_t *scratch_bytes);

/* g NULL: attention f; else its gradient, f = &g->fwd.  dnn NULL: CUDA_DNN_LEFT. */
cuda_dnn_result cuda_dnn_attention(cuda_dnn *dnn, const lt_attention *f, const lt_attention_grad *g,
                                   void *scratch, size_t scratch_bytes);
const char *cuda_dnn_fault(const cuda_dnn *dnn); /* what was refused or failed */

#ifdef __cplusplus
}
#endif
#endif
