/* test_tape.c - passes that are played from tape do what the model's code does, in its order.
 *
 * A CPU records nothing, so a fake backend stands before it: between capture_begin and capture_end
 * its operations go into a list, which graph_launch runs.  Whatever runs, operation or hook, is
 * traced, and the traces of a free, a recorded and a played pass must agree.  With
 * LT_TEST_DEVICE=cuda the last test compares real graphs with free runs, bit by bit. */
#include "lt_test.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/model.h"

#include <stdlib.h>

enum { B = 2, T = 64, ROWS = B * T, VOCAB = 300, MAX_PARAMS = 64, MAX_TRACE = 400, SLOTS = 12 };

/* ---- the fake backend */

typedef enum op_kind {
    OP_COPY,
    OP_MATMUL,
    OP_COL_SUM,
    OP_ACT,
    OP_EMBED,
    OP_EMBED_GRAD,
    OP_NORM,
    OP_NORM_GRAD,
    OP_ATTENTION,
    OP_ATTENTION_GRAD,
    OP_HEAD_LOSS,
    TRACE_HOOK, /* no operation */
} op_kind;

/* One call; operations without a struct of their own have tensors t and flags. */
typedef struct op_call {
    op_kind kind;
    lt_tensor t[6];
    bool flags[2];
    lt_act act;
    lt_matmul matmul;
    lt_residual_norm norm;
    lt_norm_grad norm_grad;
    lt_attention attention;
    lt_attention_grad attention_grad;
    lt_head_loss head_loss;
} op_call;

struct lt_graph {
    op_call *calls;
    size_t n, capacity;
};

static struct {
    lt_backend backend;
    const lt_ops *real;
    lt_graph *recording; /* NULL: operations run */
    bool cannot_end;
    int n_captures, n_launches, n_graphs;
    uint64_t trace[MAX_TRACE];
    int n_trace;
} fake;

static void mix(uint64_t *h, uint64_t x)
{
    *h = (*h ^ x) * 0x9e3779b97f4a7c15u;
    *h ^= *h >> 29;
}

static void mix_tensors(uint64_t *h, const lt_tensor *t, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        mix(h, (uint64_t)(uintptr_t)t[i].data);
        mix(h, t[i].data ? (uint64_t)(t[i].rows * 65536 + t[i].cols * 16 + t[i].dtype) : 0);
        mix(h, t[i].data ? (uint64_t)t[i].stride : 0);
    }
}

#define MIX(h, ...)                                                                                \
    mix_tensors(h, (lt_tensor[]){ __VA_ARGS__ }, LT_COUNT(((lt_tensor[]){ __VA_ARGS__ })))

static void mix_attention(uint64_t *h, const lt_attention *a)
{
    MIX(h, a->out, a->lse, a->q, a->k, a->v, a->doc_start);
    mix(h, (uint64_t)(a->n_batch + 8 * a->n_head + 64 * a->t_q + 65536 * a->kv_rows));
}

static void put_trace(op_kind kind, uint64_t h)
{
    LT_BUG_ON(fake.n_trace == MAX_TRACE);
    mix(&h, (uint64_t)kind);
    fake.trace[fake.n_trace++] = h;
}

static void trace_op(const op_call *c)
{
    const lt_matmul *m = &c->matmul;
    const lt_residual_norm *n = &c->norm;
    const lt_norm_grad *g = &c->norm_grad;
    const lt_head_loss *l = &c->head_loss;
    uint64_t h = 1;

    mix_tensors(&h, c->t, LT_COUNT(c->t));
    MIX(&h, m->d, m->a, m->b, m->c, m->bias, m->aux, m->col_sum);
    MIX(&h, n->out, n->resid, n->mean, n->rstd, n->x, n->branch, n->weight, n->bias);
    MIX(&h, g->dx, g->dweight, g->dbias, g->col_sum, g->dout, g->dresid, g->resid, g->weight);
    MIX(&h, l->losses, l->dx, l->dw, l->chunk, l->x, l->w, l->targets);
    mix_attention(&h, &c->attention);
    mix_attention(&h, &c->attention_grad.fwd);
    MIX(&h, c->attention_grad.dq, c->attention_grad.dk, c->attention_grad.dv);
    mix(&h, (uint64_t)(c->flags[0] + 2 * c->flags[1] + 4 * m->add + 8 * m->add_col_sum));
    mix(&h, (uint64_t)(m->epilogue * 4 + m->trans_a + 2 * m->trans_b));
    mix(&h, (uint64_t)(g->add + 2 * l->add) + (uint64_t)(uintptr_t)l->state);
    put_trace(c->kind, h);
}

static void run_op(lt_dev *dev, const op_call *c)
{
    const lt_ops *ops = fake.real;
    const lt_tensor *t = c->t;

    trace_op(c);
    switch (c->kind) {
    case OP_COPY:
        ops->copy(dev, t[0], t[1]);
        return;
    case OP_MATMUL:
        ops->matmul(dev, &c->matmul);
        return;
    case OP_COL_SUM:
        ops->col_sum(dev, t[0], t[1], c->flags[0]);
        return;
    case OP_ACT:
        ops->act(dev, t[0], t[1], c->act);
        return;
    case OP_EMBED:
        ops->embed(dev, t[0], t[1], t[2], t[3], t[4]);
        return;
    case OP_EMBED_GRAD:
        ops->embed_grad(dev, t[0], t[1], t[2], t[3], t[4], c->flags[0], c->flags[1]);
        return;
    case OP_NORM:
        ops->residual_norm(dev, &c->norm);
        return;
    case OP_NORM_GRAD:
        ops->norm_grad(dev, &c->norm_grad);
        return;
    case OP_ATTENTION:
        ops->attention(dev, &c->attention);
        return;
    case OP_ATTENTION_GRAD:
        ops->attention_grad(dev, &c->attention_grad);
        return;
    case OP_HEAD_LOSS:
        ops->head_loss(dev, &c->head_loss);
        return;
    case TRACE_HOOK:
        LT_BUG_ON(true);
    }
}

static void call(lt_dev *dev, const op_call *c)
{
    lt_graph *g = fake.recording;

    if (!g) {
        run_op(dev, c);
        return;
    }
    lt_array_reserve(&g->calls, &g->capacity, g->n + 1, sizeof *g->calls);
    g->calls[g->n++] = *c;
}

static void fake_copy(lt_dev *dev, lt_tensor dst, lt_tensor src)
{
    call(dev, &(op_call){ OP_COPY, .t = { dst, src } });
}

static void fake_matmul(lt_dev *dev, const lt_matmul *m)
{
    call(dev, &(op_call){ OP_MATMUL, .matmul = *m });
}

static void fake_col_sum(lt_dev *dev, lt_tensor out, lt_tensor x, bool add)
{
    call(dev, &(op_call){ OP_COL_SUM, .t = { out, x }, .flags = { add } });
}

static void fake_act(lt_dev *dev, lt_tensor out, lt_tensor x, lt_act kind)
{
    call(dev, &(op_call){ OP_ACT, .t = { out, x }, .act = kind });
}

static void fake_embed(lt_dev *dev, lt_tensor out, lt_tensor ids, lt_tensor positions,
                       lt_tensor wte, lt_tensor wpe)
{
    call(dev, &(op_call){ OP_EMBED, .t = { out, ids, positions, wte, wpe } });
}

static void fake_embed_grad(lt_dev *dev, lt_tensor dwte, lt_tensor dwpe, lt_tensor dout,
                            lt_tensor ids, lt_tensor positions, bool add_wte, bool add_wpe)
{
    call(dev, &(op_call){ OP_EMBED_GRAD, .t = { dwte, dwpe, dout, ids, positions },
                          .flags = { add_wte, add_wpe } });
}

static void fake_residual_norm(lt_dev *dev, const lt_residual_norm *n)
{
    call(dev, &(op_call){ OP_NORM, .norm = *n });
}

static void fake_norm_grad(lt_dev *dev, const lt_norm_grad *n)
{
    call(dev, &(op_call){ OP_NORM_GRAD, .norm_grad = *n });
}

static void fake_attention(lt_dev *dev, const lt_attention *a)
{
    call(dev, &(op_call){ OP_ATTENTION, .attention = *a });
}

static void fake_attention_grad(lt_dev *dev, const lt_attention_grad *a)
{
    call(dev, &(op_call){ OP_ATTENTION_GRAD, .attention_grad = *a });
}

static void fake_head_loss(lt_dev *dev, const lt_head_loss *h)
{
    call(dev, &(op_call){ OP_HEAD_LOSS, .head_loss = *h });
}

/* What the model does not call stays NULL. */
static lt_ops fake_ops = { .copy = fake_copy,
                           .matmul = fake_matmul,
                           .col_sum = fake_col_sum,
                           .act = fake_act,
                           .embed = fake_embed,
                           .embed_grad = fake_embed_grad,
                           .residual_norm = fake_residual_norm,
                           .norm_grad = fake_norm_grad,
                           .attention = fake_attention,
                           .attention_grad = fake_attention_grad,
                           .head_loss = fake_head_loss };

static lt_err fake_capture_begin(lt_dev *dev)
{
    (void)dev;
    LT_BUG_ON(fake.recording);
    fake.recording = lt_new0(sizeof *fake.recording);
    fake.n_captures++;
    return LT_OK;
}

static void fake_graph_free(lt_dev *dev, lt_graph *graph)
{
    (void)dev;
    fake.n_graphs--;
    free(graph->calls);
    free(graph);
}

static lt_err fake_capture_end(lt_dev *dev, lt_graph **out)
{
    lt_graph *g = fake.recording;

    LT_BUG_ON(!g || g->n == 0);
    fake.recording = NULL;
    fake.n_graphs++;
    if (fake.cannot_end) {
        fake_graph_free(dev, g);
        return lt_fail(LT_EFAULT, "matmul cannot be recorded");
    }
    *out = g;
    return LT_OK;
}

static void fake_graph_launch(lt_dev *dev, lt_graph *graph)
{
    LT_BUG_ON(fake.recording);
    fake.n_launches++;
    for (size_t i = 0; i < graph->n; i++)
        run_op(dev, &graph->calls[i]);
}

static void fake_install(lt_dev *dev)
{
    memset(&fake, 0, sizeof fake);
    fake.backend = *dev->backend;
    fake.backend.capture_begin = fake_capture_begin;
    fake.backend.capture_end = fake_capture_end;
    fake.backend.graph_launch = fake_graph_launch;
    fake.backend.graph_free = fake_graph_free;
    fake.real = dev->ops;
    fake_ops.step_begin = dev->ops->step_begin;
    fake_ops.sum_losses = dev->ops->sum_losses;
    fake_ops.grad_norm_finish = dev->ops->grad_norm_finish;
    fake_ops.adamw = dev->ops->adamw;
    dev->backend = &fake.backend;
    dev->ops = &fake_ops;
}

/* ---- a tiny GPT-2; each parameter and gradient has a buffer of its own */

typedef struct tiny {
    lt_unit_access access; /* first */
    lt_model_config config;
    lt_model_shape shape;
    lt_param_table *table;
    lt_model *model;
    lt_dev *dev;
    lt_tensor params[MAX_PARAMS], grads[MAX_PARAMS]; /* compute type; fp32 */
    lt_tensor master[MAX_PARAMS], m[MAX_PARAMS], v[MAX_PARAMS];
    int32_t *ids[SLOTS]; /* device, as the rest: each slot ids, targets, positions */
    float *losses;
    double *sums;
    lt_step_state *state;
    void *arena;
    int n_looked_up; /* parameters asked for: the model's code runs */
} tiny;

static lt_tensor access_param(lt_unit_access *a, int index)
{
    ((tiny *)a)->n_looked_up++;
    return ((tiny *)a)->params[index];
}

static lt_tensor access_grad(lt_unit_access *a, int index)
{
    return ((tiny *)a)->grads[index];
}

static void note_hook(int hook, int unit)
{
    LT_BUG_ON(fake.recording); /* a hook is no part of a graph */
    if (fake.real)
        put_trace(TRACE_HOOK, (uint64_t)(hook * 100 + unit));
}

static void access_acquire(lt_unit_access *a, int unit)
{
    (void)a;
    note_hook(1, unit);
}

static void access_release(lt_unit_access *a, int unit)
{
    (void)a;
    note_hook(2, unit);
}

static void access_grads_done(lt_unit_access *a, int unit)
{
    (void)a;
    note_hook(3, unit);
}

static void *take(tiny *m, size_t bytes)
{
    void *p = NULL;

    LT_BUG_ON(lt_dev_alloc(m->dev, LT_MEMORY_DEVICE, bytes, &p) != LT_OK);
    return p;
}

static void send(tiny *m, void *dst, const void *src, size_t bytes)
{
    lt_dev_copy(m->dev, LT_STREAM_COMPUTE, dst, src, bytes);
    LT_BUG_ON(lt_dev_sync(m->dev) != LT_OK);
}

static void fill_param(tiny *m, int i)
{
    const lt_param *p = &m->table->params[i];
    size_t n = (size_t)p->phys_count;
    float *x = lt_new_array0(n, sizeof *x);
    void *narrow = lt_new_array0(n, sizeof *x);

    LT_BUG_ON(i >= MAX_PARAMS);
    m->params[i] = lt_matrix(take(m, n * 4), m->shape.act, p->phys_rows, p->cols);
    m->grads[i] = lt_matrix(take(m, n * 4), LT_F32, p->phys_rows, p->cols);
    m->master[i] = lt_vector(take(m, n * 4), LT_F32, (int64_t)n);
    m->m[i] = lt_vector(take(m, n * 4), LT_F32, (int64_t)n);
    m->v[i] = lt_vector(take(m, n * 4), LT_F32, (int64_t)n);
    lt_param_init_slice(m->table, &m->config, i, 5, 0, p->count, x);
    lt_convert(narrow, m->shape.act, x, LT_F32, n);
    send(m, m->master[i].data, x, n * 4);
    send(m, m->params[i].data, narrow, n * lt_dtype_bytes(m->shape.act));
    free(x);
    free(narrow);
}

static void fill_slots(tiny *m)
{
    int32_t host[3 * ROWS];

    for (int s = 0; s < SLOTS; s++) {
        for (int i = 0; i < 2 * ROWS; i++)
            host[i] = (int32_t)(lt_random_u64(3, (uint64_t)(s % 2), (uint64_t)i) % VOCAB);
        for (int i = 0; i < ROWS; i++)
            host[2 * ROWS + i] = i % T;
        m->ids[s] = take(m, sizeof host);
        send(m, m->ids[s], host, sizeof host);
    }
}

static lt_model_config config_of(void)
{
    return (lt_model_config){ .family = LT_FAMILY_GPT2,
                              .vocab_size = VOCAB,
                              .n_positions = T,
                              .n_layer = 2,
                              .n_embd = 64,
                              .n_head = 2,
                              .n_kv_head = 2,
                              .head_dim = 32,
                              .n_inner = 256,
                              .norm = LT_NORM_LAYER,
                              .norm_eps = 1e-5,
                              .act = LT_ACT_GELU_TANH,
                              .tied = true,
                              .init_std = 0.02,
                              .bos_id = -1,
                              .eos_id = -1 };
}

static tiny *tiny_open(const char *device, lt_dtype act, bool with_fake)
{
    const lt_step_state state = { .lr = 1e-3f, .inv_tokens = 1.0f / ROWS, .loss_scale = 1 };
    tiny *m = lt_new0(sizeof *m);
    lt_dev_need need;

    memset(&fake, 0, sizeof fake);
    m->access = (lt_unit_access){ access_param, access_grad, access_acquire, access_release,
                                  access_grads_done };
    m->config = config_of();
    m->shape = (lt_model_shape){
        .n_batch = B, .seq = T, .act = act, .grad = LT_F32, .chunk_rows = 48, .uses = { true, true }
    };
    m->table = lt_param_table_new(&m->config);
    LT_BUG_ON(lt_model_new(&m->model, &m->config, m->table, &m->shape) != LT_OK);
    if (lt_dev_open(&m->dev, device, &(lt_dev_options){ .n_threads = 2, .deterministic = true }))
        lt_bug(__FILE__, __LINE__, __func__, lt_err_text());
    need = lt_model_need(m->model);
    need.n_threads = 2;
    LT_BUG_ON(lt_dev_reserve(m->dev, &need) != LT_OK);
    for (int i = 0; i < m->table->n_params; i++)
        fill_param(m, i);
    fill_slots(m);
    m->losses = take(m, ROWS * sizeof *m->losses);
    m->sums = take(m, (MAX_PARAMS + 1) * sizeof *m->sums);
    m->state = take(m, sizeof state);
    send(m, m->state, &state, sizeof state);
    m->arena = take(m, lt_model_arena_bytes(m->model));
    if (with_fake)
        fake_install(m->dev);
    lt_model_bind(m->model, m->dev, &m->access, m->arena, NULL);
    m->dev->ops->step_begin(m->dev, m->state);
    return m;
}

static void tiny_close(tiny *m)
{
    void *others[] = { m->losses, m->sums, m->state, m->arena };

    lt_model_free(m->model);
    LT_BUG_ON(fake.n_graphs != 0);
    for (int i = 0; i < m->table->n_params; i++) {
        lt_tensor *t[] = { &m->params[i], &m->grads[i], &m->master[i], &m->m[i], &m->v[i] };

        for (size_t k = 0; k < LT_COUNT(t); k++)
            lt_dev_free(m->dev, LT_MEMORY_DEVICE, t[k]->data);
    }
    for (int s = 0; s < SLOTS; s++)
        lt_dev_free(m->dev, LT_MEMORY_DEVICE, m->ids[s]);
    for (size_t i = 0; i < LT_COUNT(others); i++)
        lt_dev_free(m->dev, LT_MEMORY_DEVICE, others[i]);
    lt_dev_close(m->dev);
    lt_param_table_free(m->table);
    free(m);
}

static lt_model_batch batch_of(const tiny *m, int slot)
{
    return (lt_model_batch){ .ids = lt_vector(m->ids[slot], LT_I32, ROWS),
                             .targets = lt_vector(m->ids[slot] + ROWS, LT_I32, ROWS),
                             .positions = lt_vector(m->ids[slot] + 2 * ROWS, LT_I32, ROWS) };
}

static void pass(tiny *m, int slot, bool add)
{
    lt_model_batch batch = batch_of(m, slot);

    fake.n_trace = 0;
    m->n_looked_up = 0;
    lt_model_train(m->model, &batch, lt_vector(m->losses, LT_F32, ROWS), m->state, add);
}

/* What the last pass left behind, in bits. */
static uint64_t result_of(tiny *m)
{
    uint64_t h = 0;

    for (int i = 0; i < m->table->n_params; i++)
        for (int64_t k = 0; k < m->table->params[i].phys_count; k++) {
            uint32_t bits;

            memcpy(&bits, (float *)m->grads[i].data + k, sizeof bits);
            mix(&h, bits);
        }
    for (int i = 0; i < ROWS; i++) {
        uint32_t bits;

        memcpy(&bits, m->losses + i, sizeof bits);
        mix(&h, bits);
    }
    return h;
}

/* ---- tests */

LT_TEST(tape_plays_what_the_model_did_in_its_order)
{
    tiny *m = tiny_open("cpu", LT_F32, true);
    uint64_t first[MAX_TRACE], result;
    int n, graphs = 2 * (int)m->config.n_layer + 3;

    pass(m, 0, false);
    LT_CHECK_INT(fake.n_captures, 0);
    n = fake.n_trace;
    memcpy(first, fake.trace, sizeof first);
    result = result_of(m);
    LT_CHECK(n > 40 && m->n_looked_up > 0);
    for (int run = 1; run < 4; run++) { /* recorded, played, played */
        pass(m, 0, false);
        LT_CHECK_INT(fake.n_trace, n);
        LT_CHECK(memcmp(fake.trace, first, (size_t)n * sizeof *first) == 0);
        LT_CHECK(result_of(m) == result);
        LT_CHECK((m->n_looked_up > 0) == (run == 1));
        LT_CHECK_INT(fake.n_captures, graphs);
        LT_CHECK_INT(fake.n_launches, run * graphs);
    }
    tiny_close(m);
}

LT_TEST(tape_tells_passes_apart_by_buffers_and_flags)
{
    tiny *m = tiny_open("cpu", LT_F32, true);
    lt_model_batch batch = batch_of(m, 0);
    void *scratch = m->dev->scratch;
    int recorded;

    for (int run = 0; run < 3; run++)
        for (int slot = 0; slot < 2; slot++)
            for (int add = 0; add < 2; add++) {
                pass(m, slot, add);
                LT_CHECK((m->n_looked_up > 0) == (run < 2));
            }
    for (int run = 0; run < 3; run++) {
        m->n_looked_up = 0;
        lt_model_evaluate(m->model, &batch, lt_vector(m->losses, LT_F32, ROWS));
        LT_CHECK((m->n_looked_up > 0) == (run < 2));
    }
    pass(m, 0, false);
    LT_CHECK_INT(m->n_looked_up, 0);
    m->dev->scratch = take(m, m->dev->scratch_bytes); /* as after lt_dev_reserve */
    pass(m, 0, false);
    LT_CHECK(m->n_looked_up > 0);
    lt_dev_free(m->dev, LT_MEMORY_DEVICE, m->dev->scratch);
    m->dev->scratch = scratch;
    m->dev->ops = fake.real; /* a table that is not the device's own */
    recorded = fake.n_graphs;
    pass(m, 0, false);
    LT_CHECK(m->n_looked_up > 0);
    LT_CHECK_INT(fake.n_graphs, recorded);
    tiny_close(m);
}

LT_TEST(tape_keeps_a_bounded_number_of_passes)
{
    tiny *m = tiny_open("cpu", LT_F32, true);
    int most = 0;

    for (int slot = 0; slot < SLOTS; slot++)
        for (int run = 0; run < 3; run++) {
            pass(m, slot, false);
            LT_CHECK((m->n_looked_up > 0) == (run < 2));
            most = fake.n_graphs > most ? fake.n_graphs : most;
        }
    LT_CHECK_INT(most, 8 * (2 * (int)m->config.n_layer + 3));
    pass(m, SLOTS - 1, false);
    LT_CHECK_INT(m->n_looked_up, 0);
    pass(m, 0, false); /* made room long ago */
    LT_CHECK(m->n_looked_up > 0);
    tiny_close(m);
}

LT_TEST(tape_can_be_turned_off_and_gives_up_after_a_fault)
{
    tiny *m = tiny_open("cpu", LT_F32, true);

    lt_model_set_graphs(m->model, false);
    for (int run = 0; run < 3; run++)
        pass(m, 0, false);
    LT_CHECK_INT(fake.n_captures, 0);
    lt_model_set_graphs(m->model, true);
    pass(m, 0, false);
    fake.cannot_end = true;
    pass(m, 0, false);
    LT_CHECK_INT(fake.n_captures, 1);
    for (int run = 0; run < 3; run++) {
        pass(m, 0, false);
        LT_CHECK(m->n_looked_up > 0);
    }
    LT_CHECK_INT(fake.n_captures, 1);
    LT_CHECK_INT(fake.n_graphs, 0);
    tiny_close(m);
}

/* Losses of each row of 20 steps of two micro-batches, in bits. */
static void train(const char *device, bool graphs, uint32_t bits[20][ROWS])
{
    const lt_adamw adam = { .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .decoupled = true };
    tiny *m = tiny_open(device, LT_BF16, strcmp(device, "cpu") == 0);
    const lt_ops *ops = m->dev->ops;

    lt_model_set_graphs(m->model, graphs);
    for (int step = 0; step < 20; step++) {
        ops->step_begin(m->dev, m->state);
        pass(m, step % 2, false);
        pass(m, 1 - step % 2, true);
        ops->grad_norm_finish(m->dev, m->state, m->sums, 1, 1, 0, &adam);
        for (int i = 0; i < m->table->n_params; i++) {
            int64_t n = m->table->params[i].phys_count;

            ops->adamw(m->dev, m->master[i], lt_vector(m->params[i].data, LT_BF16, n), m->m[i],
                       m->v[i], lt_vector(m->grads[i].data, LT_F32, n), m->state, &adam);
        }
        send(m, bits[step], m->losses, sizeof bits[step]);
    }
    LT_BUG_ON(graphs != (m->n_looked_up == 0));
    tiny_close(m);
}

LT_TEST(graphs_change_no_bit_of_twenty_steps)
{
    static uint32_t free_run[20][ROWS], played[20][ROWS];
    const char *device = getenv("LT_TEST_DEVICE");
    float before, after;

    train(device ? device : "cpu", false, free_run);
    train(device ? device : "cpu", true, played);
    LT_CHECK(memcmp(free_run, played, sizeof played) == 0);
    memcpy(&before, &played[0][7], sizeof before);
    memcpy(&after, &played[18][7], sizeof after);
    LT_CHECK(after < before - 0.1f); /* it did learn */
}
