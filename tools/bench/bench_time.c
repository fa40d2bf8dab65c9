/* bench_time.c - bursts and steady rates; the square product and the copy that others are held
 * against. */
#include "bench_time.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"

#include <stdlib.h>

static const double batch_seconds = 4e-3;

static lt_err time_batch(lt_dev *dev, bench_call *call, int64_t n, double *seconds)
{
    double start = lt_now();
    lt_err err;

    for (int64_t i = 0; i < n; i++)
        call->run(call, dev);
    err = lt_dev_sync(dev);
    *seconds = lt_now() - start;
    return err;
}

lt_err bench_time(lt_dev *dev, bench_call *call, double seconds, bench_seconds *out)
{
    double s, spent = 0, hot = 0;
    int64_t n = 1, hot_calls = 0;
    lt_err err;

    LT_TRY(err = time_batch(dev, call, 1, &s)); /* choices, first touch */
    LT_TRY(err = time_batch(dev, call, 1, &s));
    out->best = s;
    while (n < 4096 && (double)n * s < batch_seconds)
        n *= 2;
    while (spent < seconds || hot_calls < 3) {
        LT_TRY(err = time_batch(dev, call, n, &s));
        out->best = s / (double)n < out->best ? s / (double)n : out->best;
        if (spent >= 0.5 * seconds) {
            hot += s;
            hot_calls += n;
        }
        spent += s;
    }
    out->steady = hot / (double)hot_calls;
fail:
    return err;
}

/* ---- the square */

typedef struct square_call {
    bench_call call;
    lt_tensor m[3];
} square_call;

static void run_square(bench_call *call, lt_dev *dev)
{
    const lt_tensor *m = ((square_call *)call)->m;

    dev->ops->matmul(dev, &(lt_matmul){ .d = m[0], .a = m[1], .b = m[2], .trans_b = true });
}

lt_dev_need bench_need_products(const lt_dev *dev, lt_dtype act, int64_t rows, int64_t cols)
{
    return (lt_dev_need){ .act = act,
                          .grad = LT_F32,
                          .rows = rows,
                          .n_embd = cols,
                          .n_inner = cols,
                          .n_vocab = cols,
                          .chunk_rows = rows,
                          .n_head = 1,
                          .n_kv_head = 1,
                          .head_dim = 64,
                          .n_batch = 1,
                          .t_q = 1,
                          .t_k = 1,
                          .n_threads = dev->pool ? lt_pool_size(dev->pool) : 0 };
}

lt_err bench_time_square(lt_dev *dev, lt_dtype act, int64_t n, double seconds, bench_seconds *out)
{
    lt_dev_need need = bench_need_products(dev, act, n, n);
    size_t bytes = (size_t)(n * n) * lt_dtype_bytes(act);
    square_call square = { .call = { run_square } };
    float *host = lt_new_array0((size_t)(n * n), sizeof *host);
    void *typed = lt_new0(bytes);
    lt_err err;

    for (int64_t i = 0; i < n * n; i++)
        host[i] = (float)lt_random_unit(1, 2, (uint64_t)i) - 0.5f;
    lt_convert(typed, act, host, LT_F32, (size_t)(n * n));
    LT_TRY(err = lt_dev_reserve(dev, &need));
    for (int i = 0; i < 3; i++) {
        void *data = NULL;

        LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_DEVICE, bytes, &data));
        square.m[i] = lt_matrix(data, act, n, n);
        lt_dev_copy(dev, LT_STREAM_COMPUTE, data, typed, bytes);
    }
    LT_TRY(err = bench_time(dev, &square.call, seconds, out));
fail:
    for (int i = 0; i < 3; i++)
        lt_dev_free(dev, LT_MEMORY_DEVICE, square.m[i].data);
    free(host);
    free(typed);
    return err;
}

double bench_square_rate(int64_t n, double seconds)
{
    return 2.0 * (double)n * (double)n * (double)n / seconds;
}

/* ---- the copy */

typedef struct copy_call {
    bench_call call;
    lt_tensor to, from;
} copy_call;

static void run_copy(bench_call *call, lt_dev *dev)
{
    const copy_call *c = (const copy_call *)call;

    dev->ops->copy(dev, c->to, c->from);
}

lt_err bench_copy_rate(lt_dev *dev, int64_t bytes, double *bytes_per_s)
{
    enum { COLS = 1024 };
    int64_t rows = (bytes + COLS * 4 - 1) / (COLS * 4);
    copy_call copy = { .call = { run_copy } };
    void *data[2] = { NULL };
    bench_seconds s = { 0 };
    lt_err err;

    for (int i = 0; i < 2; i++)
        LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_DEVICE, (size_t)rows * COLS * 4, &data[i]));
    copy.to = lt_matrix(data[0], LT_F32, rows, COLS);
    copy.from = lt_matrix(data[1], LT_F32, rows, COLS);
    LT_TRY(err = bench_time(dev, &copy.call, 0.05, &s));
    *bytes_per_s = 2.0 * (double)rows * COLS * 4 / s.best;
fail:
    for (int i = 0; i < 2; i++)
        lt_dev_free(dev, LT_MEMORY_DEVICE, data[i]);
    return err;
}
