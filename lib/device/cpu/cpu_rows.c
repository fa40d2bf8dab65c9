/* device/cpu/cpu_rows.c - rows as fp32, scratch, and the memory operations. */
#include "device/cpu/cpu.h"

#include "base/mem.h"

const float *cpu_row_load(lt_tensor t, int64_t row, float *buf)
{
    const void *data = lt_at(t, row, 0);

    if (t.dtype == LT_F32)
        return data;
    lt_convert(buf, LT_F32, data, t.dtype, (size_t)t.cols);
    return buf;
}

float *cpu_row_open(lt_tensor t, int64_t row, float *buf)
{
    return t.dtype == LT_F32 ? lt_at(t, row, 0) : buf;
}

void cpu_row_store(lt_tensor t, int64_t row, const float *values)
{
    void *data = lt_at(t, row, 0);

    if (data != values)
        lt_convert(data, t.dtype, values, LT_F32, (size_t)t.cols);
}

float *cpu_scratch(lt_dev *dev, size_t *used, size_t n_floats)
{
    float *p = (float *)((char *)dev->scratch + *used);

    *used += LT_ALIGN_UP(n_floats * sizeof(float), 64);
    LT_BUG_ON(*used > dev->scratch_bytes);
    return p;
}

void cpu_parallel(lt_dev *dev, lt_task *task, int64_t n, int64_t elements)
{
    enum { WORTH_SHARING = 8192 };

    lt_pool_run(elements < WORTH_SHARING ? NULL : dev->pool, task, n);
}

static size_t floats_bytes(int64_t n)
{
    return LT_ALIGN_UP((size_t)n * sizeof(float), 64);
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

size_t cpu_scratch_bytes(const lt_dev_need *need, int n_threads)
{
    int64_t width = max64(max64(need->n_inner, need->n_vocab), 3 * need->n_embd);
    int64_t head = need->head_dim * max64(need->t_q, need->t_k);
    int64_t query_block = CPU_QUERY_BLOCK * max64(need->t_k, need->t_q);
    size_t rows, reduce, attention, most;

    rows = (size_t)n_threads * 4 * floats_bytes(width);
    reduce = (size_t)CPU_REDUCE_PARTS * 3 * floats_bytes(width) +
             (size_t)n_threads * 4 * floats_bytes(need->n_embd);
    attention = (size_t)n_threads * (2 * floats_bytes(query_block) + 8 * floats_bytes(head));
    most = cpu_matmul_scratch_bytes(need, n_threads);
    most = rows > most ? rows : most;
    most = reduce > most ? reduce : most;
    most = attention > most ? attention : most;
    return most + CPU_SUM_BLOCKS * sizeof(double);
}

void cpu_zero(lt_dev *dev, void *data, size_t bytes)
{
    (void)dev;
    memset(data, 0, bytes);
}

enum { COPY_BLOCK = 1 << 16 }; /* elements of a row that one task moves */

typedef struct copy_task {
    lt_task task;
    lt_tensor dst, src;
    int64_t blocks_per_row;
} copy_task;

static void copy_block(lt_task *task, int64_t index, int worker)
{
    copy_task *c = (copy_task *)task;
    int64_t row = index / c->blocks_per_row, first = index % c->blocks_per_row * COPY_BLOCK;
    int64_t left = c->src.cols - first, n = left < COPY_BLOCK ? left : COPY_BLOCK;

    (void)worker;
    lt_convert(lt_at(c->dst, row, first), c->dst.dtype, lt_at(c->src, row, first), c->src.dtype,
               (size_t)n);
}

void cpu_copy(lt_dev *dev, lt_tensor dst, lt_tensor src)
{
    copy_task c = { { copy_block }, dst, src, (src.cols + COPY_BLOCK - 1) / COPY_BLOCK };

    LT_BUG_ON(dst.rows != src.rows || dst.cols != src.cols);
    cpu_parallel(dev, &c.task, src.rows * c.blocks_per_row, src.rows * src.cols);
}
