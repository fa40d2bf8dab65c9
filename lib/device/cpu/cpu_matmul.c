/* device/cpu/cpu_matmul.c - matmul: checks, tiles over the pool, epilogue.
 *
 * D is cut into tiles of at most CPU_TILE_ROWS x CPU_TILE_COLS; a worker computes one with all of
 * K, with the best kernel that the processor has (cpu_gemm_amx.c, cpu_gemm_avx512.c,
 * cpu_gemm_blas.c), and finishes it while it is in the cache.  K is never split among workers, so
 * there are no partial sums to add.  Owns the device's scratch during the call.
 *
 * Bits: with our own kernels the tiling cannot change them, so tiles are made to fit the number
 * of threads.  OpenBLAS may sum differently at the edge of a matrix, so its tiles depend on the
 * shape alone.  Either way the number of threads never changes a result. */
#include "device/cpu/cpu_gemm.h"

enum {
    /* floats of one worker: packed A, packed B, a tile whose D is not fp32 */
    WORKER_FLOATS =
        (CPU_TILE_ROWS + CPU_TILE_COLS) * CPU_TILE_WORDS + CPU_TILE_ROWS * CPU_TILE_COLS,
    BLAS_TASKS = 8, /* tiles to aim at when their number must not depend on the threads */
    MIN_COLS = 96,
    MIN_ROWS = 32,
    WORK_OF_ELEMENT = 64, /* multiply-adds that take as long as an element of other operations */
};

/* How to multiply a tile, and what makes a good one. */
typedef struct method {
    cpu_gemm *run;
    int64_t row_step, col_step; /* what it computes at a time */
    int64_t packing_cost;       /* of one element of K of a row or column, in multiply-adds */
    bool any_tiles;             /* they cannot change the bits */
} method;

static const method blas = { cpu_gemm_blas, 8, 48, 8, false };
static const method avx512 = { cpu_gemm_avx512, 8, 48, 8, true };
static const method amx = { cpu_gemm_amx, 32, 32, 64, true };

typedef struct matmul_task {
    lt_task task;
    lt_dev *dev;
    const method *method;
    const lt_matmul *m;
    lt_tensor c; /* what the epilogue adds; absent when the kernel adds to D */
    int64_t k;
    int64_t tile_rows, tile_cols, tiles_down;
    bool direct;     /* the kernel writes to D */
    bool direct_add; /* and adds */
} matmul_task;

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t div_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

size_t cpu_matmul_scratch_bytes(const lt_dev_need *need, int n_threads)
{
    (void)need; /* tiles bound it */
    return (size_t)n_threads * WORKER_FLOATS * sizeof(float);
}

static void check(const lt_matmul *m, int64_t k)
{
    lt_tensor d = m->d;

    LT_BUG_ON(!d.data || !m->a.data || !m->b.data || k < 1);
    LT_BUG_ON(m->a.dtype != m->b.dtype ||
              (m->a.dtype != LT_F32 && m->a.dtype != LT_BF16 && m->a.dtype != LT_F16));
    LT_BUG_ON(d.dtype != LT_F32 && d.dtype != m->a.dtype);
    LT_BUG_ON((m->trans_a ? m->a.cols : m->a.rows) != d.rows);
    LT_BUG_ON((m->trans_b ? m->b.rows : m->b.cols) != d.cols);
    LT_BUG_ON((m->trans_b ? m->b.cols : m->b.rows) != k);
    LT_BUG_ON(m->c.data &&
              (m->add || m->c.dtype != d.dtype || m->c.rows != d.rows || m->c.cols != d.cols));
    LT_BUG_ON(m->c.data == d.data && m->c.stride != d.stride);
    LT_BUG_ON(m->bias.data &&
              (m->bias.rows != 1 || m->bias.cols != d.cols || m->bias.dtype != m->a.dtype));
    LT_BUG_ON(m->aux.data && (m->epilogue == LT_EPI_NONE || m->aux.rows != d.rows ||
                              m->aux.cols != d.cols || m->aux.dtype != m->a.dtype));
    LT_BUG_ON(m->epilogue == LT_EPI_DACT && !m->aux.data);
    LT_BUG_ON(m->col_sum.data && m->epilogue != LT_EPI_DACT);
}

static lt_tensor block_of(lt_tensor t, int64_t row, int64_t rows, int64_t col, int64_t cols)
{
    return t.data ? lt_block(t, row, rows, col, cols) : t;
}

static void add_to(float *restrict x, const float *restrict y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] += y[i];
}

/* Asks for a row that will be written soon. */
static void fetch_row(lt_tensor t, int64_t row)
{
    const char *p = lt_at(t, row, 0), *end = p + t.cols * (int64_t)lt_dtype_bytes(t.dtype);

    for (; p < end; p += 64)
        __builtin_prefetch(p, 1);
}

/* The epilogue: D's block at (row0, col0) from the product in `tile`, row by row. */
static void finish(const matmul_task *t, const cpu_tile *tile, int64_t row0, int64_t col0)
{
    const lt_matmul *m = t->m;
    int64_t n = tile->n;
    lt_tensor d = lt_block(m->d, row0, tile->m, col0, n);
    lt_tensor c = block_of(t->c, row0, tile->m, col0, n);
    lt_tensor aux = block_of(m->aux, row0, tile->m, col0, n);
    lt_tensor bias = block_of(m->bias, 0, 1, col0, n);
    float buf[CPU_TILE_COLS], bias_buf[CPU_TILE_COLS];
    const float *bias_row = bias.data ? cpu_row_load(bias, 0, bias_buf) : NULL;

    for (int64_t row = 0; row < tile->m; row++) {
        float *x = tile->out + row * tile->out_stride;

        if (!t->direct && row + 2 < tile->m)
            fetch_row(d, row + 2);
        if (c.data)
            add_to(x, cpu_row_load(c, row, buf), n);
        if (bias_row)
            add_to(x, bias_row, n);
        if (m->epilogue == LT_EPI_DACT)
            cpu_act_grad_n(x, cpu_row_load(aux, row, buf), n, m->act);
        cpu_row_store(d, row, x);
        if (m->epilogue == LT_EPI_ACT) {
            /* of the rounded value, as whoever computes it again from aux will do */
            const float *rounded = cpu_row_load(d, row, buf);

            if (aux.data)
                cpu_row_store(aux, row, rounded);
            cpu_act_n(x, rounded, n, m->act);
            cpu_row_store(d, row, x);
        }
    }
}

static void run_tile(lt_task *task, int64_t index, int worker)
{
    const matmul_task *t = (matmul_task *)task;
    const lt_matmul *m = t->m;
    int64_t row0 = index % t->tiles_down * t->tile_rows;
    int64_t col0 = index / t->tiles_down * t->tile_cols;
    int64_t rows = min_of(t->tile_rows, m->d.rows - row0);
    int64_t cols = min_of(t->tile_cols, m->d.cols - col0);
    float *room = (float *)t->dev->scratch + (int64_t)worker * WORKER_FLOATS;
    float *sums = room + (CPU_TILE_ROWS + CPU_TILE_COLS) * CPU_TILE_WORDS;
    cpu_tile tile = {
        .out = t->direct ? lt_at(m->d, row0, col0) : sums,
        .out_stride = t->direct ? m->d.stride : CPU_TILE_COLS,
        .a = m->trans_a ? lt_block(m->a, 0, t->k, row0, rows) : lt_rows(m->a, row0, rows),
        .b = m->trans_b ? lt_rows(m->b, col0, cols) : lt_block(m->b, 0, t->k, col0, cols),
        .m = rows,
        .n = cols,
        .k = t->k,
        .trans_a = m->trans_a,
        .trans_b = m->trans_b,
        .add = t->direct_add,
        .a_room = (uint32_t *)room,
        .b_room = (uint32_t *)room + CPU_TILE_ROWS * CPU_TILE_WORDS,
    };

    t->method->run(&tile);
    if (!t->direct || t->c.data || m->bias.data || m->epilogue != LT_EPI_NONE)
        finish(t, &tile, row0, col0);
}

static const method *choose_method(lt_dev *dev, lt_dtype dtype)
{
    if (dtype == LT_BF16 && cpu_of(dev)->has_amx_bf16)
        return &amx;
    return cpu_of(dev)->has_avx512_bf16 ? &avx512 : &blas;
}

/* Tile sizes: the least time on the workers, who take turns, packing included.  Both are multiples
 * of what the kernel computes at a time unless D is smaller. */
static void choose_tiles(matmul_task *t)
{
    const method *how = t->method;
    int64_t threads = how->any_tiles ? lt_pool_size(t->dev->pool) : BLAS_TASKS;
    int64_t m = t->m->d.rows, n = t->m->d.cols, best = INT64_MAX;

    for (int64_t most_rows = CPU_TILE_ROWS; most_rows >= MIN_ROWS; most_rows /= 2)
        for (int64_t most_cols = CPU_TILE_COLS; most_cols >= MIN_COLS; most_cols /= 2) {
            int64_t rows = div_up(div_up(m, div_up(m, most_rows)), how->row_step) * how->row_step;
            int64_t cols = div_up(div_up(n, div_up(n, most_cols)), how->col_step) * how->col_step;
            int64_t tiles = div_up(m, rows) * div_up(n, cols);
            int64_t cost =
                div_up(tiles, threads) * (rows * cols + how->packing_cost * (rows + cols));

            if (cost < best) {
                best = cost;
                t->tile_rows = rows;
                t->tile_cols = cols;
            }
        }
    t->tiles_down = div_up(m, t->tile_rows);
}

void cpu_matmul(lt_dev *dev, const lt_matmul *m)
{
    bool direct = m->d.dtype == LT_F32;
    lt_tensor c = m->add ? m->d : m->c;
    bool in_place = direct && c.data == m->d.data;
    matmul_task t = {
        .task = { run_tile },
        .dev = dev,
        .method = choose_method(dev, m->a.dtype),
        .m = m,
        .c = in_place ? lt_absent() : c,
        .k = m->trans_a ? m->a.rows : m->a.cols,
        .direct = direct,
        .direct_add = in_place,
    };

    if (m->d.rows == 0 || m->d.cols == 0)
        return;
    check(m, t.k);
    LT_BUG_ON(dev->scratch_bytes < cpu_matmul_scratch_bytes(NULL, lt_pool_size(dev->pool)));
    choose_tiles(&t);
    cpu_parallel(dev, &t.task, t.tiles_down * div_up(m->d.cols, t.tile_cols),
                 m->d.rows * m->d.cols / WORK_OF_ELEMENT * t.k);
    if (m->col_sum.data)
        cpu_col_sum(dev, m->col_sum, m->d, m->add_col_sum);
}
