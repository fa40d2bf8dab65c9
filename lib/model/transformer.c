/* model/transformer.c - the whole model: embeddings, blocks, head, and the plan of each use. */
#include "model/transformer.h"

#include <stdlib.h>

/* ---- parameters by role */

static int row_of(const lt_model *m, lt_role role, int layer)
{
    return m->rows_of_role[(layer + 1) * LT_N_ROLES + (int)role];
}

/* Absent where the model has no such parameter, and in a recording (record_use), which asks for the
 * lives of activations alone. */
lt_tensor lt_model_param(lt_model *m, lt_role role, int layer)
{
    int row = row_of(m, role, layer);

    return row < 0 || !m->access->param ? lt_absent() : m->access->param(m->access, row);
}

lt_tensor lt_model_grad(lt_model *m, lt_role role, int layer)
{
    int row = row_of(m, role, layer);

    return row < 0 || !m->access->grad ? lt_absent() : m->access->grad(m->access, row);
}

static void index_roles(lt_model *m)
{
    size_t n = (size_t)(m->config.n_layer + 1) * LT_N_ROLES;

    m->rows_of_role = lt_new_array0(n, sizeof *m->rows_of_role);
    for (size_t i = 0; i < n; i++)
        m->rows_of_role[i] = -1;
    for (int i = 0; i < m->table->n_params; i++) {
        const lt_param *p = &m->table->params[i];

        m->rows_of_role[(p->layer + 1) * LT_N_ROLES + (int)p->role] = i;
    }
}

/* ---- hooks */

static void hook(lt_model *m, lt_hook h, int unit)
{
    if (m->tapes)
        lt_tape_hook(m->tapes, h, unit);
    else
        lt_hook_call(m->access, h, unit);
}

void lt_model_acquire(lt_model *m, int unit)
{
    hook(m, LT_HOOK_ACQUIRE, unit);
}

void lt_model_release(lt_model *m, int unit)
{
    hook(m, LT_HOOK_RELEASE, unit);
}

void lt_model_grads_done(lt_model *m, int unit)
{
    hook(m, LT_HOOK_GRADS_DONE, unit);
}

/* ---- the passes */

static int head_unit(const lt_model *m)
{
    return m->table->n_units - 1;
}

static lt_role head_role(const lt_model *m)
{
    return m->config.tied ? LT_ROLE_TOKEN_EMBED : LT_ROLE_LM_HEAD;
}

static lt_tensor rows_in_use(lt_model *m, int slot)
{
    return lt_rows(lt_act_use(m->plan, slot), 0, run_rows(m));
}

/* The head reads the token embedding too when they are tied. */
static void acquire_head(lt_model *m)
{
    lt_model_acquire(m, head_unit(m));
    if (m->config.tied)
        lt_model_acquire(m, 0);
}

static void release_head(lt_model *m)
{
    lt_model_release(m, head_unit(m));
    if (m->config.tied)
        lt_model_release(m, 0);
}

/* Embeddings and all blocks, then S_FINAL_NORM; the head stays acquired. */
static void forward(lt_model *m)
{
    lt_residual_norm n = { .kind = m->config.norm, .eps = (float)m->config.norm_eps };
    int last = (int)m->config.n_layer - 1;
    int64_t r = run_rows(m), c = m->config.n_embd;

    lt_model_acquire(m, 0);
    lt_model_ops(m)->embed(
        m->dev, lt_act_define(m->plan, block_slot_of(0, S_INPUT), m->shape.act, r, c),
        m->batch->ids, m->batch->positions, lt_model_param(m, LT_ROLE_TOKEN_EMBED, -1),
        lt_model_param(m, LT_ROLE_POSITION_EMBED, -1));
    lt_model_release(m, 0);
    for (int layer = 0; layer <= last; layer++)
        lt_block_forward(m, layer);
    acquire_head(m);
    n.x = rows_in_use(m, block_slot_of(last, S_MID));
    n.branch = rows_in_use(m, S_BRANCH);
    n.resid = lt_act_define(m->plan, S_FINAL, m->shape.act, r, c);
    n.out = lt_act_define(m->plan, S_FINAL_NORM, m->shape.act, r, c);
    n.mean = lt_act_define(m->plan, S_FINAL_MEAN, LT_F32, 1, r);
    n.rstd = lt_act_define(m->plan, S_FINAL_RSTD, LT_F32, 1, r);
    n.weight = lt_model_param(m, LT_ROLE_FINAL_NORM_WEIGHT, -1);
    n.bias = lt_model_param(m, LT_ROLE_FINAL_NORM_BIAS, -1);
    lt_model_ops(m)->residual_norm(m->dev, &n);
}

static lt_tensor define_chunk(lt_model *m)
{
    int64_t v = (int64_t)LT_ALIGN_UP(m->config.vocab_size, LT_VOCAB_PAD);

    return lt_act_define(m->plan, S_CHUNK, m->shape.act, m->shape.chunk_rows, v);
}

static void head_loss(lt_model *m, lt_tensor losses, const lt_step_state *state, bool gradients,
                      bool add)
{
    lt_head_loss h = { .losses = losses, .state = state, .add = add };

    h.n_vocab = m->config.vocab_size;
    h.targets = m->batch->targets;
    h.x = rows_in_use(m, S_FINAL_NORM);
    h.w = lt_model_param(m, head_role(m), -1);
    h.chunk = define_chunk(m);
    if (gradients) {
        h.dx = lt_act_define(m->plan, S_DNORM, m->shape.act, run_rows(m), m->config.n_embd);
        h.dw = lt_model_grad(m, head_role(m), -1);
    }
    lt_model_ops(m)->head_loss(m->dev, &h);
}

static void backward(lt_model *m, bool add)
{
    lt_tensor dresid =
        lt_act_define(m->plan, S_DRESID, m->shape.act, run_rows(m), m->config.n_embd);

    lt_model_ops(m)->norm_grad(
        m->dev, &(lt_norm_grad){ .dx = dresid,
                                 .dout = lt_act_use(m->plan, S_DNORM),
                                 .resid = lt_act_use(m->plan, S_FINAL),
                                 .mean = lt_act_use(m->plan, S_FINAL_MEAN),
                                 .rstd = lt_act_use(m->plan, S_FINAL_RSTD),
                                 .weight = lt_model_param(m, LT_ROLE_FINAL_NORM_WEIGHT, -1),
                                 .dweight = lt_model_grad(m, LT_ROLE_FINAL_NORM_WEIGHT, -1),
                                 .dbias = lt_model_grad(m, LT_ROLE_FINAL_NORM_BIAS, -1),
                                 .kind = m->config.norm,
                                 .add = add });
    lt_model_grads_done(m, head_unit(m));
    release_head(m);
    for (int layer = (int)m->config.n_layer - 1; layer >= 0; layer--)
        lt_block_backward(m, layer, add);
    lt_model_acquire(m, 0);
    /* A tied table already holds the head's gradient of this pass. */
    lt_model_ops(m)->embed_grad(m->dev, lt_model_grad(m, LT_ROLE_TOKEN_EMBED, -1),
                                lt_model_grad(m, LT_ROLE_POSITION_EMBED, -1),
                                lt_act_use(m->plan, S_DRESID), m->batch->ids, m->batch->positions,
                                add || m->config.tied, add);
    lt_model_grads_done(m, 0);
    lt_model_release(m, 0);
}

/* ---- uses */

static void begin(lt_model *m, lt_use u, const lt_model_batch *batch, int64_t n_batch, int64_t t_q,
                  int64_t past)
{
    LT_BUG_ON(!m->plans[u]);
    m->plan = m->plans[u];
    m->batch = batch;
    m->n_batch = n_batch;
    m->t_q = t_q;
    m->past = past;
    m->keep = u == LT_USE_TRAIN;
    m->use_cache = u == LT_USE_GENERATE;
    lt_act_restart(m->plan);
}

static bool on_tape(lt_model *m, lt_use u, lt_tensor losses, const lt_step_state *state, bool add)
{
    const lt_model_batch *b = m->batch;
    const lt_tape_key key = { .buffers = { b->ids.data, b->targets.data, b->positions.data,
                                           b->doc_start.data, losses.data, state },
                              .use = u,
                              .add = add };

    return lt_tape_begin(m->tapes, &key);
}

void lt_model_train(lt_model *m, const lt_model_batch *batch, lt_tensor losses,
                    const lt_step_state *state, bool add)
{
    begin(m, LT_USE_TRAIN, batch, m->shape.n_batch, m->shape.seq, 0);
    if (on_tape(m, LT_USE_TRAIN, losses, state, add))
        return;
    forward(m);
    head_loss(m, losses, state, true, add);
    backward(m, add);
    lt_tape_end(m->tapes);
}

void lt_model_evaluate(lt_model *m, const lt_model_batch *batch, lt_tensor losses)
{
    begin(m, LT_USE_EVALUATE, batch, m->shape.n_batch, m->shape.seq, 0);
    if (on_tape(m, LT_USE_EVALUATE, losses, NULL, false))
        return;
    forward(m);
    head_loss(m, losses, NULL, false, false);
    release_head(m);
    lt_tape_end(m->tapes);
}

static void logits_of(lt_model *m, lt_tensor logits, lt_tensor x)
{
    lt_model_ops(m)->matmul(m->dev, &(lt_matmul){ .d = logits,
                                                  .a = x,
                                                  .b = lt_model_param(m, head_role(m), -1),
                                                  .trans_b = true });
    release_head(m);
}

void lt_model_logits(lt_model *m, const lt_model_batch *batch, lt_tensor logits)
{
    begin(m, LT_USE_LOGITS, batch, m->shape.n_batch, m->shape.seq, 0);
    forward(m);
    logits_of(m, logits, rows_in_use(m, S_FINAL_NORM));
}

void lt_model_generate(lt_model *m, const lt_model_batch *batch, int64_t past, int64_t n,
                       lt_tensor logits)
{
    lt_tensor x;

    LT_BUG_ON(past + n > m->shape.generate_total || n > m->shape.generate_prompt);
    begin(m, LT_USE_GENERATE, batch, m->shape.generate_batch, n, past);
    forward(m);
    x = rows_in_use(m, S_FINAL_NORM);
    x.data = lt_at(x, n - 1, 0); /* the last position of each sequence: every n-th row */
    x.rows = m->n_batch;
    x.stride *= n;
    logits_of(m, logits, x);
}

/* ---- planning */

static void ignore_unit(lt_unit_access *a, int unit)
{
    (void)a, (void)unit;
}

static lt_unit_access nobody = { .acquire = ignore_unit,
                                 .release = ignore_unit,
                                 .grads_done = ignore_unit };

static void record_use(lt_model *m, lt_use u)
{
    lt_model_batch batch = { 0 };
    lt_act_plan *p = lt_act_plan_new(N_COMMON_SLOTS + (int)m->config.n_layer * N_BLOCK_SLOTS);
    lt_dev *recorder = lt_act_recorder_new(p);
    lt_tensor none = lt_absent();

    m->plans[u] = p;
    m->dev = recorder;
    m->access = &nobody;
    if (u == LT_USE_TRAIN)
        lt_model_train(m, &batch, none, NULL, false);
    else if (u == LT_USE_EVALUATE)
        lt_model_evaluate(m, &batch, none);
    else if (u == LT_USE_LOGITS)
        lt_model_logits(m, &batch, none);
    else
        lt_model_generate(m, &batch, 0, m->shape.generate_prompt, none);
    m->use_bytes[u] = lt_act_pack(p);
    m->dev = NULL;
    m->access = NULL;
    free(recorder);
}

lt_err lt_model_new(lt_model **out, const lt_model_config *config, const lt_param_table *table,
                    const lt_model_shape *shape)
{
    lt_model *m;

    if (shape->seq > config->n_positions)
        return lt_fail(LT_EUSAGE, "sequences of %lld tokens: the model has %lld positions",
                       (long long)shape->seq, (long long)config->n_positions);
    if (shape->generate_total > config->n_positions)
        return lt_fail(LT_EUSAGE, "generating up to %lld tokens: the model has %lld positions",
                       (long long)shape->generate_total, (long long)config->n_positions);
    m = lt_new0(sizeof *m);
    m->config = *config;
    m->table = table;
    m->shape = *shape;
    if (m->shape.chunk_rows == 0) /* all at once */
        m->shape.chunk_rows = shape->n_batch * shape->seq;
    index_roles(m);
    /* Until lt_model_bind a place that is neither absent nor any life's address (act_plan.c). */
    m->cache = lt_matrix((void *)64, shape->act,
                         2 * config->n_layer * shape->generate_batch * shape->generate_total,
                         config->n_kv_head * config->head_dim);
    for (int u = 0; u < LT_N_USES; u++)
        if (shape->uses[u])
            record_use(m, (lt_use)u);
    *out = m;
    return LT_OK;
}

void lt_model_free(lt_model *m)
{
    if (!m)
        return;
    lt_tapes_free(m->tapes);
    for (int u = 0; u < LT_N_USES; u++)
        lt_act_plan_free(m->plans[u]);
    free(m->rows_of_role);
    free(m);
}

size_t lt_model_use_bytes(const lt_model *m, lt_use use)
{
    return m->use_bytes[use];
}

size_t lt_model_arena_bytes(const lt_model *m)
{
    size_t most = 0;

    for (int u = 0; u < LT_N_USES; u++)
        most = m->use_bytes[u] > most ? m->use_bytes[u] : most;
    return most;
}

size_t lt_model_cache_bytes(const lt_model *m)
{
    return (size_t)(m->cache.rows * m->cache.cols) * lt_dtype_bytes(m->shape.act);
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

lt_dev_need lt_model_need(const lt_model *m)
{
    const lt_model_shape *s = &m->shape;
    const lt_model_config *c = &m->config;

    return (lt_dev_need){ .act = s->act,
                          .grad = s->grad,
                          .rows =
                              max64(s->n_batch * s->seq, s->generate_batch * s->generate_prompt),
                          .n_embd = c->n_embd,
                          .n_inner = c->n_inner,
                          .n_head = c->n_head,
                          .n_kv_head = c->n_kv_head,
                          .head_dim = c->head_dim,
                          .n_batch = max64(s->n_batch, s->generate_batch),
                          .t_q = max64(s->seq, s->generate_prompt),
                          .t_k = max64(s->seq, s->generate_total),
                          .chunk_rows = s->chunk_rows,
                          .n_vocab = (int64_t)LT_ALIGN_UP(c->vocab_size, LT_VOCAB_PAD) };
}

double lt_model_flops_per_token(const lt_model *m)
{
    const lt_model_config *c = &m->config;
    double weights = 0, attention;

    for (int i = 0; i < m->table->n_params; i++) {
        const lt_param *p = &m->table->params[i];
        bool looked_up =
            p->role == LT_ROLE_POSITION_EMBED || (p->role == LT_ROLE_TOKEN_EMBED && !c->tied);

        if (p->n_dims == 2 && !looked_up)
            weights += (double)p->phys_count;
    }
    attention = 6.0 * (double)(c->n_layer * m->shape.seq * c->n_head * c->head_dim);
    return 6.0 * weights + attention;
}

void lt_model_bind(lt_model *m, lt_dev *dev, lt_unit_access *access, void *arena, void *cache)
{
    m->dev = dev;
    m->access = access;
    m->cache.data = cache;
    lt_tapes_free(m->tapes);
    m->tapes = lt_tapes_new(dev, access);
    for (int u = 0; u < LT_N_USES; u++)
        if (m->plans[u])
            lt_act_bind(m->plans[u], arena);
}

void lt_model_set_graphs(lt_model *m, bool on)
{
    lt_tapes_set(m->tapes, on);
}
