/* tests/device/test_ops_attention.c - attention and its gradient against sums in double. */
#include "op_case.h"

typedef struct shape {
    int64_t n_batch, n_head, n_kv_head, t_q, t_k, head_dim;
    int64_t kv_rows; /* 0: t_k */
    bool causal, docs, packed;
    bool aligned; /* rows on 16-byte boundaries, lse dense: what cuDNN takes on a GPU */
} shape;

/* Dense: q, out, dout, dq (B, Tq, H, D); k, v, dk, dv (B, Tk, Hkv, D); lse (B, H, Tq). */
typedef struct reference {
    shape s;
    double scale;
    const int32_t *doc_start; /* (B, Tq) or NULL */
    double *q, *k, *v, *dout;
    double *out, *lse, *dq, *dk, *dv;
    double *p; /* (Tk) one row of probabilities */
} reference;

static double *q_at(const reference *r, double *q, int64_t b, int64_t t, int64_t h)
{
    return q + ((b * r->s.t_q + t) * r->s.n_head + h) * r->s.head_dim;
}

static double *k_at(const reference *r, double *k, int64_t b, int64_t t, int64_t h)
{
    int64_t kv_head = h / (r->s.n_head / r->s.n_kv_head);

    return k + ((b * r->s.t_k + t) * r->s.n_kv_head + kv_head) * r->s.head_dim;
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void axpy(double *y, double a, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

static bool is_visible(const reference *r, int64_t b, int64_t t, int64_t s)
{
    if (r->s.causal && s > t + r->s.t_k - r->s.t_q)
        return false;
    return !r->doc_start || s >= r->doc_start[b * r->s.t_q + t];
}

/* r->p = probabilities of query t of head h; returns log sum exp. */
static double softmax_row(const reference *r, int64_t b, int64_t t, int64_t h)
{
    double max = -INFINITY, sum = 0;

    for (int64_t s = 0; s < r->s.t_k; s++) {
        r->p[s] = -INFINITY;
        if (is_visible(r, b, t, s))
            r->p[s] = r->scale * dot(q_at(r, r->q, b, t, h), k_at(r, r->k, b, s, h), r->s.head_dim);
        max = fmax(max, r->p[s]);
    }
    for (int64_t s = 0; s < r->s.t_k; s++)
        sum += exp(r->p[s] - max);
    for (int64_t s = 0; s < r->s.t_k; s++)
        r->p[s] = exp(r->p[s] - max) / sum;
    return max + log(sum);
}

static void forward(const reference *r)
{
    for (int64_t b = 0; b < r->s.n_batch; b++)
        for (int64_t t = 0; t < r->s.t_q; t++)
            for (int64_t h = 0; h < r->s.n_head; h++) {
                double *out = q_at(r, r->out, b, t, h);

                r->lse[(b * r->s.n_head + h) * r->s.t_q + t] = softmax_row(r, b, t, h);
                memset(out, 0, (size_t)r->s.head_dim * sizeof *out);
                for (int64_t s = 0; s < r->s.t_k; s++)
                    axpy(out, r->p[s], k_at(r, r->v, b, s, h), r->s.head_dim);
            }
}

/* Adds to dq, dk, dv what query t of head h contributes. */
static void backward_row(const reference *r, int64_t b, int64_t t, int64_t h)
{
    const double *dout = q_at(r, r->dout, b, t, h);
    double delta = dot(dout, q_at(r, r->out, b, t, h), r->s.head_dim);

    softmax_row(r, b, t, h);
    for (int64_t s = 0; s < r->s.t_k; s++) {
        double dp = dot(dout, k_at(r, r->v, b, s, h), r->s.head_dim);
        double ds = r->p[s] * (dp - delta) * r->scale;

        axpy(k_at(r, r->dv, b, s, h), r->p[s], dout, r->s.head_dim);
        axpy(k_at(r, r->dk, b, s, h), ds, q_at(r, r->q, b, t, h), r->s.head_dim);
        axpy(q_at(r, r->dq, b, t, h), ds, k_at(r, r->k, b, s, h), r->s.head_dim);
    }
}

static void backward(const reference *r)
{
    for (int64_t b = 0; b < r->s.n_batch; b++)
        for (int64_t t = 0; t < r->s.t_q; t++)
            for (int64_t h = 0; h < r->s.n_head; h++)
                backward_row(r, b, t, h);
}

static int64_t q_count(const shape *s)
{
    return s->n_batch * s->t_q * s->n_head * s->head_dim;
}

static int64_t k_count(const shape *s)
{
    return s->n_batch * s->t_k * s->n_kv_head * s->head_dim;
}

static void reference_init(reference *r, const shape *s)
{
    r->s = *s;
    r->scale = 1 / sqrt((double)s->head_dim);
    r->out = op_array(q_count(s));
    r->dq = op_array(q_count(s));
    r->dk = op_array(k_count(s));
    r->dv = op_array(k_count(s));
    r->lse = op_array(s->n_batch * s->n_head * s->t_q);
    r->p = op_array(s->t_k);
}

/* Documents of 1 to 9 tokens: doc_start of each row, in keys. */
static op_tensor *new_doc_start(const shape *s)
{
    op_tensor *t = op_new(LT_I32, 1, s->n_batch * s->t_q, OP_IN);

    for (int64_t b = 0; b < s->n_batch; b++)
        for (int32_t i = 0, start = 0; i < s->t_q; i++) {
            int64_t row = b * s->t_q + i;

            if (lt_random_u64(5, 5, (uint64_t)row) % 9 == 0)
                start = i;
            op_i32(t)[row] = start;
        }
    return t;
}

static double loss(void *arg)
{
    const reference *r = arg;

    forward(r);
    return dot(r->out, r->dout, q_count(&r->s));
}

LT_TEST(attention_reference_is_the_derivative)
{
    const shape s = { 2, 4, 2, 5, 7, 3, 0, true, true, false };
    reference r = { 0 };

    LT_CHECK_OK(op_begin());
    r.q = op_values(op_new(LT_F32, 1, q_count(&s), OP_IN)->sent);
    r.dout = op_values(op_new(LT_F32, 1, q_count(&s), OP_IN)->sent);
    r.k = op_values(op_new(LT_F32, 1, k_count(&s), OP_IN)->sent);
    r.v = op_values(op_new(LT_F32, 1, k_count(&s), OP_IN)->sent);
    r.doc_start = op_i32(new_doc_start(&s));
    reference_init(&r, &s);
    forward(&r);
    backward(&r);
    LT_CHECK_NEAR(op_slope_error(loss, &r, r.q, r.dq, q_count(&s)), 0, 1e-6);
    LT_CHECK_NEAR(op_slope_error(loss, &r, r.k, r.dk, k_count(&s)), 0, 1e-6);
    LT_CHECK_NEAR(op_slope_error(loss, &r, r.v, r.dv, k_count(&s)), 0, 1e-6);
}

/* ---- the operation */

/* q, k and v as three tensors, or as columns of one: [ q | k | v ]. */
typedef struct qkv {
    op_tensor *whole[3];
    int64_t col[3], cols[3];
} qkv;

static op_tensor *new_matrix(const shape *s, lt_dtype act, int64_t rows, int64_t cols, op_use use)
{
    return s->aligned ? op_new_strided(act, rows, cols, 8, use) : op_new(act, rows, cols, use);
}

static qkv qkv_new(const shape *s, lt_dtype act, op_use use)
{
    int64_t q = s->n_head * s->head_dim, kv = s->n_kv_head * s->head_dim;
    qkv m = { .cols = { q, kv, kv } };

    if (s->packed) {
        m.whole[0] = m.whole[1] = m.whole[2] =
            new_matrix(s, act, s->n_batch * s->t_q, q + 2 * kv, use);
        m.col[1] = q;
        m.col[2] = q + kv;
        return m;
    }
    m.whole[0] = op_new(act, s->n_batch * s->t_q, q, use);
    for (int i = 1; i < 3; i++) {
        int64_t rows = s->kv_rows ? s->kv_rows : s->t_k;

        m.whole[i] = op_new(act, s->n_batch * rows, kv, use);
        for (int64_t row = 0; row < s->n_batch * rows; row++)
            for (int64_t c = 0; row % rows >= s->t_k && c < kv; c++)
                memset(lt_at(m.whole[i]->sent, row, c), 0xff, lt_dtype_bytes(act));
    }
    return m;
}

static lt_tensor part(const qkv *m, int i, lt_tensor whole)
{
    return lt_block(whole, 0, whole.rows, m->col[i], m->cols[i]);
}

/* The part that counts, dense: t rows of each sequence, which are `pitch` rows apart. */
static double *part_values(lt_tensor t, int64_t n_batch, int64_t n, int64_t pitch)
{
    double *x = op_array(n_batch * n * t.cols);

    for (int64_t i = 0; i < n_batch * n * t.cols; i++) {
        int64_t row = i / t.cols;

        x[i] = op_get(t, row / n * pitch + row % n, i % t.cols);
    }
    return x;
}

/* Error of the part that counts; the rows between sequences must hold what was sent. */
static double part_error(const qkv *m, int i, const shape *s, const double *want)
{
    lt_tensor now = part(m, i, m->whole[i]->now), sent = part(m, i, m->whole[i]->sent);
    int64_t n = i == 0 ? s->t_q : s->t_k, pitch = i > 0 && s->kv_rows ? s->kv_rows : n;
    size_t width = (size_t)now.cols * lt_dtype_bytes(now.dtype);
    double worst = 0;

    for (int64_t b = 0; b < s->n_batch; b++)
        worst = fmax(worst,
                     op_error_n(lt_rows(now, b * pitch, n), want + b * n * now.cols, n * now.cols));
    for (int64_t row = 0; row < s->n_batch * pitch; row++)
        if (row % pitch >= n && memcmp(lt_at(now, row, 0), lt_at(sent, row, 0), width) != 0)
            return INFINITY;
    return worst;
}

static void check_attention(shape s, lt_dtype act, bool with_grad)
{
    int64_t kv_rows = s.kv_rows ? s.kv_rows : s.t_k, width = s.n_head * s.head_dim;
    reference r = { 0 };
    qkv in, grads = { 0 };
    op_tensor *out, *lse, *docs, *dout = NULL;
    double tolerance;
    lt_attention a;

    LT_CHECK_OK(op_begin());
    in = qkv_new(&s, act, OP_IN);
    out = new_matrix(&s, act, s.n_batch * s.t_q, width, OP_OUT);
    lse = !with_grad  ? NULL
          : s.aligned ? op_new_strided(LT_F32, s.n_batch * s.n_head, s.t_q, 0, OP_OUT)
                      : op_new(LT_F32, s.n_batch * s.n_head, s.t_q, OP_OUT);
    docs = s.docs ? new_doc_start(&s) : NULL;
    if (with_grad) {
        dout = new_matrix(&s, act, s.n_batch * s.t_q, width, OP_IN);
        grads = qkv_new(&s, act, OP_OUT);
    }
    op_send();
    a = (lt_attention){ out->dev,
                        op_dev_or_absent(lse),
                        part(&in, 0, in.whole[0]->dev),
                        part(&in, 1, in.whole[1]->dev),
                        part(&in, 2, in.whole[2]->dev),
                        op_dev_or_absent(docs),
                        s.n_batch,
                        s.n_head,
                        s.n_kv_head,
                        s.t_q,
                        s.t_k,
                        s.head_dim,
                        kv_rows,
                        1 / sqrtf((float)s.head_dim),
                        s.causal };
    op.dev->ops->attention(op.dev, &a);
    if (with_grad)
        op.dev->ops->attention_grad(
            op.dev, &(lt_attention_grad){ a, part(&grads, 0, grads.whole[0]->dev),
                                          part(&grads, 1, grads.whole[1]->dev),
                                          part(&grads, 2, grads.whole[2]->dev), dout->dev });
    LT_CHECK_OK(op_receive());

    r.q = part_values(part(&in, 0, in.whole[0]->sent), s.n_batch, s.t_q, s.t_q);
    r.k = part_values(part(&in, 1, in.whole[1]->sent), s.n_batch, s.t_k, kv_rows);
    r.v = part_values(part(&in, 2, in.whole[2]->sent), s.n_batch, s.t_k, kv_rows);
    r.doc_start = docs ? op_i32(docs) : NULL;
    reference_init(&r, &s);
    forward(&r);
    /* cuDNN rounds probabilities to bf16 too, which shows where values cancel */
    LT_CHECK_NEAR(op_error(out, r.out), 0, op_tolerance(act) * (s.aligned ? 4 : 1));
    if (!with_grad)
        return;
    r.dout = op_values(dout->sent);
    backward(&r);
    LT_CHECK_NEAR(op_error(lse, r.lse), 0, 2e-5);
    /* the backward pass reads out as rounded, which a bf16 gradient shows a few times over */
    tolerance = act == LT_F32 ? 5e-5 : s.aligned ? 6e-2 : 4e-2;
    LT_CHECK_NEAR(part_error(&grads, 0, &s, r.dq), 0, tolerance);
    LT_CHECK_NEAR(part_error(&grads, 1, &s, r.dk), 0, tolerance);
    LT_CHECK_NEAR(part_error(&grads, 2, &s, r.dv), 0, tolerance);
}

static void check_both(shape s, bool with_grad)
{
    check_attention(s, LT_F32, with_grad);
    check_attention(s, LT_BF16, with_grad);
}

LT_TEST(attention_of_packed_heads)
{
    /*                  B  H  Hkv Tq   Tk   D    rows causal docs  packed */
    check_both((shape){ 2, 2, 2, 70, 70, 64, 0, true, false, true }, true);
    check_both((shape){ 2, 3, 3, 33, 33, 20, 0, true, false, true }, true);
    check_attention((shape){ 1, 2, 2, 1, 1, 16, 0, true, false, true }, LT_F32, true);
    check_both((shape){ 1, 2, 2, 140, 140, 32, 0, false, false, true }, true);
}

LT_TEST(attention_with_fewer_kv_heads)
{
    check_both((shape){ 2, 4, 2, 37, 37, 24, 0, true, false, true }, true);
    check_both((shape){ 1, 6, 1, 66, 66, 64, 0, false, false, true }, true);
}

LT_TEST(attention_within_documents)
{
    check_both((shape){ 2, 2, 2, 130, 130, 48, 0, true, true, true }, true);
    check_both((shape){ 1, 4, 2, 40, 40, 128, 0, true, true, true }, true);
}

LT_TEST(attention_with_earlier_keys)
{
    check_both((shape){ 2, 2, 2, 37, 90, 64, 101, true, false, false }, true);
    check_both((shape){ 2, 3, 1, 9, 70, 128, 0, true, true, false }, true);
    check_both((shape){ 3, 2, 1, 1, 67, 64, 80, true, false, false }, false);
    check_both((shape){ 2, 2, 2, 20, 75, 40, 0, false, false, false }, true);
}

LT_TEST(attention_with_wide_heads)
{
    check_both((shape){ 1, 2, 2, 50, 50, 128, 0, true, false, true }, true);
    check_both((shape){ 1, 2, 1, 50, 50, 256, 0, true, false, true }, true);
    check_both((shape){ 1, 2, 2, 35, 35, 160, 0, false, false, true }, true);
}

LT_TEST(attention_as_in_training)
{
    /*                       B  H  Hkv Tq   Tk   D    rows causal docs packed aligned */
    check_attention((shape){ 3, 3, 3, 128, 128, 64, 0, true, false, true, true }, LT_BF16, true);
    check_attention((shape){ 1, 2, 2, 256, 256, 128, 0, true, false, true, true }, LT_BF16, true);
    check_attention((shape){ 3, 4, 2, 128, 128, 64, 0, true, false, true, true }, LT_BF16, true);
    check_attention((shape){ 1, 6, 1, 128, 128, 128, 0, true, false, true, true }, LT_BF16, true);
    check_attention((shape){ 2, 3, 3, 64, 64, 64, 0, true, false, true, true }, LT_BF16, true);
    check_attention((shape){ 1, 1, 1, 192, 192, 40, 0, true, false, true, true }, LT_BF16, true);
    check_attention((shape){ 2, 2, 2, 128, 128, 64, 0, true, false, true, true }, LT_BF16, false);
}
