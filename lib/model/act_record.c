/* model/act_record.c - the recording device: each operation names the tensors it touches. */
#include "base/mem.h"
#include "model/act_plan.h"

typedef struct recorder {
    lt_dev base;
    lt_act_plan *plan;
} recorder;

static void touch(lt_dev *dev, const lt_tensor *tensors, size_t n)
{
    lt_act_plan *plan = ((recorder *)dev)->plan;

    for (size_t i = 0; i < n; i++)
        lt_act_touch(plan, tensors[i]);
    lt_act_tick(plan);
}

#define TOUCH(dev, ...)                                                                            \
    touch(dev, (lt_tensor[]){ __VA_ARGS__ }, LT_COUNT(((lt_tensor[]){ __VA_ARGS__ })))

static void record_copy(lt_dev *dev, lt_tensor dst, lt_tensor src)
{
    TOUCH(dev, dst, src);
}

static void record_matmul(lt_dev *dev, const lt_matmul *m)
{
    TOUCH(dev, m->d, m->a, m->b, m->c, m->bias, m->aux, m->col_sum);
}

static void record_col_sum(lt_dev *dev, lt_tensor out, lt_tensor x, bool add)
{
    (void)add;
    TOUCH(dev, out, x);
}

static void record_act(lt_dev *dev, lt_tensor out, lt_tensor x, lt_act kind)
{
    (void)kind;
    TOUCH(dev, out, x);
}

static void record_embed(lt_dev *dev, lt_tensor out, lt_tensor ids, lt_tensor positions,
                         lt_tensor wte, lt_tensor wpe)
{
    TOUCH(dev, out, ids, positions, wte, wpe);
}

static void record_embed_grad(lt_dev *dev, lt_tensor dwte, lt_tensor dwpe, lt_tensor dout,
                              lt_tensor ids, lt_tensor positions, bool add_wte, bool add_wpe)
{
    (void)add_wte, (void)add_wpe;
    TOUCH(dev, dwte, dwpe, dout, ids, positions);
}

static void record_residual_norm(lt_dev *dev, const lt_residual_norm *n)
{
    TOUCH(dev, n->out, n->resid, n->mean, n->rstd, n->x, n->branch, n->weight, n->bias);
}

static void record_norm_grad(lt_dev *dev, const lt_norm_grad *n)
{
    TOUCH(dev, n->dx, n->dweight, n->dbias, n->col_sum, n->dout, n->dresid, n->resid, n->weight,
          n->mean, n->rstd);
}

static void record_attention(lt_dev *dev, const lt_attention *a)
{
    TOUCH(dev, a->out, a->lse, a->q, a->k, a->v, a->doc_start);
}

static void record_attention_grad(lt_dev *dev, const lt_attention_grad *g)
{
    TOUCH(dev, g->fwd.out, g->fwd.lse, g->fwd.q, g->fwd.k, g->fwd.v, g->fwd.doc_start, g->dq, g->dk,
          g->dv, g->dout);
}

static void record_head_loss(lt_dev *dev, const lt_head_loss *h)
{
    TOUCH(dev, h->losses, h->dx, h->dw, h->chunk, h->x, h->w, h->targets);
}

/* Slots that the model does not call stay NULL. */
static const lt_ops recorder_ops = { .copy = record_copy,
                                     .matmul = record_matmul,
                                     .col_sum = record_col_sum,
                                     .act = record_act,
                                     .embed = record_embed,
                                     .embed_grad = record_embed_grad,
                                     .residual_norm = record_residual_norm,
                                     .norm_grad = record_norm_grad,
                                     .attention = record_attention,
                                     .attention_grad = record_attention_grad,
                                     .head_loss = record_head_loss };

lt_dev *lt_act_recorder_new(lt_act_plan *p)
{
    recorder *r = lt_new0(sizeof *r);

    r->base.ops = &recorder_ops;
    r->plan = p;
    return &r->base;
}
