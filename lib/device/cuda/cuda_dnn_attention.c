/* device/cuda/cuda_dnn_attention.c - the two graphs that cuDNN knows as flash attention.
 *
 * cuDNN recognises the whole by its operations, their order and the types in between, and runs it
 * as one kernel (the gradient as three); nothing of size T x T is written, but for dS in the
 * ordered form.  K and V enter transposed: (B, Hkv, D, T). */
#include "device/cuda/cuda_dnn_attention.h"

typedef struct builder {
    dnn_graph *g;
    const dnn_attention_shape *s;
    dnn_layout scores, rows; /* (B, H, T, T) and (B, H, T, 1) of intermediates */
    dnn_desc scale, neg_inf;
} builder;

static dnn_layout dense(int64_t n_batch, int64_t n_head, int64_t rows, int64_t cols)
{
    return (dnn_layout){ { n_batch, n_head, rows, cols },
                         { n_head * rows * cols, rows * cols, cols, 1 } };
}

static dnn_layout transposed(dnn_layout l)
{
    return (dnn_layout){ { l.dim[0], l.dim[1], l.dim[3], l.dim[2] },
                         { l.stride[0], l.stride[1], l.stride[3], l.stride[2] } };
}

/* Heads side by side in the columns of a matrix whose rows are `row` elements apart. */
static dnn_layout in_columns(const dnn_attention_shape *s, int64_t n_head, int64_t rows,
                             int64_t row)
{
    return (dnn_layout){ { s->n_batch, n_head, s->t, s->head_dim },
                         { rows * row, s->head_dim, row, 1 } };
}

static dnn_desc of_queries(const builder *b, int64_t uid, int64_t row)
{
    return cuda_dnn_graph_real(b->g, uid, (dnn_type)b->s->type,
                               in_columns(b->s, b->s->n_head, b->s->t, row));
}

static dnn_layout key_layout(const builder *b, int64_t row)
{
    return in_columns(b->s, b->s->n_kv_head, b->s->kv_rows, row);
}

static dnn_desc of_keys(const builder *b, int64_t uid, int64_t row)
{
    return cuda_dnn_graph_real(b->g, uid, (dnn_type)b->s->type, key_layout(b, row));
}

static dnn_desc of_keys_transposed(const builder *b, int64_t uid, int64_t row)
{
    return cuda_dnn_graph_real(b->g, uid, (dnn_type)b->s->type, transposed(key_layout(b, row)));
}

/* mode(x, y) as a new fp32 intermediate */
static dnn_desc point(const builder *b, dnn_mode mode, dnn_layout layout, dnn_desc x, dnn_desc y)
{
    dnn_desc out = cuda_dnn_graph_virtual(b->g, DNN_F32, layout);

    cuda_dnn_graph_pointwise(b->g, mode, out, x, y);
    return out;
}

static dnn_desc reduce_rows(const builder *b, dnn_reduce op, dnn_desc x)
{
    dnn_desc out = cuda_dnn_graph_virtual(b->g, DNN_F32, b->rows);

    cuda_dnn_graph_reduce(b->g, op, out, x);
    return out;
}

static dnn_desc product(const builder *b, dnn_desc x, dnn_desc y)
{
    dnn_desc out = cuda_dnn_graph_virtual(b->g, DNN_F32, b->scores);

    cuda_dnn_graph_matmul(b->g, out, x, y);
    return out;
}

static dnn_desc masked(const builder *b, dnn_desc x)
{
    dnn_desc out = cuda_dnn_graph_virtual(b->g, DNN_F32, b->scores);

    cuda_dnn_graph_causal(b->g, out, x, b->neg_inf, b->scores);
    return out;
}

static void build_forward(const builder *b)
{
    const dnn_attention_shape *s = b->s;
    dnn_desc q = of_queries(b, DNN_UID_Q, s->q), kt = of_keys_transposed(b, DNN_UID_K, s->k);
    dnn_desc v = of_keys(b, DNN_UID_V, s->v), out = of_queries(b, DNN_UID_OUT, s->out);
    dnn_desc lse = cuda_dnn_graph_real(b->g, DNN_UID_LSE, DNN_F32, b->rows);
    dnn_desc p = cuda_dnn_graph_virtual(b->g, (dnn_type)s->type, b->scores);
    dnn_desc x = masked(b, point(b, DNN_MUL, b->scores, product(b, q, kt), b->scale));
    dnn_desc max = reduce_rows(b, DNN_REDUCE_MAX, x);
    dnn_desc e = point(b, DNN_EXP, b->scores, point(b, DNN_SUB, b->scores, x, max), NULL);
    dnn_desc sum = reduce_rows(b, DNN_REDUCE_ADD, e);

    cuda_dnn_graph_pointwise(b->g, DNN_ADD, lse, max, point(b, DNN_LOG, b->rows, sum, NULL));
    cuda_dnn_graph_pointwise(b->g, DNN_DIV, p, e, sum);
    cuda_dnn_graph_matmul(b->g, out, p, v);
}

/* out = x^T y for the keys: x (B, H, T, T) is turned first, heads of a group are added up. */
static void key_gradient(const builder *b, dnn_desc out, dnn_desc x, dnn_desc y)
{
    const dnn_attention_shape *s = b->s;
    dnn_desc xt = cuda_dnn_graph_virtual(b->g, (dnn_type)s->type, transposed(b->scores)), every;

    cuda_dnn_graph_reshape(b->g, xt, x);
    if (s->n_head == s->n_kv_head) {
        cuda_dnn_graph_matmul(b->g, out, xt, y);
        return;
    }
    every = cuda_dnn_graph_virtual(b->g, (dnn_type)s->type,
                                   dense(s->n_batch, s->n_head, s->t, s->head_dim));
    cuda_dnn_graph_matmul(b->g, every, xt, y);
    cuda_dnn_graph_reduce(b->g, DNN_REDUCE_ADD, out, every);
}

/* row_sum = sums of dout out over a head's row */
static dnn_desc output_row_sums(const builder *b, dnn_desc dout)
{
    const dnn_attention_shape *s = b->s;
    dnn_desc out = of_queries(b, DNN_UID_OUT, s->out),
             one = cuda_dnn_graph_scalar(b->g, DNN_UID_ONE);
    dnn_desc row_sum = cuda_dnn_graph_real(b->g, DNN_UID_ROW_SUM, DNN_F32, b->rows);
    dnn_layout each = dense(s->n_batch, s->n_head, s->t, s->head_dim);
    dnn_desc sum = reduce_rows(b, DNN_REDUCE_ADD, point(b, DNN_MUL, each, dout, out));

    cuda_dnn_graph_pointwise(b->g, DNN_MUL, row_sum, sum, one);
    return row_sum;
}

/* dq = ds k.  Free order: blocks add into dq_sum as they come,
 * which is rounded to dq at the end. */
static void query_gradient(const builder *b, dnn_desc ds, dnn_desc kt)
{
    const dnn_attention_shape *s = b->s;
    dnn_desc dq = of_queries(b, DNN_UID_DQ, s->dq), dq_sum;
    dnn_desc k =
        cuda_dnn_graph_virtual(b->g, DNN_F32, key_layout(b, s->k)); /* fp32: so it must be */

    cuda_dnn_graph_reshape(b->g, k, kt);
    if (s->ordered) {
        cuda_dnn_graph_matmul(b->g, dq, ds, k);
        return;
    }
    dq_sum = cuda_dnn_graph_real(b->g, DNN_UID_DQ_SUM, DNN_F32,
                                 dense(s->n_batch, s->n_head, s->t, s->head_dim));
    cuda_dnn_graph_matmul(b->g, dq_sum, ds, k);
    cuda_dnn_graph_pointwise(b->g, DNN_IDENTITY, dq, dq_sum, NULL);
}

static void build_backward(const builder *b)
{
    const dnn_attention_shape *s = b->s;
    dnn_desc q = of_queries(b, DNN_UID_Q, s->q), dout = of_queries(b, DNN_UID_DOUT, s->dout);
    dnn_desc kt = of_keys_transposed(b, DNN_UID_K, s->k);
    dnn_desc vt = of_keys_transposed(b, DNN_UID_V, s->v);
    dnn_desc dk = of_keys(b, DNN_UID_DK, s->dk), dv = of_keys(b, DNN_UID_DV, s->dv);
    dnn_desc lse = cuda_dnn_graph_real(b->g, DNN_UID_LSE, DNN_F32, b->rows);
    dnn_desc row_sum = output_row_sums(b, dout), x, p, ds;

    x = point(b, DNN_MUL, b->scores, product(b, q, kt), b->scale);
    x = masked(b, point(b, DNN_SUB, b->scores, x, lse));
    p = point(b, DNN_EXP, b->scores, x, NULL);
    key_gradient(b, dv, p, dout);
    ds = point(b, DNN_SUB, b->scores, product(b, dout, vt), row_sum);
    ds = point(b, DNN_MUL, b->scores, ds, p);
    ds = point(b, DNN_MUL, b->scores, ds, b->scale);
    key_gradient(b, dk, ds, q);
    query_gradient(b, ds, kt);
}

void cuda_dnn_attention_build(dnn_graph *g, const dnn_attention_shape *s)
{
    const builder b = { .g = g,
                        .s = s,
                        .scores = dense(s->n_batch, s->n_head, s->t, s->t),
                        .rows = dense(s->n_batch, s->n_head, s->t, 1),
                        .scale = cuda_dnn_graph_scalar(g, DNN_UID_SCALE),
                        .neg_inf = cuda_dnn_graph_scalar(g, DNN_UID_NEG_INF) };

    if (s->grad)
        build_backward(&b);
    else
        build_forward(&b);
}
