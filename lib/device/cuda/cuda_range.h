/* device/cuda/cuda_range.h - the backend's range_push and range_pop. */
#ifndef LT_DEVICE_CUDA_RANGE_H
#define LT_DEVICE_CUDA_RANGE_H

#include "device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

void cuda_range_push(lt_dev *dev, const char *name);
void cuda_range_pop(lt_dev *dev);

#ifdef __cplusplus
}
#endif
#endif
