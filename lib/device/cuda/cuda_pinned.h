/* device/cuda/cuda_pinned.h - host memory that the GPU's copy engines reach directly.
 *
 * The driver pins 4 KiB pages one by one, 8 GiB in 3.5 s.  A large block is therefore made of huge
 * pages that several threads touch first, and then registered, which takes a tenth of that. */
#ifndef LT_DEVICE_CUDA_PINNED_H
#define LT_DEVICE_CUDA_PINNED_H

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Zeroed, 256-byte aligned, for every GPU of the process. */
cudaError_t cuda_pinned_alloc(void **out, size_t bytes);
cudaError_t cuda_pinned_free(void *data);

#ifdef __cplusplus
}
#endif
#endif
