/* device/cpu/cpu_embed.c - token and position embeddings.  The gradient is split by columns, so
 * that each element is summed by one worker in the order of the rows. */
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
    lt_dev *dev;
    lt_tensor dtable, dout, index;
    int64_t n_cols; /* of a block */
    bool add;
} embed_grad_task;

/* sums (table rows, columns) += the columns of dout, rows in order */
static void scatter_rows(lt_tensor sums, lt_tensor dout, const int32_t *index)
{
    float from[COL_BLOCK];

    for (int64_t row = 0; row < dout.rows; row++) {
        const float *d = cpu_row_load(dout, row, from);
        float *sum;

        LT_BUG_ON(index[row] < 0 || index[row] >= sums.rows);
        sum = lt_at(sums, index[row], 0);
#pragma omp simd
        for (int64_t i = 0; i < dout.cols; i++)
            sum[i] += d[i];
    }
}

/* A narrow table is summed in fp32 in the worker's scratch and rounded once. */
static void scatter_columns(lt_task *task, int64_t block, int worker)
{
    embed_grad_task *t = (embed_grad_task *)task;
    int64_t first = block * t->n_cols, left = t->dout.cols - first, rows = t->dtable.rows;
    int64_t n = left < t->n_cols ? left : t->n_cols;
    lt_tensor dtable = lt_block(t->dtable, 0, rows, first, n), sums = dtable;

    if (dtable.dtype != LT_F32)
        sums = lt_matrix((float *)t->dev->scratch + worker * rows * t->n_cols, LT_F32, rows, n);
    for (int64_t row = 0; row < rows; row++) {
        if (!t->add)
            memset(lt_at(sums, row, 0), 0, (size_t)n * sizeof(float));
        else if (sums.data != dtable.data)
            lt_convert(lt_at(sums, row, 0), LT_F32, lt_at(dtable, row, 0), dtable.dtype, (size_t)n);
    }
    scatter_rows(sums, lt_block(t->dout, 0, t->dout.rows, first, n), lt_i32(t->index));
    for (int64_t row = 0; sums.data != dtable.data && row < rows; row++)
        cpu_row_store(dtable, row, lt_at(sums, row, 0));
}

static void scatter(lt_dev *dev, lt_tensor dtable, lt_tensor dout, lt_tensor index, bool add)
{
    embed_grad_task t = { { scatter_columns }, dev, dtable, dout, index, COL_BLOCK, add };
    int64_t room = (int64_t)(dev->scratch_bytes / sizeof(float)) / lt_pool_size(dev->pool);

    LT_BUG_ON(dtable.cols != dout.cols || index.cols != dout.rows);
    if (dtable.dtype != LT_F32) {
        LT_BUG_ON(room < dtable.rows);
        t.n_cols = room / dtable.rows < COL_BLOCK ? room / dtable.rows : COL_BLOCK;
    }
    cpu_parallel(dev, &t.task, (dout.cols + t.n_cols - 1) / t.n_cols, dout.rows * dout.cols);
}

void cpu_embed_grad(lt_dev *dev, lt_tensor dwte, lt_tensor dwpe, lt_tensor dout, lt_tensor ids,
                    lt_tensor positions, bool add_wte, bool add_wpe)
{
    scatter(dev, dwte, dout, ids, add_wte);
    if (dwpe.data)
        scatter(dev, dwpe, dout, positions, add_wpe);
}
