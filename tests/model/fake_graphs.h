/* tests/model/fake_graphs.h - a recording device for a CPU, which has nothing to record.
 *
 * fake_install stands a backend with capture slots before an open device: between capture_begin and
 * capture_end its operations go into a list, which graph_launch runs.  Whatever runs, operation or
 * hook, leaves a number in fake.trace that is made of all its arguments.  One device at a time. */
#ifndef FAKE_GRAPHS_H
#define FAKE_GRAPHS_H

#include "base/mem.h"
#include "device/device.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TRACE = 400 };

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

#endif
