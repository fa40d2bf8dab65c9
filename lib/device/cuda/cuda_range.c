/* device/cuda/cuda_range.c - named ranges of host time for Nsight's time line.
 *
 * NVTX is headers only: it loads a profiler's library when the environment names one (nsys and ncu
 * do), else a range costs a comparison. */
#include "device/cuda/cuda_range.h"

#include <nvtx3/nvToolsExt.h>

void cuda_range_push(lt_dev *dev, const char *name)
{
    (void)dev;
    (void)nvtxRangePushA(name);
}

void cuda_range_pop(lt_dev *dev)
{
    (void)dev;
    (void)nvtxRangePop();
}
