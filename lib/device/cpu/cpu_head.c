/* device/cpu/cpu_head.c - LM head and cross entropy in one walk over chunks of rows. */
#include "device/cpu/cpu.h"
#include "device/cpu/cpu_math.h"

#include <math.h>

typedef struct loss_task {
    lt_task task;
    lt_dev *dev;
    const lt_head_loss *h;
    lt_tensor logits;
    int64_t first; /* row of the batch that the chunk begins with */
} loss_task;

/* Loss of one row; with gradients, the row of logits becomes dlogits. */
static void loss_row(lt_task *task, int64_t row, int worker)
{
    loss_task *t = (loss_task *)task;
    const lt_head_loss *h = t->h;
    int64_t v = h->n_vocab, target = lt_i32(h->targets)[t->first + row];
    float *buf = (float *)t->dev->scratch + 2 * worker * t->logits.cols;
    float *loss = lt_f32(h->losses) + t->first + row, max, sum = 0, scale;
    const float *x;
    float *d = cpu_row_open(t->logits, row, buf + t->logits.cols);

    LT_BUG_ON(target >= v);
    if (target < 0) {
        *loss = 0;
        if (h->dx.data)
            memset(lt_at(t->logits, row, 0), 0,
                   (size_t)t->logits.cols * lt_dtype_bytes(t->logits.dtype));
        return;
    }
    x = cpu_row_load(t->logits, row, buf);
    max = cpu_max(x, v);
    if (!h->dx.data) {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < v; i++)
            sum += cpu_expf(x[i] - max);
        *loss = logf(sum) - (x[target] - max);
        return;
    }
    *loss = x[target] - max;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < v; i++) {
        float e = cpu_expf(x[i] - max);

        d[i] = e;
        sum += e;
    }
    *loss = logf(sum) - *loss;
    scale = h->state->grad_scale / sum;
#pragma omp simd
    for (int64_t i = 0; i < v; i++)
        d[i] *= scale;
    d[target] -= h->state->grad_scale;
    memset(d + v, 0, (size_t)(t->logits.cols - v) * sizeof *d);
    cpu_row_store(t->logits, row, d);
}

void cpu_head_loss(lt_dev *dev, const lt_head_loss *h)
{
    int64_t rows = h->x.rows;

    LT_BUG_ON(h->targets.cols != rows || h->losses.cols != rows || h->w.cols != h->x.cols);
    LT_BUG_ON(h->chunk.cols != h->w.rows || h->n_vocab > h->w.rows || h->chunk.rows < 1);
    for (int64_t first = 0; first < rows; first += h->chunk.rows) {
        int64_t n = rows - first < h->chunk.rows ? rows - first : h->chunk.rows;
        lt_tensor logits = lt_rows(h->chunk, 0, n), x = lt_rows(h->x, first, n);
        loss_task t = { { loss_row }, dev, h, logits, first };

        cpu_matmul(dev, &(lt_matmul){ .d = logits, .a = x, .b = h->w, .trans_b = true });
        cpu_parallel(dev, &t.task, n, n * logits.cols);
        if (!h->dx.data)
            continue;
        cpu_matmul(dev, &(lt_matmul){ .d = lt_rows(h->dx, first, n), .a = logits, .b = h->w });
        cpu_matmul(
            dev,
            &(lt_matmul){
                .d = h->dw, .a = logits, .b = x, .trans_a = true, .add = h->add || first > 0 });
    }
}
