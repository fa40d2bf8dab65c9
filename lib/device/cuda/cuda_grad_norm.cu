/* device/cuda/cuda_grad_norm.cu - from sums of squares to norm, clip factor and Adam's counters, by
 * one thread in double, so that the host need not wait for the norm. */
#include "device/cuda/cuda.cuh"

__global__ static void finish_kernel(lt_step_state *state, const double *sums, int n,
                                     float max_norm, lt_adamw run)
{
    double sum = 0, norm, t;

    for (int i = 0; i < n; i++)
        sum += sums[i];
    norm = sqrt(sum) * (double)state->inv_scale;
    state->grad_norm = (float)norm;
    state->skip = !isfinite(sum);
    if (state->skip) {
        state->n_skipped++;
        return;
    }
    /* As torch.nn.utils.clip_grad_norm_: max / (norm + 1e-6), at most 1. */
    state->clip = state->inv_scale;
    if (max_norm > 0 && (double)max_norm < norm + 1e-6)
        state->clip *= (float)((double)max_norm / (norm + 1e-6));
    t = (double)++state->adam_t;
    state->bias1 = (float)(1.0 - pow((double)run.beta1, t));
    state->bias2_sqrt = (float)sqrt(1.0 - pow((double)run.beta2, t));
}

void cuda_grad_norm_finish(lt_dev *dev, lt_step_state *state, const double *sums, int n,
                           float max_norm, const lt_adamw *run)
{
    cudaStream_t stream = cuda_begin(dev, "grad_norm_finish");

    finish_kernel<<<1, 1, 0, stream>>>(state, sums, n, max_norm, *run);
    cuda_end(dev);
}
