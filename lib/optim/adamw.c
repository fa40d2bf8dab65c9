/* optim/adamw.c - the decisions of a step, and the update of a slice. */
#include "optim/adamw.h"

void lt_optim_decide(lt_dev *dev, const lt_optim *o, const double *sums, int n_ranks, int n,
                     lt_step_state *state)
{
    lt_adamw run = { o->beta1, o->beta2, o->eps, o->weight_decay, o->decoupled };

    dev->ops->grad_norm_finish(dev, state, sums, n_ranks, n, o->max_norm, &run);
    dev->ops->loss_scale_update(dev, state, &o->scaling);
}

void lt_optim_update(lt_dev *dev, const lt_optim *o, const lt_optim_slice *s,
                     const lt_step_state *state)
{
    lt_adamw run = { o->beta1, o->beta2, o->eps, o->weight_decay, o->decoupled };

    if (!s->decay && !o->decay_all)
        run.weight_decay = 0;
    dev->ops->adamw(dev, s->p, s->copy, s->m, s->v, s->g, state, &run);
}
