/* device/cpu/cpu_embed.c - token and position embeddings.  The gradient is split by columns, so that
 * each element is summed by one worker in the order of the rows. */
#include "device/cpu/cpu.h"

typedef struct embed_task {
    lt_task task;
    lt_dev *dev;
    lt_tensor out, ids, positions, wte, wpe;
} embed_task;

static void embed_row(lt_task *task, int64_t row, int worker)
{
    embed_task *t = (embed_task *)task;
    int64_t c = t->out.cols, id = lt_i32(t->ids)[row];
    float *buf = (float *)t->dev->scratch + 3 * worker * c;
    const float *token;
    float *out = cpu_row_open(t->out, row, buf);

    LT_BUG_ON(id < 0 || id >= t->wte.rows);
    token = cpu_row_load(t->wte, id, buf + c);
    if (t->wpe.data) {
        int64_t position = lt_i32(t->positions)[row];
        const float *where;

        LT_BUG_ON(position < 0 || position >= t->wpe.rows);
        where = cpu_row_load(t->wpe, position, buf + 2 * c);
        for (int64_t i = 0; i < c; i++)
            out[i] = token[i] + where[i];
    } else {
        memcpy(out, token, (size_t)c * sizeof *out);
    }
    cpu_row_store(t->out, row, out);
}

void cpu_embed(lt_dev *dev, lt_tensor out, lt_tensor ids, lt_tensor positions, lt_tensor wte,
               lt_tensor wpe)
{
    embed_task t = { { embed_row }, dev, out, ids, positions, wte, wpe };

    LT_BUG_ON(ids.cols != out.rows || wte.cols != out.cols);
    cpu_parallel(dev, &t.task, out.rows, out.rows * out.cols);
}

enum { COL_BLOCK = 64 };

typedef struct embed_grad_task {
    lt_task task;
    lt_tensor dtable, dout, index;
    bool add;
} embed_grad_task;

static void scatter_columns(lt_task *task, int64_t block, int worker)
{
    embed_grad_task *t = (embed_grad_task *)task;
    int64_t first = block * COL_BLOCK, left = t->dout.cols - first;
    int64_t n = left < COL_BLOCK ? left : COL_BLOCK;
    lt_tensor dtable = lt_block(t->dtable, 0, t->dtable.rows, first, n);
    lt_tensor dout = lt_block(t->dout, 0, t->dout.rows, first, n);
    float from[COL_BLOCK], to[COL_BLOCK];

    (void)worker;
    for (int64_t row = 0; !t->add && row < dtable.rows; row++)
        memset(lt_at(dtable, row, 0), 0, (size_t)n * lt_dtype_bytes(dtable.dtype));
    for (int64_t row = 0; row < dout.rows; row++) {
        int64_t id = lt_i32(t->index)[row];
        const float *d = cpu_row_load(dout, row, from), *old;
        float *sum;

        LT_BUG_ON(id < 0 || id >= dtable.rows);
        old = cpu_row_load(dtable, id, to);
        sum = cpu_row_open(dtable, id, to);
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            sum[i] = old[i] + d[i];
        cpu_row_store(dtable, id, sum);
    }
}

static void scatter(lt_dev *dev, lt_tensor dtable, lt_tensor dout, lt_tensor index, bool add)
{
    embed_grad_task t = { { scatter_columns }, dtable, dout, index, add };

    LT_BUG_ON(dtable.cols != dout.cols || index.cols != dout.rows);
    cpu_parallel(dev, &t.task, (dout.cols + COL_BLOCK - 1) / COL_BLOCK, dout.rows * dout.cols);
}

void cpu_embed_grad(lt_dev *dev, lt_tensor dwte, lt_tensor dwpe, lt_tensor dout, lt_tensor ids,
                    lt_tensor positions, bool add_wte, bool add_wpe)
{
    scatter(dev, dwte, dout, ids, add_wte);
    if (dwpe.data)
        scatter(dev, dwpe, dout, positions, add_wpe);
}
