/* device/cpu/cpu_norm.c - residual + norm, its gradient, and column sums.
 *
 * Sums over rows (weight and bias gradients) go into CPU_REDUCE_PARTS partial rows in scratch, each
 * for a fixed share of the rows, and are then added in order: any number of threads gives the same
 * bits.  Scratch: parts [n_sums][CPU_REDUCE_PARTS][cols], then row buffers of the workers. */
#include "device/cpu/cpu.h"

#include <math.h>

enum { ROW_BLOCK = 16 };

typedef struct norm_task {
    lt_task task;
    lt_dev *dev;
    const lt_residual_norm *n;
} norm_task;

static void residual_norm_row(const lt_residual_norm *n, int64_t row, float *buf)
{
    int64_t c = n->x.cols;
    const float *x = cpu_row_load(n->x, row, buf), *w, *b = NULL;
    float *y = cpu_row_open(n->out, row, buf + c), mean = 0, sum = 0, rstd;

    if (n->branch.data) {
        const float *branch = cpu_row_load(n->branch, row, buf + c);
        float *resid = cpu_row_open(n->resid, row, buf);

#pragma omp simd
        for (int64_t i = 0; i < c; i++)
            resid[i] = x[i] + branch[i];
        cpu_row_store(n->resid, row, resid);
        x = cpu_row_load(n->resid, row, buf); /* as rounded: the backward pass reads that */
    }
    if (n->kind == LT_NORM_LAYER) {
#pragma omp simd reduction(+ : mean)
        for (int64_t i = 0; i < c; i++)
            mean += x[i];
        mean /= (float)c;
        lt_f32(n->mean)[row] = mean;
    }
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < c; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    rstd = 1.0f / sqrtf(sum / (float)c + n->eps);
    lt_f32(n->rstd)[row] = rstd;
    w = cpu_row_load(n->weight, 0, buf + 2 * c);
    if (n->bias.data)
        b = cpu_row_load(n->bias, 0, buf + 3 * c);
    if (b) {
#pragma omp simd
        for (int64_t i = 0; i < c; i++)
            y[i] = (x[i] - mean) * rstd * w[i] + b[i];
    } else {
#pragma omp simd
        for (int64_t i = 0; i < c; i++)
            y[i] = (x[i] - mean) * rstd * w[i];
    }
    cpu_row_store(n->out, row, y);
}

static void residual_norm_rows(lt_task *task, int64_t block, int worker)
{
    norm_task *t = (norm_task *)task;
    int64_t first = block * ROW_BLOCK, last = first + ROW_BLOCK;
    float *buf = (float *)t->dev->scratch + 4 * worker * t->n->x.cols;

    for (int64_t row = first; row < last && row < t->n->x.rows; row++)
        residual_norm_row(t->n, row, buf);
}

void cpu_residual_norm(lt_dev *dev, const lt_residual_norm *n)
{
    norm_task t = { { residual_norm_rows }, dev, n };
    int64_t rows = n->x.rows, c = n->x.cols;

    LT_BUG_ON(n->out.rows != rows || n->out.cols != c || n->weight.cols != c ||
              n->rstd.cols < rows);
    LT_BUG_ON(n->branch.data && (!n->resid.data || n->branch.cols != c || n->resid.cols != c));
    LT_BUG_ON(n->kind == LT_NORM_LAYER && n->mean.cols < rows);
    cpu_parallel(dev, &t.task, (rows + ROW_BLOCK - 1) / ROW_BLOCK, rows * c);
}

/* ---- sums over rows */

typedef struct parts_task {
    lt_task task;
    const float *parts; /* (CPU_REDUCE_PARTS, cols) */
    lt_tensor out;
    bool add;
} parts_task;

enum { COL_BLOCK = 256 };

static void add_parts(lt_task *task, int64_t block, int worker)
{
    parts_task *t = (parts_task *)task;
    int64_t first = block * COL_BLOCK, left = t->out.cols - first;
    int64_t n = left < COL_BLOCK ? left : COL_BLOCK;
    lt_tensor out = lt_block(t->out, 0, 1, first, n);
    float sum[COL_BLOCK] = { 0 }, old[COL_BLOCK];

    (void)worker;
    for (int p = 0; p < CPU_REDUCE_PARTS; p++) {
        const float *part = t->parts + p * t->out.cols + first;

#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            sum[i] += part[i];
    }
    if (t->add) {
        const float *before = cpu_row_load(out, 0, old);

        for (int64_t i = 0; i < n; i++)
            sum[i] += before[i];
    }
    cpu_row_store(out, 0, sum);
}

static void reduce_parts(lt_dev *dev, lt_tensor out, const float *parts, bool add)
{
    parts_task t = { { add_parts }, parts, out, add };

    cpu_parallel(dev, &t.task, (out.cols + COL_BLOCK - 1) / COL_BLOCK, out.cols * CPU_REDUCE_PARTS);
}

static void part_rows(int64_t rows, int64_t part, int64_t *first, int64_t *last)
{
    *first = rows * part / CPU_REDUCE_PARTS;
    *last = rows * (part + 1) / CPU_REDUCE_PARTS;
}

typedef struct col_sum_task {
    lt_task task;
    lt_tensor x;
    float *parts, *bufs;
} col_sum_task;

static void col_sum_part(lt_task *task, int64_t part, int worker)
{
    col_sum_task *t = (col_sum_task *)task;
    int64_t n = t->x.cols, first, last;
    float *sum = t->parts + part * n;

    part_rows(t->x.rows, part, &first, &last);
    memset(sum, 0, (size_t)n * sizeof *sum);
    for (int64_t row = first; row < last; row++) {
        const float *x = cpu_row_load(t->x, row, t->bufs + worker * n);

#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            sum[i] += x[i];
    }
}

void cpu_col_sum(lt_dev *dev, lt_tensor out, lt_tensor x, bool add)
{
    col_sum_task t = { .task = { col_sum_part }, .x = x };
    size_t used = 0;

    LT_BUG_ON(out.cols != x.cols || out.rows != 1);
    t.parts = cpu_scratch(dev, &used, (size_t)(CPU_REDUCE_PARTS * x.cols));
    t.bufs = cpu_scratch(dev, &used, (size_t)(lt_pool_size(dev->pool) * x.cols));
    cpu_parallel(dev, &t.task, CPU_REDUCE_PARTS, x.rows * x.cols);
    reduce_parts(dev, out, t.parts, add);
}

/* ---- the gradient of a norm */

typedef struct norm_grad_task {
    lt_task task;
    const lt_norm_grad *n;
    float *dweight, *dbias, *col_sum; /* parts */
    float *bufs;                      /* (workers, 4, cols) */
} norm_grad_task;

/* One row: adds to the three sums, writes dx.  With xh = (r - mean) rstd and g = dout w:
 * dr = rstd (g - mean(g) - xh mean(g xh)); RMSNorm has no mean(g). */
static void norm_grad_row(const norm_grad_task *t, int64_t row, int64_t part, float *buf)
{
    const lt_norm_grad *n = t->n;
    int64_t c = n->dout.cols;
    bool layer = n->kind == LT_NORM_LAYER;
    const float *dout = cpu_row_load(n->dout, row, buf), *r = cpu_row_load(n->resid, row, buf + c);
    const float *w = cpu_row_load(n->weight, 0, buf + 2 * c);
    float mean = layer ? lt_f32(n->mean)[row] : 0.0f, rstd = lt_f32(n->rstd)[row];
    float *dweight = t->dweight + part * c, *dbias = t->dbias + part * c, *dx;
    float sum_g = 0, sum_gx = 0, mean_g, mean_gx;

#pragma omp simd reduction(+ : sum_g, sum_gx)
    for (int64_t i = 0; i < c; i++) {
        float xh = (r[i] - mean) * rstd, g = dout[i] * w[i];

        dbias[i] += dout[i];
        dweight[i] += dout[i] * xh;
        sum_g += g;
        sum_gx += g * xh;
    }
    mean_g = layer ? sum_g / (float)c : 0.0f;
    mean_gx = sum_gx / (float)c;
    if (n->dresid.data) {
        const float *dresid = cpu_row_load(n->dresid, row, buf + 3 * c);

        dx = cpu_row_open(n->dx, row, buf + 3 * c);
#pragma omp simd
        for (int64_t i = 0; i < c; i++)
            dx[i] = dresid[i] + rstd * (dout[i] * w[i] - mean_g - (r[i] - mean) * rstd * mean_gx);
    } else {
        dx = cpu_row_open(n->dx, row, buf + 3 * c);
#pragma omp simd
        for (int64_t i = 0; i < c; i++)
            dx[i] = rstd * (dout[i] * w[i] - mean_g - (r[i] - mean) * rstd * mean_gx);
    }
    cpu_row_store(n->dx, row, dx);
    if (t->col_sum) {
        float *sum = t->col_sum + part * c;

        dx = (float *)(uintptr_t)cpu_row_load(n->dx, row, buf + 3 * c); /* as rounded */
#pragma omp simd
        for (int64_t i = 0; i < c; i++)
            sum[i] += dx[i];
    }
}

static void norm_grad_part(lt_task *task, int64_t part, int worker)
{
    norm_grad_task *t = (norm_grad_task *)task;
    int64_t c = t->n->dout.cols, first, last;

    part_rows(t->n->dout.rows, part, &first, &last);
    memset(t->dweight + part * c, 0, (size_t)c * sizeof(float));
    memset(t->dbias + part * c, 0, (size_t)c * sizeof(float));
    if (t->col_sum)
        memset(t->col_sum + part * c, 0, (size_t)c * sizeof(float));
    for (int64_t row = first; row < last; row++)
        norm_grad_row(t, row, part, t->bufs + 4 * worker * c);
}

void cpu_norm_grad(lt_dev *dev, const lt_norm_grad *n)
{
    norm_grad_task t = { .task = { norm_grad_part }, .n = n };
    int64_t c = n->dout.cols, rows = n->dout.rows;
    size_t used = 0, parts = (size_t)(CPU_REDUCE_PARTS * c);

    LT_BUG_ON(n->dx.cols != c || n->dx.rows != rows || n->resid.cols != c || n->dweight.cols != c);
    t.dweight = cpu_scratch(dev, &used, parts);
    t.dbias = cpu_scratch(dev, &used, parts);
    if (n->col_sum.data)
        t.col_sum = cpu_scratch(dev, &used, parts);
    t.bufs = cpu_scratch(dev, &used, (size_t)(4 * lt_pool_size(dev->pool) * c));
    cpu_parallel(dev, &t.task, CPU_REDUCE_PARTS, rows * c);
    reduce_parts(dev, n->dweight, t.dweight, n->add);
    if (n->dbias.data)
        reduce_parts(dev, n->dbias, t.dbias, n->add);
    if (n->col_sum.data)
        reduce_parts(dev, n->col_sum, t.col_sum, n->add);
}
