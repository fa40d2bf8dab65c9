/* device/cuda/cuda_grad_norm.cu - the scalars of a step by one thread, so that the host need not
 * wait for the norm; the arithmetic is device/step_math.h's. */
#include "device/cuda/cuda.cuh"
#include "device/step_math.h"

__global__ static void begin_kernel(lt_step_state *state)
{
    lt_step_begin(state);
}

__global__ static void finish_kernel(lt_step_state *state, const double *sums, int n_ranks, int n,
                                     float max_norm, lt_adamw run)
{
    lt_step_finish_norm(state, sums, n_ranks, n, max_norm, run);
}

/* One block a range; a step that is not skipped ends here at once. */
template <typename T>
__global__ static void nonfinite_kernel(lt_step_state *state, const lt_range *ranges)
{
    const lt_range r = ranges[blockIdx.x];
    bool bad = false;

    if (!state->skip)
        return;
    for (int64_t i = threadIdx.x; i < r.count; i += blockDim.x)
        bad |= !isfinite(load((const T *)r.data + i));
    if (__syncthreads_or(bad) && threadIdx.x == 0)
        atomicMin(&state->first_bad, blockIdx.x);
}

__global__ static void scale_kernel(lt_step_state *state, lt_loss_scaling run)
{
    lt_step_update_scale(state, run);
}

void cuda_step_begin(lt_dev *dev, lt_step_state *state)
{
    cudaStream_t stream = cuda_begin(dev, "step_begin");

    begin_kernel<<<1, 1, 0, stream>>>(state);
    cuda_end(dev);
}

void cuda_grad_norm_finish(lt_dev *dev, lt_step_state *state, const double *sums, int n_ranks,
                           int n, float max_norm, const lt_adamw *run)
{
    cudaStream_t stream = cuda_begin(dev, "grad_norm_finish");

    finish_kernel<<<1, 1, 0, stream>>>(state, sums, n_ranks, n, max_norm, *run);
    cuda_end(dev);
}

void cuda_find_nonfinite(lt_dev *dev, lt_step_state *state, const lt_range *ranges, int n,
                         lt_dtype dtype)
{
    cudaStream_t stream = cuda_begin(dev, "find_nonfinite");

    CUDA_BY_ACT(dtype, nonfinite_kernel<T><<<(unsigned)n, 1024, 0, stream>>>(state, ranges));
    cuda_end(dev);
}

void cuda_loss_scale_update(lt_dev *dev, lt_step_state *state, const lt_loss_scaling *run)
{
    cudaStream_t stream = cuda_begin(dev, "loss_scale_update");

    scale_kernel<<<1, 1, 0, stream>>>(state, *run);
    cuda_end(dev);
}
