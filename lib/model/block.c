/* model/block.c - one transformer block, forward and backward, read as maths.
 *
 *     input --norm1--> qkv --attention--> proj --(+ input)--> mid
 *     mid ----norm2--> fc --act--> proj --> branch          output = mid + branch
 *
 * The output is added where it is next needed: in the norm of the following block, which reads
 * both.  What the backward pass finds depends on the recompute setting; what it does not find it
 * computes again with the same operations, hence the same bits. */
#include "model/transformer.h"

#include <math.h>

static lt_tensor define(lt_model *m, int layer, block_slot s, int64_t cols)
{
    return lt_act_define(m->plan, block_slot_of(layer, s), m->shape.act, run_rows(m), cols);
}

static lt_tensor define_stats(lt_model *m, int layer, block_slot s)
{
    return lt_act_define(m->plan, block_slot_of(layer, s), LT_F32, 1, run_rows(m));
}

static lt_tensor use(lt_model *m, int layer, block_slot s)
{
    lt_tensor t = lt_act_use(m->plan, block_slot_of(layer, s));

    /* A run may have fewer rows than were planned (generation). */
    if (s == S_MEAN1 || s == S_RSTD1 || s == S_MEAN2 || s == S_RSTD2)
        return lt_vector(t.data, LT_F32, run_rows(m));
    return s == S_LSE ? t : lt_rows(t, 0, run_rows(m));
}

static lt_tensor common(lt_model *m, common_slot s)
{
    return lt_rows(lt_act_use(m->plan, (int)s), 0, run_rows(m));
}

static lt_tensor define_common(lt_model *m, common_slot s, int64_t cols)
{
    return lt_act_define(m->plan, (int)s, m->shape.act, run_rows(m), cols);
}

static void linear(lt_model *m, lt_tensor y, lt_tensor x, lt_role weight, lt_role bias, int layer)
{
    lt_model_ops(m)->matmul(m->dev, &(lt_matmul){ .d = y,
                                                  .a = x,
                                                  .b = lt_model_param(m, weight, layer),
                                                  .trans_b = true,
                                                  .bias = lt_model_param(m, bias, layer) });
}

/* norm of what the slot `stream` will hold: x + branch, or x as it is when branch is absent */
static void norm(lt_model *m, int layer, block_slot stream, lt_tensor x, lt_tensor branch)
{
    bool first = stream == S_INPUT;
    lt_residual_norm n = { .x = x, .branch = branch, .kind = m->config.norm };

    n.eps = (float)m->config.norm_eps;
    if (branch.data)
        n.resid = define(m, layer, stream, m->config.n_embd);
    n.out = define(m, layer, first ? S_NORM1 : S_NORM2, m->config.n_embd);
    n.mean = define_stats(m, layer, first ? S_MEAN1 : S_MEAN2);
    n.rstd = define_stats(m, layer, first ? S_RSTD1 : S_RSTD2);
    n.weight = lt_model_param(m, first ? LT_ROLE_NORM1_WEIGHT : LT_ROLE_NORM2_WEIGHT, layer);
    n.bias = lt_model_param(m, first ? LT_ROLE_NORM1_BIAS : LT_ROLE_NORM2_BIAS, layer);
    lt_model_ops(m)->residual_norm(m->dev, &n);
}

/* The columns of q, k, v in a packed (R, (H + 2 Hkv) D) matrix. */
static void split_qkv(const lt_model *m, lt_tensor qkv, lt_tensor part[3])
{
    int64_t d = m->config.head_dim, q = m->config.n_head * d, kv = m->config.n_kv_head * d;

    part[0] = lt_block(qkv, 0, qkv.rows, 0, q);
    part[1] = lt_block(qkv, 0, qkv.rows, q, kv);
    part[2] = lt_block(qkv, 0, qkv.rows, q + kv, kv);
}

static lt_attention attention_of(lt_model *m, lt_tensor out, lt_tensor lse, lt_tensor qkv)
{
    const lt_model_config *c = &m->config;
    lt_tensor part[3];
    lt_attention a = { .out = out, .lse = lse, .causal = true };

    split_qkv(m, qkv, part);
    a.q = part[0];
    a.k = part[1];
    a.v = part[2];
    a.doc_start = m->batch->doc_start;
    a.n_batch = m->n_batch;
    a.n_head = c->n_head;
    a.n_kv_head = c->n_kv_head;
    a.head_dim = c->head_dim;
    a.t_q = a.t_k = a.kv_rows = m->t_q;
    a.scale = 1.0f / sqrtf((float)c->head_dim);
    return a;
}

/* New keys and values go behind the cached ones; attention then reads the cache. */
static void through_cache(lt_model *m, int layer, lt_attention *a)
{
    int64_t total = m->shape.generate_total, rows = m->shape.generate_batch * total;
    lt_tensor k = lt_rows(m->cache, 2 * layer * rows, rows);
    lt_tensor v = lt_rows(m->cache, (2 * layer + 1) * rows, rows);

    for (int64_t b = 0; b < m->n_batch; b++) {
        lt_model_ops(m)->copy(m->dev, lt_rows(k, b * total + m->past, m->t_q),
                              lt_rows(a->k, b * m->t_q, m->t_q));
        lt_model_ops(m)->copy(m->dev, lt_rows(v, b * total + m->past, m->t_q),
                              lt_rows(a->v, b * m->t_q, m->t_q));
    }
    a->k = k;
    a->v = v;
    a->kv_rows = total;
    a->t_k = m->past + m->t_q;
}

/* norm1 done -> S_MID, S_NORM2 and S_FC, S_FCACT. */
static void inner_forward(lt_model *m, int layer)
{
    const lt_model_config *c = &m->config;
    lt_tensor qkv, att, lse = lt_absent(), proj, fc = lt_absent();
    lt_attention a;

    qkv = define(m, layer, S_QKV, (c->n_head + 2 * c->n_kv_head) * c->head_dim);
    linear(m, qkv, use(m, layer, S_NORM1), LT_ROLE_QKV_WEIGHT, LT_ROLE_QKV_BIAS, layer);
    att = define(m, layer, S_ATT, c->n_head * c->head_dim);
    if (m->keep)
        lse = lt_act_define(m->plan, block_slot_of(layer, S_LSE), LT_F32, m->n_batch * c->n_head,
                            m->t_q);
    a = attention_of(m, att, lse, use(m, layer, S_QKV));
    if (m->use_cache)
        through_cache(m, layer, &a);
    lt_model_ops(m)->attention(m->dev, &a);
    proj = define_common(m, S_BRANCH, c->n_embd);
    linear(m, proj, use(m, layer, S_ATT), LT_ROLE_ATTPROJ_WEIGHT, LT_ROLE_ATTPROJ_BIAS, layer);
    norm(m, layer, S_MID, use(m, layer, S_INPUT), common(m, S_BRANCH));
    if (m->keep)
        fc = define(m, layer, S_FC, c->n_inner);
    lt_model_ops(m)->matmul(m->dev, &(lt_matmul){ .aux = fc,
                                                  .d = define(m, layer, S_FCACT, c->n_inner),
                                                  .a = use(m, layer, S_NORM2),
                                                  .b = lt_model_param(m, LT_ROLE_FC_WEIGHT, layer),
                                                  .trans_b = true,
                                                  .bias = lt_model_param(m, LT_ROLE_FC_BIAS, layer),
                                                  .epilogue = LT_EPI_ACT,
                                                  .act = c->act });
}

void lt_block_forward(lt_model *m, int layer)
{
    lt_model_acquire(m, 1 + layer);
    if (layer == 0)
        norm(m, 0, S_INPUT, use(m, 0, S_INPUT), lt_absent());
    else
        norm(m, layer, S_INPUT, use(m, layer - 1, S_MID), common(m, S_BRANCH));
    inner_forward(m, layer);
    linear(m, define_common(m, S_BRANCH, m->config.n_embd), use(m, layer, S_FCACT),
           LT_ROLE_FCPROJ_WEIGHT, LT_ROLE_FCPROJ_BIAS, layer);
    lt_model_release(m, 1 + layer);
}

/* ---- backward */

/* Brings back what the forward pass did not keep. */
static void recompute(lt_model *m, int layer)
{
    switch (m->shape.recompute) {
    case LT_RECOMPUTE_NONE:
        return;
    case LT_RECOMPUTE_SELECTIVE:
        lt_model_ops(m)->act(m->dev, define(m, layer, S_FCACT, m->config.n_inner),
                             use(m, layer, S_FC), m->config.act);
        norm(m, layer, S_MID, use(m, layer, S_MID), lt_absent());
        norm(m, layer, S_INPUT, use(m, layer, S_INPUT), lt_absent());
        return;
    case LT_RECOMPUTE_BLOCK:
        norm(m, layer, S_INPUT, use(m, layer, S_INPUT), lt_absent());
        inner_forward(m, layer);
        return;
    }
}

/* dW (+)= dy^T x */
static void weight_grad(lt_model *m, lt_role weight, int layer, lt_tensor dy, lt_tensor x, bool add)
{
    lt_model_ops(m)->matmul(
        m->dev,
        &(lt_matmul){
            .d = lt_model_grad(m, weight, layer), .a = dy, .b = x, .trans_a = true, .add = add });
}

/* dx = dy W */
static void input_grad(lt_model *m, lt_tensor dx, lt_tensor dy, lt_role weight, int layer)
{
    lt_model_ops(m)->matmul(
        m->dev, &(lt_matmul){ .d = dx, .a = dy, .b = lt_model_param(m, weight, layer) });
}

static void mlp_backward(lt_model *m, int layer, bool add)
{
    const lt_ops *ops = lt_model_ops(m);
    lt_tensor dresid = common(m, S_DRESID);

    ops->col_sum(m->dev, lt_model_grad(m, LT_ROLE_FCPROJ_BIAS, layer), dresid, add);
    weight_grad(m, LT_ROLE_FCPROJ_WEIGHT, layer, dresid, use(m, layer, S_FCACT), add);
    ops->matmul(m->dev, &(lt_matmul){ .d = define_common(m, S_DFC, m->config.n_inner),
                                      .a = dresid,
                                      .b = lt_model_param(m, LT_ROLE_FCPROJ_WEIGHT, layer),
                                      .epilogue = LT_EPI_DACT,
                                      .act = m->config.act,
                                      .aux = use(m, layer, S_FC),
                                      .col_sum = lt_model_grad(m, LT_ROLE_FC_BIAS, layer),
                                      .add_col_sum = add });
    weight_grad(m, LT_ROLE_FC_WEIGHT, layer, common(m, S_DFC), use(m, layer, S_NORM2), add);
    input_grad(m, define_common(m, S_DNORM, m->config.n_embd), common(m, S_DFC), LT_ROLE_FC_WEIGHT,
               layer);
    ops->norm_grad(m->dev,
                   &(lt_norm_grad){ .dx = dresid,
                                    .dresid = dresid,
                                    .dout = common(m, S_DNORM),
                                    .resid = use(m, layer, S_MID),
                                    .mean = use(m, layer, S_MEAN2),
                                    .rstd = use(m, layer, S_RSTD2),
                                    .weight = lt_model_param(m, LT_ROLE_NORM2_WEIGHT, layer),
                                    .dweight = lt_model_grad(m, LT_ROLE_NORM2_WEIGHT, layer),
                                    .dbias = lt_model_grad(m, LT_ROLE_NORM2_BIAS, layer),
                                    .col_sum = lt_model_grad(m, LT_ROLE_ATTPROJ_BIAS, layer),
                                    .kind = m->config.norm,
                                    .add = add });
}

static void attention_backward(lt_model *m, int layer, bool add)
{
    const lt_ops *ops = lt_model_ops(m);
    lt_tensor dresid = common(m, S_DRESID), dqkv, part[3];
    lt_attention_grad g;

    weight_grad(m, LT_ROLE_ATTPROJ_WEIGHT, layer, dresid, use(m, layer, S_ATT), add);
    input_grad(m, define_common(m, S_DATT, m->config.n_head * m->config.head_dim), dresid,
               LT_ROLE_ATTPROJ_WEIGHT, layer);
    g = (lt_attention_grad){ .fwd = attention_of(m, use(m, layer, S_ATT), use(m, layer, S_LSE),
                                                 use(m, layer, S_QKV)) };
    dqkv = define_common(m, S_DQKV, use(m, layer, S_QKV).cols);
    split_qkv(m, dqkv, part);
    g.dq = part[0];
    g.dk = part[1];
    g.dv = part[2];
    g.dout = common(m, S_DATT);
    ops->attention_grad(m->dev, &g);
    dqkv = common(m, S_DQKV);
    ops->col_sum(m->dev, lt_model_grad(m, LT_ROLE_QKV_BIAS, layer), dqkv, add);
    weight_grad(m, LT_ROLE_QKV_WEIGHT, layer, dqkv, use(m, layer, S_NORM1), add);
    input_grad(m, define_common(m, S_DNORM, m->config.n_embd), dqkv, LT_ROLE_QKV_WEIGHT, layer);
    ops->norm_grad(m->dev,
                   &(lt_norm_grad){ .dx = dresid,
                                    .dresid = dresid,
                                    .dout = common(m, S_DNORM),
                                    .resid = use(m, layer, S_INPUT),
                                    .mean = use(m, layer, S_MEAN1),
                                    .rstd = use(m, layer, S_RSTD1),
                                    .weight = lt_model_param(m, LT_ROLE_NORM1_WEIGHT, layer),
                                    .dweight = lt_model_grad(m, LT_ROLE_NORM1_WEIGHT, layer),
                                    .dbias = lt_model_grad(m, LT_ROLE_NORM1_BIAS, layer),
                                    .kind = m->config.norm,
                                    .add = add });
}

void lt_block_backward(lt_model *m, int layer, bool add)
{
    lt_model_acquire(m, 1 + layer);
    recompute(m, layer);
    mlp_backward(m, layer, add);
    attention_backward(m, layer, add);
    lt_model_grads_done(m, 1 + layer);
    lt_model_release(m, 1 + layer);
}
