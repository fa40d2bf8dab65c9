/* device/cuda_absent.c - stands in for device/cuda/ where there was no nvcc at build time. */
#include "device/device.h"

static lt_err absent_open(lt_dev **out, const lt_dev_options *options)
{
    (void)out, (void)options;
    return lt_fail(LT_ENOTSUP, "device: cuda: this lt was built without CUDA; install the CUDA "
                               "toolkit (nvcc) and run make again, or use device: cpu");
}

static lt_err absent_plan(const lt_dev_need *need, size_t *scratch_bytes)
{
    (void)need, (void)scratch_bytes;
    return lt_fail(LT_ENOTSUP,
                   "device: cuda: this lt was built without CUDA and cannot plan for it");
}

const lt_backend lt_backend_cuda = { .name = "cuda", .open = absent_open, .plan = absent_plan };
