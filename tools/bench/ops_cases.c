/* ops_cases.c - the operations of a training step that live on memory bandwidth, as a GPT-2 block
 * calls them.  Cross entropy is part of head_loss: its time is that of head_loss over narrow rows
 * less that of the three matrix products in it. */
#include "ops_cases.h"

static const lt_adamw adamw = { 0.9f, 0.95f, 1e-8f, 0.1f, true };

static void put(ops_list *l, lt_dtype dtype, int64_t rows, int64_t cols, ops_use use)
{
    LT_BUG_ON(l->n == OPS_MAX_TENSORS);
    l->items[l->n++] = (ops_tensor){ dtype, rows, cols, use, OPS_NORMAL };
}

static void put_filled(ops_list *l, lt_dtype dtype, int64_t cols, ops_use use, ops_fill fill)
{
    put(l, dtype, 1, cols, use);
    l->items[l->n - 1].fill = fill;
}

static void put_state(ops_list *l)
{
    put_filled(l, LT_U8, (int64_t)sizeof(lt_step_state), OPS_ASIDE, OPS_STATE);
}

/* ---- copies */

static void copy_list(ops_list *l, const ops_shape *s)
{
    put(l, s->act, s->rows, 4 * s->width, OPS_WRITTEN);
    put(l, s->act, s->rows, 4 * s->width, OPS_READ);
}

static void cast_list(ops_list *l, const ops_shape *s)
{
    put(l, s->act, 1, s->flat, OPS_WRITTEN);
    put(l, s->act == LT_F32 ? LT_BF16 : LT_F32, 1, s->flat, OPS_READ);
}

static void copy_call(lt_dev *dev, const lt_tensor *t, const ops_shape *s)
{
    (void)s;
    dev->ops->copy(dev, t[0], t[1]);
}

/* ---- activations and column sums */

static void act_call(lt_dev *dev, const lt_tensor *t, const ops_shape *s)
{
    (void)s;
    dev->ops->act(dev, t[0], t[1], LT_ACT_GELU_TANH);
}

static void col_sum_list(ops_list *l, const ops_shape *s)
{
    put(l, LT_F32, 1, 4 * s->width, OPS_WRITTEN);
    put(l, s->act, s->rows, 4 * s->width, OPS_READ);
}

static void col_sum_narrow_list(ops_list *l, const ops_shape *s)
{
    put(l, LT_F32, 1, s->width, OPS_WRITTEN);
    put(l, s->act, s->rows, s->width, OPS_READ);
}

static void col_sum_call(lt_dev *dev, const lt_tensor *t, const ops_shape *s)
{
    (void)s;
    dev->ops->col_sum(dev, t[0], t[1], false);
}

/* ---- norms */

static void residual_norm_list(ops_list *l, const ops_shape *s)
{
    put(l, s->act, s->rows, s->width, OPS_WRITTEN); /* out */
    put(l, s->act, s->rows, s->width, OPS_WRITTEN); /* resid */
    put(l, LT_F32, 1, s->rows, OPS_WRITTEN);        /* mean */
    put(l, LT_F32, 1, s->rows, OPS_WRITTEN);        /* rstd */
    put(l, s->act, s->rows, s->width, OPS_READ);    /* x */
    put(l, s->act, s->rows, s->width, OPS_READ);    /* branch */
    put(l, s->act, 1, s->width, OPS_READ);          /* weight */
    put(l, s->act, 1, s->width, OPS_READ);          /* bias */
}

static void residual_norm_call(lt_dev *dev, const lt_tensor *t, const ops_shape *s)
{
    (void)s;
    dev->ops->residual_norm(dev, &(lt_residual_norm){ t[0], t[1], t[2], t[3], t[4], t[5], t[6],
                                                      t[7], LT_NORM_LAYER, 1e-5f });
}

static void norm_grad_list(ops_list *l, const ops_shape *s)
{
    put(l, s->act, s->rows, s->width, OPS_WRITTEN);         /* dx */
    put(l, LT_F32, 1, s->width, OPS_WRITTEN);               /* dweight */
    put(l, LT_F32, 1, s->width, OPS_WRITTEN);               /* dbias */
    put(l, LT_F32, 1, s->width, OPS_WRITTEN);               /* col_sum */
    put(l, s->act, s->rows, s->width, OPS_READ);            /* dout */
    put(l, s->act, s->rows, s->width, OPS_READ);            /* dresid */
    put(l, s->act, s->rows, s->width, OPS_READ);            /* resid */
    put(l, s->act, 1, s->width, OPS_READ);                  /* weight */
    put_filled(l, LT_F32, s->rows, OPS_READ, OPS_NORMAL);   /* mean */
    put_filled(l, LT_F32, s->rows, OPS_READ, OPS_POSITIVE); /* rstd */
}

static void norm_grad_call(lt_dev *dev, const lt_tensor *t, const ops_shape *s)
{
    (void)s;
    dev->ops->norm_grad(dev, &(lt_norm_grad){ t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8],
                                              t[9], LT_NORM_LAYER, false });
}

/* ---- embeddings: of the tables only the rows that occur move, at most one for each row */

static void embed_list(ops_list *l, const ops_shape *s)
{
    put(l, s->act, s->rows, s->width, OPS_WRITTEN);
    put_filled(l, LT_I32, s->rows, OPS_READ, OPS_IDS);
    put_filled(l, LT_I32, s->rows, OPS_READ, OPS_PLACES);
    put(l, s->act, s->vocab, s->width, OPS_ASIDE);
    put(l, s->act, OPS_CONTEXT, s->width, OPS_READ);
    l->more_bytes = s->rows * s->width * (int64_t)lt_dtype_bytes(s->act);
}

static void embed_call(lt_dev *dev, const lt_tensor *t, const ops_shape *s)
{
    (void)s;
    dev->ops->embed(dev, t[0], t[1], t[2], t[3], t[4]);
}

static void embed_grad_list(ops_list *l, const ops_shape *s)
{
    put(l, LT_F32, s->vocab, s->width, OPS_WRITTEN);
    put(l, LT_F32, OPS_CONTEXT, s->width, OPS_WRITTEN);
    put(l, s->act, s->rows, s->width, OPS_READ);
    put_filled(l, LT_I32, s->rows, OPS_READ, OPS_IDS);
    put_filled(l, LT_I32, s->rows, OPS_READ, OPS_PLACES);
    l->more_bytes = s->rows * s->width * (int64_t)lt_dtype_bytes(s->act); /* once for each table */
}

static void embed_grad_call(lt_dev *dev, const lt_tensor *t, const ops_shape *s)
{
    (void)s;
    dev->ops->embed_grad(dev, t[0], t[1], t[2], t[3], t[4], false, false);
}

/* ---- cross entropy */

static void head_list(ops_list *l, const ops_shape *s)
{
    put(l, LT_F32, 1, s->head_rows, OPS_WRITTEN);              /* losses */
    put(l, s->act, s->head_rows, OPS_HEAD_WIDTH, OPS_WRITTEN); /* dx */
    put(l, LT_F32, s->vocab, OPS_HEAD_WIDTH, OPS_WRITTEN);     /* dw */
    put(l, s->act, s->head_rows, s->vocab, OPS_ASIDE);         /* logits */
    put(l, s->act, s->head_rows, OPS_HEAD_WIDTH, OPS_ASIDE);   /* x */
    put(l, s->act, s->vocab, OPS_HEAD_WIDTH, OPS_ASIDE);       /* w */
    l->items[l->n - 1].fill = OPS_SMALL;
    put_filled(l, LT_I32, s->head_rows, OPS_READ, OPS_IDS); /* targets */
    put_state(l);
    /* the logits there and back, and nothing of the products */
    l->more_bytes = 2 * s->head_rows * s->vocab * (int64_t)lt_dtype_bytes(s->act);
    l->more_bytes -= s->head_rows * OPS_HEAD_WIDTH * (int64_t)lt_dtype_bytes(s->act);
    l->more_bytes -= s->vocab * OPS_HEAD_WIDTH * 4;
}

static void head_call(lt_dev *dev, const lt_tensor *t, const ops_shape *s)
{
    dev->ops->head_loss(dev, &(lt_head_loss){ t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7].data,
                                              s->n_vocab, false });
}

static void head_products(lt_dev *dev, const lt_tensor *t, const ops_shape *s)
{
    (void)s;
    dev->ops->matmul(dev, &(lt_matmul){ .d = t[3], .a = t[4], .b = t[5], .trans_b = true });
    dev->ops->matmul(dev, &(lt_matmul){ .d = t[1], .a = t[3], .b = t[5] });
    dev->ops->matmul(dev, &(lt_matmul){ .d = t[2], .a = t[3], .b = t[4], .trans_a = true });
}

/* ---- the step */

static void adamw_with(ops_list *l, const ops_shape *s, lt_dtype grad)
{
    put(l, LT_F32, 1, s->flat, OPS_UPDATED);
    put(l, s->act, 1, s->flat, OPS_WRITTEN); /* copy */
    put(l, LT_F32, 1, s->flat, OPS_UPDATED);
    put_filled(l, LT_F32, s->flat, OPS_UPDATED, OPS_POSITIVE);
    put(l, grad, 1, s->flat, OPS_READ);
    put_state(l);
}

static void adamw_list(ops_list *l, const ops_shape *s)
{
    adamw_with(l, s, LT_F32);
}

static void adamw_narrow_list(ops_list *l, const ops_shape *s)
{
    adamw_with(l, s, s->act);
}

static void adamw_call(lt_dev *dev, const lt_tensor *t, const ops_shape *s)
{
    (void)s;
    dev->ops->adamw(dev, t[0], t[1], t[2], t[3], t[4], t[5].data, &adamw);
}

static void squares_list(ops_list *l, const ops_shape *s)
{
    put(l, LT_F64, 1, 1, OPS_WRITTEN);
    put(l, LT_F32, 1, s->flat, OPS_READ);
}

static void squares_narrow_list(ops_list *l, const ops_shape *s)
{
    put(l, LT_F64, 1, 1, OPS_WRITTEN);
    put(l, s->act, 1, s->flat, OPS_READ);
}

static void squares_call(lt_dev *dev, const lt_tensor *t, const ops_shape *s)
{
    (void)s;
    dev->ops->sum_squares(dev, t[0].data, t[1]);
}

/* Not compared: the sum lands in the state, which keeps growing; tests/device does that. */
static void sum_losses_list(ops_list *l, const ops_shape *s)
{
    put_state(l);
    put(l, LT_F32, 1, s->rows, OPS_READ);
}

static void sum_losses_call(lt_dev *dev, const lt_tensor *t, const ops_shape *s)
{
    (void)s;
    dev->ops->sum_losses(dev, t[0].data, t[1]);
}

const ops_case ops_cases[] = {
    { "copy", "R x 4C", copy_list, copy_call, NULL },
    { "cast", "n, fp32 to act", cast_list, copy_call, NULL },
    { "act gelu", "R x 4C", copy_list, act_call, NULL },
    { "col_sum", "R x 4C", col_sum_list, col_sum_call, NULL },
    { "col_sum", "R x C", col_sum_narrow_list, col_sum_call, NULL },
    { "residual_norm", "R x C", residual_norm_list, residual_norm_call, NULL },
    { "norm_grad", "R x C", norm_grad_list, norm_grad_call, NULL },
    { "embed", "R x C", embed_list, embed_call, NULL },
    { "embed_grad", "R x C, V x C", embed_grad_list, embed_grad_call, NULL },
    { "cross entropy", "H x V", head_list, head_call, head_products },
    { "adamw", "n, fp32 grads", adamw_list, adamw_call, NULL },
    { "adamw", "n, act grads", adamw_narrow_list, adamw_call, NULL },
    { "sum_squares", "n, fp32", squares_list, squares_call, NULL },
    { "sum_squares", "n, act", squares_narrow_list, squares_call, NULL },
    { "sum_losses", "R", sum_losses_list, sum_losses_call, NULL },
};

const int ops_n_cases = sizeof ops_cases / sizeof *ops_cases;
