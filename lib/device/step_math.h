/* device/step_math.h - the arithmetic of a step's scalars, one text for CPU and CUDA.
 *
 * Scales, norm, clip factor, Adam's counters and the loss-scale state machine change lt_step_state
 * in device memory; on a GPU one thread runs these functions, so the host need not wait. */
#ifndef LT_DEVICE_STEP_MATH_H
#define LT_DEVICE_STEP_MATH_H

#include "device/ops.h"

#include <math.h>

#ifdef __CUDACC__
#define LT_STEP_FN __host__ __device__ static inline
#else
#define LT_STEP_FN static inline
#endif

LT_STEP_FN void lt_step_begin(lt_step_state *s)
{
    s->grad_scale = s->loss_scale * s->inv_tokens;
    s->inv_scale = 1.0f / s->loss_scale;
    s->loss_sum = 0;
}

/* sums as lt_ops.grad_norm_finish has them: squares of gradients that are still scaled. */
LT_STEP_FN void lt_step_finish_norm(lt_step_state *s, const double *sums, int n_ranks, int n,
                                    float max_norm, lt_adamw run)
{
    double sum = 0, loss = 0, norm, t;

    for (int r = 0; r < n_ranks; r++) {
        const double *row = sums + (int64_t)r * (n + 2);

        for (int i = 0; i < n; i++)
            sum += row[i];
        loss += row[n];
    }
    norm = sqrt(sum) * (double)s->inv_scale;
    s->loss_sum = loss;
    s->grad_norm = (float)norm;
    s->first_bad = LT_NO_RANGE;
    s->skip = !isfinite(sum);
    if (s->skip) {
        s->n_skipped++;
        return;
    }
    /* As torch.nn.utils.clip_grad_norm_: max / (norm + 1e-6), at most 1. */
    s->clip = s->inv_scale;
    if (max_norm > 0 && (double)max_norm < norm + 1e-6)
        s->clip *= (float)((double)max_norm / (norm + 1e-6));
    t = (double)++s->adam_t;
    s->bias1 = (float)(1.0 - pow((double)run.beta1, t));
    s->bias2_sqrt = (float)sqrt(1.0 - pow((double)run.beta2, t));
}

/* DeepSpeed's DynamicLossScaler (0.19.6): an overflow first uses up the hysteresis, then halves the
 * scale; a full window of steps since the last overflow doubles it and refills the hysteresis. */
LT_STEP_FN void lt_step_update_scale(lt_step_state *s, lt_loss_scaling run)
{
    if (!run.dynamic)
        return;
    if (s->skip) {
        if (s->hysteresis_left > 1)
            s->hysteresis_left--;
        else if (s->loss_scale <= run.min_loss_scale)
            s->scale_stuck = 1;
        else
            s->loss_scale = fmaxf(s->loss_scale * 0.5f, run.min_loss_scale);
        s->last_overflow = s->scale_step;
    } else {
        bool grows = (s->scale_step - s->last_overflow) % run.loss_scale_window == 0;

        if (grows || run.consecutive_hysteresis)
            s->hysteresis_left = run.hysteresis;
        if (grows)
            s->loss_scale *= 2.0f;
    }
    s->scale_step++;
}

#endif
