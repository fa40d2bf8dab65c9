/* device/profile.c - timing wrappers around the operation table. */
#include "device/profile.h"

#include "base/clock.h"

#include <string.h>

static struct {
    const lt_ops *real;
    lt_profile *into;
} profiled;

const char *lt_op_class_name(lt_op_class c)
{
    static const char *const names[LT_N_CLASSES] = { "matmul", "attention", "norm",     "head",
                                                     "embed",  "pointwise", "optimizer" };

    return names[c];
}

/* Waits, then books the time since `start`.  A stuck fault stays with the device for the caller. */
static void book(lt_dev *dev, lt_op_class c, double start)
{
    if (lt_dev_sync(dev) != LT_OK)
        return;
    profiled.into->seconds[c] += lt_now() - start;
    profiled.into->calls[c]++;
}

#define TIMED(class_, call)                                                                        \
    do {                                                                                           \
        double start = lt_now();                                                                   \
        profiled.real->call;                                                                       \
        book(dev, class_, start);                                                                  \
    } while (0)

static void timed_zero(lt_dev *dev, void *data, size_t bytes)
{
    TIMED(LT_CLASS_POINTWISE, zero(dev, data, bytes));
}

static void timed_copy(lt_dev *dev, lt_tensor dst, lt_tensor src)
{
    TIMED(LT_CLASS_POINTWISE, copy(dev, dst, src));
}

static void timed_matmul(lt_dev *dev, const lt_matmul *m)
{
    TIMED(LT_CLASS_MATMUL, matmul(dev, m));
}

static void timed_col_sum(lt_dev *dev, lt_tensor out, lt_tensor x, bool add)
{
    TIMED(LT_CLASS_POINTWISE, col_sum(dev, out, x, add));
}

static void timed_act(lt_dev *dev, lt_tensor out, lt_tensor x, lt_act kind)
{
    TIMED(LT_CLASS_POINTWISE, act(dev, out, x, kind));
}

static void timed_embed(lt_dev *dev, lt_tensor out, lt_tensor ids, lt_tensor positions,
                        lt_tensor wte, lt_tensor wpe)
{
    TIMED(LT_CLASS_EMBED, embed(dev, out, ids, positions, wte, wpe));
}

static void timed_embed_grad(lt_dev *dev, lt_tensor dwte, lt_tensor dwpe, lt_tensor dout,
                             lt_tensor ids, lt_tensor positions, bool add_wte, bool add_wpe)
{
    TIMED(LT_CLASS_EMBED, embed_grad(dev, dwte, dwpe, dout, ids, positions, add_wte, add_wpe));
}

static void timed_residual_norm(lt_dev *dev, const lt_residual_norm *n)
{
    TIMED(LT_CLASS_NORM, residual_norm(dev, n));
}

static void timed_norm_grad(lt_dev *dev, const lt_norm_grad *n)
{
    TIMED(LT_CLASS_NORM, norm_grad(dev, n));
}

static void timed_attention(lt_dev *dev, const lt_attention *a)
{
    TIMED(LT_CLASS_ATTENTION, attention(dev, a));
}

static void timed_attention_grad(lt_dev *dev, const lt_attention_grad *a)
{
    TIMED(LT_CLASS_ATTENTION, attention_grad(dev, a));
}

static void timed_head_loss(lt_dev *dev, const lt_head_loss *h)
{
    TIMED(LT_CLASS_HEAD, head_loss(dev, h));
}

static void timed_step_begin(lt_dev *dev, lt_step_state *state)
{
    TIMED(LT_CLASS_OPTIMIZER, step_begin(dev, state));
}

static void timed_loss_scale_update(lt_dev *dev, lt_step_state *state, const lt_loss_scaling *run)
{
    TIMED(LT_CLASS_OPTIMIZER, loss_scale_update(dev, state, run));
}

static void timed_sum_losses(lt_dev *dev, lt_step_state *state, lt_tensor losses)
{
    TIMED(LT_CLASS_HEAD, sum_losses(dev, state, losses));
}

static void timed_sum_squares(lt_dev *dev, double *sum, lt_tensor g)
{
    TIMED(LT_CLASS_OPTIMIZER, sum_squares(dev, sum, g));
}

static void timed_grad_norm_finish(lt_dev *dev, lt_step_state *state, const double *sums,
                                   int n_ranks, int n, float max_norm, const lt_adamw *run)
{
    TIMED(LT_CLASS_OPTIMIZER, grad_norm_finish(dev, state, sums, n_ranks, n, max_norm, run));
}

static void timed_find_nonfinite(lt_dev *dev, lt_step_state *state, const lt_range *ranges, int n,
                                 lt_dtype dtype)
{
    TIMED(LT_CLASS_OPTIMIZER, find_nonfinite(dev, state, ranges, n, dtype));
}

static void timed_accumulate(lt_dev *dev, lt_tensor dst, lt_tensor src, bool add)
{
    TIMED(LT_CLASS_OPTIMIZER, accumulate(dev, dst, src, add));
}

static void timed_adamw(lt_dev *dev, lt_tensor p, lt_tensor copy, lt_tensor m, lt_tensor v,
                        lt_tensor g, const lt_step_state *state, const lt_adamw *run)
{
    TIMED(LT_CLASS_OPTIMIZER, adamw(dev, p, copy, m, v, g, state, run));
}

static const lt_ops timed_ops = { .zero = timed_zero,
                                  .copy = timed_copy,
                                  .matmul = timed_matmul,
                                  .col_sum = timed_col_sum,
                                  .act = timed_act,
                                  .embed = timed_embed,
                                  .embed_grad = timed_embed_grad,
                                  .residual_norm = timed_residual_norm,
                                  .norm_grad = timed_norm_grad,
                                  .attention = timed_attention,
                                  .attention_grad = timed_attention_grad,
                                  .head_loss = timed_head_loss,
                                  .step_begin = timed_step_begin,
                                  .loss_scale_update = timed_loss_scale_update,
                                  .sum_losses = timed_sum_losses,
                                  .sum_squares = timed_sum_squares,
                                  .grad_norm_finish = timed_grad_norm_finish,
                                  .find_nonfinite = timed_find_nonfinite,
                                  .accumulate = timed_accumulate,
                                  .adamw = timed_adamw };

void lt_profile_attach(lt_dev *dev, lt_profile *into)
{
    LT_BUG_ON(profiled.real);
    profiled.real = dev->ops;
    profiled.into = into;
    dev->ops = &timed_ops;
}

void lt_profile_detach(lt_dev *dev)
{
    LT_BUG_ON(!profiled.real);
    dev->ops = profiled.real;
    profiled.real = NULL;
}
