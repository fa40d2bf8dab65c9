/* attention_check.c - with P = softmax(scale q k^T) by rows, o = P v and D_t = dout_t . o_t:
 *
 *     dq_t = scale sum_s P_ts (dout_t . v_s - D_t) k_s        s <= t
 *     dk_s = scale sum_t P_ts (dout_t . v_s - D_t) q_t        t >= s
 *     dv_s = sum_t P_ts dout_t
 *
 * A head takes O(T^2 D) once, for lse and D; then each row looked at takes O(T D). */
#include "attention_check.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

enum { HEADS = 3, SAMPLES = 12 };

typedef enum part { Q, K, V, OUT, DOUT, DQ, DK, DV, N_PARTS } part;

/* One head of one sequence on the host: (T, D) each; lse and sums (T). */
typedef struct head {
    int64_t t, d;
    double scale;
    double *x[N_PARTS], *got_lse; /* as the device has them */
    double *lse, *out, *row_sum;  /* ours; row_sum: D_t */
} head;

static lt_err fetch(lt_dev *dev, lt_tensor x, double **out)
{
    size_t n = (size_t)(x.rows * x.cols), bytes = n * sizeof(float);
    float *host = lt_new_array0(n, sizeof *host);
    void *room = NULL;
    lt_err err;

    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_DEVICE, bytes, &room));
    dev->ops->copy(dev, lt_matrix(room, LT_F32, x.rows, x.cols), x);
    lt_dev_copy(dev, LT_STREAM_COMPUTE, host, room, bytes);
    LT_TRY(err = lt_dev_sync(dev));
    *out = lt_new_array0(n, sizeof **out);
    for (size_t i = 0; i < n; i++)
        (*out)[i] = (double)host[i];
fail:
    lt_dev_free(dev, LT_MEMORY_DEVICE, room);
    free(host);
    return err;
}

static void release(head *h)
{
    for (int i = 0; i < N_PARTS; i++)
        free(h->x[i]);
    free(h->got_lse);
    free(h->lse);
    free(h->out);
    free(h->row_sum);
}

static lt_err fetch_head(lt_dev *dev, const lt_attention *f, const lt_attention_grad *g,
                         int64_t batch, int64_t index, head *h)
{
    lt_tensor all[N_PARTS] = { [Q] = f->q, [K] = f->k, [V] = f->v, [OUT] = f->out };
    lt_err err = LT_OK;

    *h = (head){ .t = f->t_q, .d = f->head_dim, .scale = (double)f->scale };
    if (g) {
        all[DOUT] = g->dout;
        all[DQ] = g->dq;
        all[DK] = g->dk;
        all[DV] = g->dv;
    }
    for (int i = 0; i < N_PARTS; i++)
        if (all[i].data)
            LT_TRY(err = fetch(dev, lt_block(all[i], batch * h->t, h->t, index * h->d, h->d),
                               &h->x[i]));
    LT_TRY(err = fetch(dev, lt_rows(f->lse, batch * f->n_head + index, 1), &h->got_lse));
fail:
    return err;
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static double score(const head *h, int64_t t, int64_t s)
{
    return h->scale * dot(h->x[Q] + t * h->d, h->x[K] + s * h->d, h->d);
}

static double weight(const head *h, int64_t t, int64_t s)
{
    return exp(score(h, t, s) - h->lse[t]);
}

/* P_ts (dout_t . v_s - D_t), and *size what it would be if nothing cancelled. */
static double slope(const head *h, int64_t t, int64_t s, double *size)
{
    double p = weight(h, t, s), x = dot(h->x[DOUT] + t * h->d, h->x[V] + s * h->d, h->d);

    *size = p * (fabs(x) + fabs(h->row_sum[t]));
    return p * (x - h->row_sum[t]);
}

/* lse, out, row_sum of every row. */
static void forward(head *h)
{
    double *scores = lt_new_array0((size_t)h->t, sizeof *scores);

    h->lse = lt_new_array0((size_t)h->t, sizeof(double));
    h->out = lt_new_array0((size_t)(h->t * h->d), sizeof(double));
    h->row_sum = lt_new_array0((size_t)h->t, sizeof(double));
    for (int64_t t = 0; t < h->t; t++) {
        double top = -INFINITY, sum = 0, *out = h->out + t * h->d;

        for (int64_t s = 0; s <= t; s++) {
            scores[s] = score(h, t, s);
            top = fmax(top, scores[s]);
        }
        for (int64_t s = 0; s <= t; s++) {
            double p = exp(scores[s] - top);

            sum += p;
            for (int64_t i = 0; i < h->d; i++)
                out[i] += p * h->x[V][s * h->d + i];
        }
        for (int64_t i = 0; i < h->d; i++)
            out[i] /= sum;
        h->lse[t] = top + log(sum);
        if (h->x[DOUT])
            h->row_sum[t] = dot(h->x[DOUT] + t * h->d, out, h->d);
    }
    free(scores);
}

/* Row `row` of what a part should be.  *power: sum of squares of the terms before they cancel. */
static void expected(const head *h, part p, int64_t row, double *want, double *power)
{
    const double *x = p == DQ ? h->x[K] : p == DK ? h->x[Q] : h->x[DOUT];
    int64_t from = p == DQ ? 0 : row, to = p == DQ ? row + 1 : h->t;

    for (int64_t i = 0; i < h->d; i++)
        want[i] = p == OUT ? h->out[row * h->d + i] : 0;
    for (int64_t j = from; p != OUT && j < to; j++) {
        double size, f;

        if (p == DV)
            f = size = weight(h, j, row);
        else
            f = h->scale * (p == DQ ? slope(h, row, j, &size) : slope(h, j, row, &size));
        size *= p == DV ? 1 : h->scale;
        for (int64_t i = 0; i < h->d; i++) {
            want[i] += f * x[j * h->d + i];
            *power += size * x[j * h->d + i] * size * x[j * h->d + i];
        }
    }
}

static int64_t count_wrong(const double *got, const double *want, int64_t n, double power,
                           double bound)
{
    double rms = sqrt(fmax(power, dot(want, want, n)) / (double)n);
    int64_t wrong = 0;

    for (int64_t i = 0; i < n; i++)
        wrong += !(fabs(got[i] - want[i]) <= bound * (fabs(want[i]) + rms)); /* NaN is wrong */
    return wrong;
}

/* The first rows, the last, and some between. */
static int64_t place(const head *h, int i)
{
    return i == 1 && h->t > 1 ? 1 : (h->t - 1) * i / (SAMPLES - 1);
}

static void check_head(head *h, double bound, int64_t *wrong, int64_t *checked)
{
    static const part parts[] = { OUT, DQ, DK, DV };
    double *got = lt_new_array0((size_t)(SAMPLES * h->d), sizeof *got);
    double *want = lt_new_array0((size_t)(SAMPLES * h->d), sizeof *want);

    forward(h);
    *wrong += count_wrong(h->got_lse, h->lse, h->t, 0, bound);
    *checked += h->t;
    for (size_t p = 0; p < LT_COUNT(parts); p++) {
        double power = 0;

        if (!h->x[parts[p]])
            continue;
        for (int i = 0; i < SAMPLES; i++) {
            int64_t row = place(h, i);

            expected(h, parts[p], row, want + i * h->d, &power);
            memcpy(got + i * h->d, h->x[parts[p]] + row * h->d, (size_t)h->d * sizeof *got);
        }
        *wrong += count_wrong(got, want, SAMPLES * h->d, power, bound);
        *checked += SAMPLES * h->d;
    }
    free(got);
    free(want);
}

lt_err attention_check(lt_dev *dev, const lt_attention *f, const lt_attention_grad *g, double bound,
                       int64_t *wrong, int64_t *checked)
{
    int64_t n = f->n_batch * f->n_head;
    lt_err err = LT_OK;

    LT_BUG_ON(f->n_head != f->n_kv_head || f->t_q != f->t_k || !f->causal);
    *wrong = *checked = 0;
    for (int i = 0; i < HEADS && i < n && err == LT_OK; i++) {
        int64_t at = n > HEADS ? (n - 1) * i / (HEADS - 1) : i;
        head h;

        err = fetch_head(dev, f, g, at / f->n_head, at % f->n_head, &h);
        if (err == LT_OK)
            check_head(&h, bound, wrong, checked);
        release(&h);
    }
    return err;
}
