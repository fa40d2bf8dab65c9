/* gemm_check.c - dot products in double from the very inputs, and the error that each may have. */
#include "gemm_check.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

enum { LINES = 8 }; /* rows and columns that are looked at */

typedef struct check {
    lt_dev *dev;
    const lt_matmul *m;
    void *room; /* device: one line in fp32 */
    double scale;
    int wrong, checked;
} check;

/* Half the distance between neighbours, relative. */
static double unit_of(lt_dtype t)
{
    return t == LT_BF16 ? 0x1p-8 : t == LT_F16 ? 0x1p-11 : 0x1p-24;
}

/* A row or a column of a matrix on the device, as doubles; free() it. */
static lt_err fetch_line(check *c, lt_tensor line, double **out)
{
    size_t n = (size_t)(line.rows * line.cols);
    lt_tensor flat = lt_matrix(c->room, LT_F32, line.rows, line.cols);
    float *host = lt_new_array0(n, sizeof *host);
    lt_err err;

    c->dev->ops->copy(c->dev, flat, line);
    lt_dev_copy(c->dev, LT_STREAM_COMPUTE, host, c->room, n * sizeof *host);
    LT_TRY(err = lt_dev_sync(c->dev));
    *out = lt_new_array0(n, sizeof **out);
    for (size_t i = 0; i < n; i++)
        (*out)[i] = (double)host[i];
fail:
    free(host);
    return err;
}

/* Line i of t when `down` is false, else column i. */
static lt_tensor line_of(lt_tensor t, int64_t i, bool down)
{
    return down ? lt_block(t, 0, t.rows, i, 1) : lt_rows(t, i, 1);
}

static int64_t place(int i, int64_t n, uint64_t stream)
{
    if (i == 0)
        return 0;
    return i == LINES - 1 ? n - 1 : (int64_t)(lt_random_u64(11, stream, (uint64_t)i) % (uint64_t)n);
}

static void judge(check *c, double got, double want, double bound)
{
    c->checked++;
    if (!(fabs(got - want) <= c->scale * bound)) /* NaN is wrong */
        c->wrong++;
}

static double gelu(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static double gelu_slope(double x)
{
    double k = sqrt(2 / M_PI), t = tanh(k * (x + 0.044715 * x * x * x));

    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k * (1 + 3 * 0.044715 * x * x);
}

/* The dot product of two lines, and the error that fp32 may make in it: rounding that goes up and
 * down grows with the square root of the length, sums that are cut (tensor cores) with the length.
 * The typical partial sum is the length of the vector of products. */
static double dot(const double *a, const double *b, int64_t n, double *error)
{
    double sum = 0, squares = 0, partial;

    for (int64_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
        squares += a[i] * b[i] * a[i] * b[i];
    }
    partial = fmax(sqrt(squares), fabs(sum));
    *error = 0x1p-24 * partial * (8 * sqrt((double)n) + (double)n / 8);
    return sum;
}

/* aux: the element there, before or after the call; d: the element found. */
static void judge_element(check *c, double sum, double error, double d, double aux)
{
    const lt_matmul *m = c->m;
    double unit = unit_of(m->d.dtype), tiny = m->d.dtype == LT_F16 ? 0x1p-24 : 1e-30;
    double want = sum;

    error += unit * fabs(sum) + tiny; /* a sum may have been rounded before it went on */
    switch (m->epilogue) {
    case LT_EPI_NONE:
        break;
    case LT_EPI_ACT:
        if (m->aux.data)
            judge(c, aux, sum, error);
        want = gelu(sum);
        error = 1.13 * error + 2 * unit * fabs(want) + (1e-6 + unit / 4) * fabs(sum);
        break;
    case LT_EPI_DACT:
        want = sum * gelu_slope(aux);
        error = 1.13 * error + 2 * unit * fabs(want) + (1e-5 + 4 * unit) * fabs(sum);
        break;
    }
    judge(c, d, want, error);
}

/* Eight elements of one row. */
static lt_err check_row(check *c, int64_t row, double *const *columns, const double *bias)
{
    const lt_matmul *m = c->m;
    int64_t k = m->trans_a ? m->a.rows : m->a.cols;
    double *a = NULL, *d = NULL, *aux = NULL;
    lt_err err;

    LT_TRY(err = fetch_line(c, line_of(m->a, row, m->trans_a), &a));
    LT_TRY(err = fetch_line(c, line_of(m->d, row, false), &d));
    if (m->aux.data)
        LT_TRY(err = fetch_line(c, line_of(m->aux, row, false), &aux));
    for (int i = 0; i < LINES; i++) {
        int64_t col = place(i, m->d.cols, 2);
        double error, sum = dot(a, columns[i], k, &error) + (bias ? bias[col] : 0);

        judge_element(c, sum, error, d[col], aux ? aux[col] : 0);
    }
fail:
    free(a);
    free(d);
    free(aux);
    return err;
}

/* Column sums of what stands in d; they may have been taken before it was rounded. */
static lt_err check_col_sums(check *c)
{
    const lt_matmul *m = c->m;
    double *sums = NULL, *d = NULL;
    lt_err err;

    LT_TRY(err = fetch_line(c, m->col_sum, &sums));
    for (int i = 0; i < LINES; i++) {
        int64_t col = place(i, m->d.cols, 2), n = m->d.rows;
        double want = 0, size = 0;

        LT_TRY(err = fetch_line(c, line_of(m->d, col, true), &d));
        for (int64_t row = 0; row < n; row++) {
            want += d[row];
            size += fabs(d[row]);
        }
        judge(c, sums[col], want,
              (unit_of(m->d.dtype) + 0x1p-24 * 4 * sqrt((double)n)) * size + 1e-30);
        free(d);
        d = NULL;
    }
fail:
    free(sums);
    free(d);
    return err;
}

lt_err gemm_check(lt_dev *dev, const lt_matmul *m, double scale, int *wrong, int *checked)
{
    check c = { .dev = dev, .m = m, .scale = scale };
    int64_t k = m->trans_a ? m->a.rows : m->a.cols, longest = k;
    double *columns[LINES] = { NULL }, *bias = NULL;
    lt_err err;

    longest = m->d.rows > longest ? m->d.rows : longest;
    longest = m->d.cols > longest ? m->d.cols : longest;
    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_DEVICE, (size_t)longest * sizeof(float), &c.room));
    if (m->bias.data)
        LT_TRY(err = fetch_line(&c, m->bias, &bias));
    for (int i = 0; i < LINES; i++)
        LT_TRY(err =
                   fetch_line(&c, line_of(m->b, place(i, m->d.cols, 2), !m->trans_b), &columns[i]));
    for (int i = 0; i < LINES; i++)
        LT_TRY(err = check_row(&c, place(i, m->d.rows, 1), columns, bias));
    if (m->col_sum.data)
        LT_TRY(err = check_col_sums(&c));
    *wrong = c.wrong;
    *checked = c.checked;
fail:
    for (int i = 0; i < LINES; i++)
        free(columns[i]);
    free(bias);
    lt_dev_free(dev, LT_MEMORY_DEVICE, c.room);
    return err;
}
