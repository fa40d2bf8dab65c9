/* device/cuda_absent.c - stands in for device/cuda/ where there was no nvcc at build time. */
#include "device/device.h"

static lt_err fail_absent(void)
{
    return lt_fail(LT_ENOTSUP, "device: cuda: this lt was built without CUDA; install the CUDA "
                               "toolkit (nvcc) and run make again, or use device: cpu");
}

static lt_err absent_open(lt_dev **out, const lt_dev_options *options)
{
    (void)out, (void)options;
    return fail_absent();
}

static lt_err absent_locate(int ordinal, int *n_devices, char bus_id[LT_BUS_ID_BYTES])
{
    (void)ordinal, (void)n_devices, (void)bus_id;
    return fail_absent();
}

static lt_err absent_plan(const lt_dev_need *need, size_t *scratch_bytes)
{
    (void)need, (void)scratch_bytes;
    return lt_fail(LT_ENOTSUP,
                   "device: cuda: this lt was built without CUDA and cannot plan for it");
}

const lt_backend lt_backend_cuda = {
    .name = "cuda", .open = absent_open, .locate = absent_locate, .plan = absent_plan
};
