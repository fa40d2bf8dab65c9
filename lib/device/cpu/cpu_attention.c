/* device/cpu/cpu_attention.c - attention forward and backward.
 *
 * One task is one (sequence, kv head) with the query heads that read it; a task walks its queries
 * in blocks of CPU_QUERY_BLOCK rows against the keys that any of them may see:
 *
 *         keys 0 ........ lo ............... hi ........ Tk       S = scale Q K^T  (block, hi - lo)
 *     query block         [ scores          ]                     masked entries hold probability 0
 *
 * Matrix products go to one-threaded OpenBLAS calls; bf16 operands are widened once a task.  The
 * backward pass recomputes probabilities from lse (FlashAttention's form; Dao et al. 2022). */
#include "device/cpu/cpu.h"
#include "device/cpu/cpu_math.h"

#include <cblas.h>
#include <math.h>

/* A head's matrix as fp32: in place, or widened. */
typedef struct head_view {
    float *data;
    int ld;
} head_view;

typedef struct attention_task {
    lt_task task;
    lt_dev *dev;
    const lt_attention *a;
    const lt_attention_grad *g; /* NULL in the forward pass */
} attention_task;

/* Buffers of one worker. */
typedef struct work {
    float *scores, *dscores;       /* (CPU_QUERY_BLOCK, Tk) */
    float *q, *k, *v, *out, *dout; /* widened (T, D) */
    float *dq, *dk, *dv;           /* narrow results before rounding (T, D) */
} work;

static work work_of(const attention_task *t, int worker)
{
    const lt_attention *a = t->a;
    size_t longest = (size_t)(a->t_q > a->t_k ? a->t_q : a->t_k);
    size_t head = longest * (size_t)a->head_dim, block = CPU_QUERY_BLOCK * longest, used = 0;
    work w;

    for (int i = 0; i <= worker; i++) {
        w.scores = cpu_scratch(t->dev, &used, block);
        w.dscores = cpu_scratch(t->dev, &used, block);
        w.q = cpu_scratch(t->dev, &used, head);
        w.k = cpu_scratch(t->dev, &used, head);
        w.v = cpu_scratch(t->dev, &used, head);
        w.out = cpu_scratch(t->dev, &used, head);
        w.dout = cpu_scratch(t->dev, &used, head);
        w.dq = cpu_scratch(t->dev, &used, head);
        w.dk = cpu_scratch(t->dev, &used, head);
        w.dv = cpu_scratch(t->dev, &used, head);
    }
    return w;
}

/* Rows [first, first + n) of head `head`, to be read. */
static head_view head_load(lt_tensor t, int64_t first, int64_t n, int64_t head, int64_t d,
                           float *buf)
{
    lt_tensor b = lt_block(t, first, n, head * d, d);

    if (t.dtype == LT_F32)
        return (head_view){ b.data, (int)t.stride };
    for (int64_t row = 0; row < n; row++)
        cpu_row_load(b, row, buf + row * d);
    return (head_view){ buf, (int)d };
}

/* The same to be written: head_store rounds what went into a buffer. */
static head_view head_open(lt_tensor t, int64_t first, int64_t n, int64_t head, int64_t d,
                           float *buf)
{
    if (t.dtype == LT_F32)
        return (head_view){ lt_at(lt_block(t, first, n, head * d, d), 0, 0), (int)t.stride };
    return (head_view){ buf, (int)d };
}

static void head_store(lt_tensor t, int64_t first, int64_t n, int64_t head, int64_t d,
                       head_view from)
{
    lt_tensor b = lt_block(t, first, n, head * d, d);

    for (int64_t row = 0; t.dtype != LT_F32 && row < n; row++)
        cpu_row_store(b, row, from.data + row * from.ld);
}

static void head_zero(head_view h, int64_t n, int64_t d)
{
    for (int64_t row = 0; row < n; row++)
        memset(h.data + row * h.ld, 0, (size_t)d * sizeof(float));
}

static void gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int64_t m, int64_t n, int64_t k,
                 float alpha, head_view a, head_view b, float beta, head_view c)
{
    cblas_sgemm(CblasRowMajor, ta, tb, (int)m, (int)n, (int)k, alpha, a.data, a.ld, b.data, b.ld,
                beta, c.data, c.ld);
}

static head_view from_row(head_view h, int64_t row)
{
    return (head_view){ h.data + row * h.ld, h.ld };
}

/* The keys [*lo, *hi) that query row t of sequence b may see. */
static void visible(const lt_attention *a, int64_t b, int64_t t, int64_t *lo, int64_t *hi)
{
    *lo = a->doc_start.data ? lt_i32(a->doc_start)[b * a->t_q + t] : 0;
    *hi = a->causal ? t + (a->t_k - a->t_q) + 1 : a->t_k;
}

static void visible_block(const lt_attention *a, int64_t b, int64_t first, int64_t n, int64_t *lo,
                          int64_t *hi)
{
    int64_t l, h;

    visible(a, b, first, lo, hi);
    for (int64_t i = 1; i < n; i++) {
        visible(a, b, first + i, &l, &h);
        *lo = l < *lo ? l : *lo;
        *hi = h > *hi ? h : *hi;
    }
}

/* Row of scores over keys [lo, hi) -> probabilities, 0 where masked; returns log sum exp. */
static float softmax_row(float *s, int64_t lo, int64_t hi, int64_t see_lo, int64_t see_hi)
{
    float max, sum = 0;
    int64_t from = see_lo - lo, to = see_hi - lo;

    LT_BUG_ON(from < 0 || from >= to || see_hi > hi);
    memset(s, 0, (size_t)from * sizeof *s);
    memset(s + to, 0, (size_t)(hi - see_hi) * sizeof *s);
    max = cpu_max(s + from, to - from);
#pragma omp simd reduction(+ : sum)
    for (int64_t i = from; i < to; i++) {
        s[i] = cpu_expf(s[i] - max);
        sum += s[i];
    }
#pragma omp simd
    for (int64_t i = from; i < to; i++)
        s[i] /= sum;
    return max + logf(sum);
}

static void attention_head(const attention_task *t, int64_t b, int64_t h, head_view k, head_view v,
                           work w)
{
    const lt_attention *a = t->a;
    int64_t d = a->head_dim, tq = a->t_q, lo, hi, see_lo, see_hi;
    head_view q = head_load(a->q, b * tq, tq, h, d, w.q);
    head_view out = head_open(a->out, b * tq, tq, h, d, w.out);

    for (int64_t first = 0; first < tq; first += CPU_QUERY_BLOCK) {
        int64_t n = tq - first < CPU_QUERY_BLOCK ? tq - first : CPU_QUERY_BLOCK;
        head_view s;

        visible_block(a, b, first, n, &lo, &hi);
        s = (head_view){ w.scores, (int)(hi - lo) };
        gemm(CblasNoTrans, CblasTrans, n, hi - lo, d, a->scale, from_row(q, first), from_row(k, lo),
             0, s);
        for (int64_t i = 0; i < n; i++) {
            float lse;

            visible(a, b, first + i, &see_lo, &see_hi);
            lse = softmax_row(s.data + i * s.ld, lo, hi, see_lo, see_hi);
            if (a->lse.data)
                lt_f32(lt_rows(a->lse, b * a->n_head + h, 1))[first + i] = lse;
        }
        gemm(CblasNoTrans, CblasNoTrans, n, d, hi - lo, 1, s, from_row(v, lo), 0,
             from_row(out, first));
    }
    head_store(a->out, b * tq, tq, h, d, out);
}

static void attention_run(lt_task *task, int64_t index, int worker)
{
    attention_task *t = (attention_task *)task;
    const lt_attention *a = t->a;
    int64_t b = index / a->n_kv_head, kv = index % a->n_kv_head, group = a->n_head / a->n_kv_head;
    work w = work_of(t, worker);
    head_view k = head_load(a->k, b * a->kv_rows, a->t_k, kv, a->head_dim, w.k);
    head_view v = head_load(a->v, b * a->kv_rows, a->t_k, kv, a->head_dim, w.v);

    for (int64_t h = kv * group; h < (kv + 1) * group; h++)
        attention_head(t, b, h, k, v, w);
}

static void check(const lt_attention *a)
{
    LT_BUG_ON(a->n_head % a->n_kv_head != 0 || a->kv_rows < a->t_k ||
              (a->causal && a->t_k < a->t_q));
    LT_BUG_ON(a->q.rows != a->n_batch * a->t_q || a->q.cols != a->n_head * a->head_dim);
    LT_BUG_ON(a->k.cols != a->n_kv_head * a->head_dim || a->v.cols != a->k.cols);
    LT_BUG_ON(a->out.rows != a->q.rows || a->out.cols != a->q.cols);
    LT_BUG_ON(a->lse.data && (a->lse.rows != a->n_batch * a->n_head || a->lse.cols != a->t_q));
}

void cpu_attention(lt_dev *dev, const lt_attention *a)
{
    attention_task t = { { attention_run }, dev, a, NULL };

    check(a);
    cpu_parallel(dev, &t.task, a->n_batch * a->n_kv_head,
                 a->n_batch * a->n_head * a->t_q * a->t_k * a->head_dim / 8);
}

/* dS = P (dP - delta) for one row, P = exp(S - lse) where visible; s: S -> P, ds: dP -> dS. */
static void grad_row(float *s, float *ds, int64_t n, int64_t from, int64_t to, float lse,
                     float delta)
{
    memset(s, 0, (size_t)from * sizeof *s);
    memset(ds, 0, (size_t)from * sizeof *ds);
    memset(s + to, 0, (size_t)(n - to) * sizeof *s);
    memset(ds + to, 0, (size_t)(n - to) * sizeof *ds);
#pragma omp simd
    for (int64_t i = from; i < to; i++) {
        s[i] = cpu_expf(s[i] - lse);
        ds[i] = s[i] * (ds[i] - delta);
    }
}

static void grad_head(const attention_task *t, int64_t b, int64_t h, head_view k, head_view v,
                      head_view dk, head_view dv, work w)
{
    const lt_attention *a = t->a;
    const lt_attention_grad *g = t->g;
    int64_t d = a->head_dim, tq = a->t_q, lo, hi, see_lo, see_hi;
    head_view q = head_load(a->q, b * tq, tq, h, d, w.q);
    head_view out = head_load(a->out, b * tq, tq, h, d, w.out);
    head_view dout = head_load(g->dout, b * tq, tq, h, d, w.dout);
    head_view dq = head_open(g->dq, b * tq, tq, h, d, w.dq);
    const float *lse = lt_f32(lt_rows(a->lse, b * a->n_head + h, 1));

    for (int64_t first = 0; first < tq; first += CPU_QUERY_BLOCK) {
        int64_t n = tq - first < CPU_QUERY_BLOCK ? tq - first : CPU_QUERY_BLOCK;
        head_view s, ds;

        visible_block(a, b, first, n, &lo, &hi);
        s = (head_view){ w.scores, (int)(hi - lo) };
        ds = (head_view){ w.dscores, (int)(hi - lo) };
        gemm(CblasNoTrans, CblasTrans, n, hi - lo, d, a->scale, from_row(q, first), from_row(k, lo),
             0, s);
        gemm(CblasNoTrans, CblasTrans, n, hi - lo, d, 1, from_row(dout, first), from_row(v, lo), 0,
             ds);
        for (int64_t i = 0; i < n; i++) {
            const float *o = out.data + (first + i) * out.ld,
                        *go = dout.data + (first + i) * dout.ld;
            float delta = 0;

#pragma omp simd reduction(+ : delta)
            for (int64_t j = 0; j < d; j++)
                delta += o[j] * go[j];
            visible(a, b, first + i, &see_lo, &see_hi);
            grad_row(s.data + i * s.ld, ds.data + i * ds.ld, hi - lo, see_lo - lo, see_hi - lo,
                     lse[first + i], delta);
        }
        gemm(CblasTrans, CblasNoTrans, hi - lo, d, n, 1, s, from_row(dout, first), 1,
             from_row(dv, lo));
        gemm(CblasTrans, CblasNoTrans, hi - lo, d, n, a->scale, ds, from_row(q, first), 1,
             from_row(dk, lo));
        gemm(CblasNoTrans, CblasNoTrans, n, d, hi - lo, a->scale, ds, from_row(k, lo), 0,
             from_row(dq, first));
    }
    head_store(g->dq, b * tq, tq, h, d, dq);
}

static void attention_grad_run(lt_task *task, int64_t index, int worker)
{
    attention_task *t = (attention_task *)task;
    const lt_attention *a = t->a;
    int64_t b = index / a->n_kv_head, kv = index % a->n_kv_head, group = a->n_head / a->n_kv_head;
    int64_t d = a->head_dim, tk = a->t_k, row = b * a->kv_rows;
    work w = work_of(t, worker);
    head_view k = head_load(a->k, row, tk, kv, d, w.k), v = head_load(a->v, row, tk, kv, d, w.v);
    head_view dk = head_open(t->g->dk, row, tk, kv, d, w.dk);
    head_view dv = head_open(t->g->dv, row, tk, kv, d, w.dv);

    head_zero(dk, tk, d);
    head_zero(dv, tk, d);
    for (int64_t h = kv * group; h < (kv + 1) * group; h++)
        grad_head(t, b, h, k, v, dk, dv, w);
    head_store(t->g->dk, row, tk, kv, d, dk);
    head_store(t->g->dv, row, tk, kv, d, dv);
}

void cpu_attention_grad(lt_dev *dev, const lt_attention_grad *g)
{
    attention_task t = { { attention_grad_run }, dev, &g->fwd, g };

    check(&g->fwd);
    LT_BUG_ON(!g->fwd.lse.data || g->dq.cols != g->fwd.q.cols || g->dk.cols != g->fwd.k.cols);
    cpu_parallel(dev, &t.task, g->fwd.n_batch * g->fwd.n_kv_head,
                 g->fwd.n_batch * g->fwd.n_head * g->fwd.t_q * g->fwd.t_k * g->fwd.head_dim / 4);
}
