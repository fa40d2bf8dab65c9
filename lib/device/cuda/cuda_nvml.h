/* device/cuda/cuda_nvml.h - power, clocks, memory and throttling of a GPU through NVML, which is
 * opened at run time and never required. */
#ifndef LT_DEVICE_CUDA_NVML_H
#define LT_DEVICE_CUDA_NVML_H

#include "device/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The GPU at a PCI bus address ("0000:1b:00.0").  Whatever cannot be read stays 0.  Takes about a
 * millisecond: ask once a printed line, not once a step. */
void cuda_nvml_read(const char *pci_bus_id, lt_dev_health *out);

#ifdef __cplusplus
}
#endif
#endif
