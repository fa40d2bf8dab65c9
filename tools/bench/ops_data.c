/* ops_data.c - the tensors of lt-bench ops: filled, compared. */
#include "ops_data.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

enum { BLOCK = (1 << 20) + 7 };

static double log_uniform(uint64_t i, int64_t n)
{
    return floor(exp(lt_random_unit(5, 5, i) * log((double)n + 1))) - 1;
}

static void set_state(lt_step_state *state)
{
    *state = (lt_step_state){ .lr = 1e-4f,
                              .grad_scale = 0.125f,
                              .inv_scale = 1,
                              .adam_t = 3,
                              .bias1 = 0.271f,
                              .bias2_sqrt = 0.377f,
                              .clip = 0.5f };
}

/* One period of item i, rounded to its own type and then in `dtype`; returns its elements. */
static int64_t make_period(const float *block, const ops_list *l, const ops_shape *s, int i,
                           lt_dtype dtype, void *out)
{
    const ops_tensor *x = &l->items[i];
    int64_t size = x->rows * x->cols, n = size < BLOCK ? size : BLOCK;
    float *values;
    char *narrow;

    if (x->fill == OPS_STATE) {
        set_state(out);
        return size;
    }
    if (x->fill == OPS_IDS || x->fill == OPS_PLACES) {
        for (int64_t j = 0; j < n; j++)
            ((int32_t *)out)[j] = x->fill == OPS_IDS ? (int32_t)log_uniform((uint64_t)j, s->n_vocab)
                                                     : (int32_t)(j % OPS_CONTEXT);
        return n;
    }
    values = lt_new_array0((size_t)n, sizeof *values);
    narrow = lt_new_array0((size_t)n, sizeof(double));
    for (int64_t j = 0; j < n; j++) {
        float v = block[(j + 4099 * i) % BLOCK];

        values[j] = x->fill == OPS_POSITIVE ? 0.1f + fabsf(v)
                    : x->fill == OPS_SMALL  ? 0.05f * v
                                            : v;
    }
    lt_convert(narrow, x->dtype, values, LT_F32, (size_t)n);
    lt_convert(out, dtype, narrow, x->dtype, (size_t)n);
    free(values);
    free(narrow);
    return n;
}

/* Type of item i on a device: the CPU that others are compared with works in fp32. */
static lt_dtype dtype_on(const ops_tensor *x, bool widen)
{
    return widen && (x->dtype == LT_BF16 || x->dtype == LT_F16) ? LT_F32 : x->dtype;
}

void ops_release(lt_dev *dev, const ops_list *l, lt_tensor *t)
{
    for (int i = 0; i < l->n; i++)
        lt_dev_free(dev, LT_MEMORY_DEVICE, t[i].data);
}

lt_err ops_make(const float *block, lt_dev *dev, const ops_list *l, const ops_shape *s, bool widen,
                lt_tensor *t)
{
    void *period = lt_new_array0(BLOCK, sizeof(double));
    lt_err err = LT_OK;

    for (int i = 0; i < l->n; i++)
        t[i] = lt_absent();
    for (int i = 0; i < l->n; i++) {
        const ops_tensor *x = &l->items[i];
        lt_dtype dtype = dtype_on(x, widen);
        size_t size = lt_dtype_bytes(dtype), all = (size_t)(x->rows * x->cols) * size, done;
        void *data = NULL;

        LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_DEVICE, all, &data));
        t[i] = lt_matrix(data, dtype, x->rows, x->cols);
        done = (size_t)make_period(block, l, s, i, dtype, period) * size;
        lt_dev_copy(dev, LT_STREAM_COMPUTE, data, period, done);
        for (size_t n; done < all; done += n) {
            n = done < all - done ? done : all - done;
            lt_dev_copy(dev, LT_STREAM_COMPUTE, (char *)data + done, data, n);
        }
        LT_TRY(err = lt_dev_sync(dev));
    }
fail:
    if (err)
        ops_release(dev, l, t);
    free(period);
    return err;
}

static lt_err fetch(lt_dev *dev, lt_tensor t, float **out)
{
    size_t n = (size_t)(t.rows * t.cols);
    void *raw = lt_new_array0(n, lt_dtype_bytes(t.dtype));
    lt_err err;

    lt_dev_copy(dev, LT_STREAM_COMPUTE, raw, t.data, n * lt_dtype_bytes(t.dtype));
    LT_TRY(err = lt_dev_sync(dev));
    *out = lt_new_array0(n, sizeof **out);
    lt_convert(*out, LT_F32, raw, t.dtype, n);
fail:
    free(raw);
    return err;
}

static double largest_error(const float *got, const float *want, size_t n)
{
    double squares = 0, rms, worst = 0;

    for (size_t i = 0; i < n; i++)
        squares += (double)want[i] * (double)want[i];
    rms = sqrt(squares / (double)n) + 1e-30;
    for (size_t i = 0; i < n; i++) {
        double e = fabs((double)got[i] - (double)want[i]) / (fabs((double)want[i]) + rms);

        if (!(e <= worst))
            worst = isnan(e) ? INFINITY : e;
    }
    return worst;
}

lt_err ops_error(lt_dev *dev, lt_tensor got, lt_dev *ref, lt_tensor want, double *error)
{
    float *a = NULL, *b = NULL;
    lt_err err;

    LT_TRY(err = fetch(dev, got, &a));
    LT_TRY(err = fetch(ref, want, &b));
    *error = largest_error(a, b, (size_t)(want.rows * want.cols));
fail:
    free(a);
    free(b);
    return err;
}

float *ops_block(void)
{
    float *block = lt_new_array0(BLOCK, sizeof *block);

    for (int64_t i = 0; i < BLOCK; i++)
        block[i] = (float)lt_random_normal(1, 1, (uint64_t)i);
    return block;
}
