/* device/cpu/cpu_step.c - what ends a step: gradient, loss and norm sums, clipping, AdamW. */
#include "device/cpu/cpu.h"
#include "device/step_math.h"

#include <math.h>

void cpu_sum_losses(lt_dev *dev, lt_step_state *state, lt_tensor losses)
{
    double sum = 0;

    (void)dev;
    for (int64_t i = 0; i < losses.cols; i++)
        sum += (double)lt_f32(losses)[i];
    state->loss_sum += sum;
}

typedef struct squares_task {
    lt_task task;
    lt_tensor g;
    int64_t block;
    double *sums;
} squares_task;

static void squares_block(lt_task *task, int64_t index, int worker)
{
    enum { STEP = 1024 };
    squares_task *t = (squares_task *)task;
    int64_t first = index * t->block, last = first + t->block;
    float buf[STEP];
    double sum = 0;

    (void)worker;
    last = last < t->g.cols ? last : t->g.cols;
    for (int64_t at = first; at < last; at += STEP) {
        int64_t n = last - at < STEP ? last - at : STEP;
        const float *g = cpu_row_load(lt_block(t->g, 0, 1, at, n), 0, buf);

#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < n; i++)
            sum += (double)g[i] * (double)g[i];
    }
    t->sums[index] = sum;
}

void cpu_sum_squares(lt_dev *dev, double *sum, lt_tensor g)
{
    squares_task t = { .task = { squares_block }, .g = g, .sums = dev->scratch };
    int64_t n_blocks;

    LT_BUG_ON(dev->scratch_bytes < CPU_SUM_BLOCKS * sizeof(double));
    t.block = 16384;
    while ((g.cols + t.block - 1) / t.block > CPU_SUM_BLOCKS)
        t.block *= 2;
    n_blocks = (g.cols + t.block - 1) / t.block;
    cpu_parallel(dev, &t.task, n_blocks, g.cols);
    *sum = 0;
    for (int64_t i = 0; i < n_blocks; i++)
        *sum += t.sums[i];
}

void cpu_step_begin(lt_dev *dev, lt_step_state *state)
{
    (void)dev;
    lt_step_begin(state);
}

void cpu_grad_norm_finish(lt_dev *dev, lt_step_state *state, const double *sums, int n_ranks, int n,
                          float max_norm, const lt_adamw *run)
{
    (void)dev;
    lt_step_finish_norm(state, sums, n_ranks, n, max_norm, *run);
}

static bool all_finite(lt_tensor v)
{
    enum { STEP = 1024 };
    float buf[STEP];

    for (int64_t at = 0; at < v.cols; at += STEP) {
        int64_t n = v.cols - at < STEP ? v.cols - at : STEP;
        const float *x = cpu_row_load(lt_block(v, 0, 1, at, n), 0, buf);

        for (int64_t i = 0; i < n; i++)
            if (!isfinite(x[i]))
                return false;
    }
    return true;
}

void cpu_find_nonfinite(lt_dev *dev, lt_step_state *state, const lt_range *ranges, int n,
                        lt_dtype dtype)
{
    (void)dev;
    for (int i = 0; i < n && state->skip && state->first_bad == LT_NO_RANGE; i++)
        if (!all_finite(lt_vector((void *)(uintptr_t)ranges[i].data, dtype, ranges[i].count)))
            state->first_bad = (uint32_t)i;
}

void cpu_loss_scale_update(lt_dev *dev, lt_step_state *state, const lt_loss_scaling *run)
{
    (void)dev;
    lt_step_update_scale(state, *run);
}

enum { FLAT_BLOCK = 4096 }; /* elements of a task on flat vectors */

typedef struct accumulate_task {
    lt_task task;
    lt_tensor dst, src;
} accumulate_task;

static void accumulate_block(lt_task *task, int64_t index, int worker)
{
    const accumulate_task *t = (const accumulate_task *)task;
    int64_t first = index * FLAT_BLOCK, left = t->dst.cols - first;
    int64_t n = left < FLAT_BLOCK ? left : FLAT_BLOCK;
    float buf[FLAT_BLOCK];
    const float *src = cpu_row_load(lt_block(t->src, 0, 1, first, n), 0, buf);
    float *dst = lt_f32(t->dst) + first;

    (void)worker;
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dst[i] += src[i];
}

void cpu_accumulate(lt_dev *dev, lt_tensor dst, lt_tensor src, bool add)
{
    accumulate_task t = { { accumulate_block }, dst, src };

    LT_BUG_ON(dst.dtype != LT_F32 || dst.rows != 1 || src.rows != 1 || src.cols != dst.cols);
    if (add)
        cpu_parallel(dev, &t.task, (dst.cols + FLAT_BLOCK - 1) / FLAT_BLOCK, dst.cols);
    else
        cpu_copy(dev, dst, src);
}

typedef struct adamw_task {
    lt_task task;
    lt_tensor p, copy, m, v, g;
    const lt_step_state *state;
    const lt_adamw *run;
} adamw_task;

static void adamw_block(lt_task *task, int64_t index, int worker)
{
    const adamw_task *t = (const adamw_task *)task;
    int64_t first = index * FLAT_BLOCK, left = t->p.cols - first;
    int64_t n = left < FLAT_BLOCK ? left : FLAT_BLOCK;
    float buf[FLAT_BLOCK];
    const float *g = cpu_row_load(lt_block(t->g, 0, 1, first, n), 0, buf);
    float *p = lt_f32(t->p) + first, *m = lt_f32(t->m) + first, *v = lt_f32(t->v) + first;
    const lt_adamw *run = t->run;
    float lr = t->state->lr, clip = t->state->clip, b1 = run->beta1, b2 = run->beta2;
    float keep = run->decoupled ? 1.0f - lr * run->weight_decay : 1.0f;
    float l2 = run->decoupled ? 0.0f : run->weight_decay;
    float step = lr / t->state->bias1, root = 1.0f / t->state->bias2_sqrt, eps = run->eps;

    (void)worker;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float gi = g[i] * clip + l2 * p[i];
        float mi = b1 * m[i] + (1.0f - b1) * gi;
        float vi = b2 * v[i] + (1.0f - b2) * gi * gi;

        m[i] = mi;
        v[i] = vi;
        p[i] = p[i] * keep - step * mi / (sqrtf(vi) * root + eps);
    }
    if (t->copy.data)
        cpu_row_store(lt_block(t->copy, 0, 1, first, n), 0, p);
}

void cpu_adamw(lt_dev *dev, lt_tensor p, lt_tensor copy, lt_tensor m, lt_tensor v, lt_tensor g,
               const lt_step_state *state, const lt_adamw *run)
{
    adamw_task t = { { adamw_block }, p, copy, m, v, g, state, run };

    LT_BUG_ON(m.cols != p.cols || v.cols != p.cols || g.cols != p.cols);
    LT_BUG_ON(copy.data && copy.cols != p.cols);
    if (state->skip)
        return;
    cpu_parallel(dev, &t.task, (p.cols + FLAT_BLOCK - 1) / FLAT_BLOCK, p.cols);
}
