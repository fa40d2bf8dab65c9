/* optim/adamw.c - norms and updates over slices. */
#include "optim/adamw.h"

void lt_optim_norms(lt_dev *dev, const lt_optim_slice *slices, int n, double *sums)
{
    for (int i = 0; i < n; i++)
        dev->ops->sum_squares(dev, &sums[i], slices[i].g);
}

void lt_optim_update(lt_dev *dev, const lt_optim *o, const lt_optim_slice *slices, int n,
                     const double *sums, int n_sums, lt_step_state *state)
{
    lt_adamw run = { o->beta1, o->beta2, o->eps, o->weight_decay, o->decoupled };

    dev->ops->grad_norm_finish(dev, state, sums, n_sums, o->max_norm, &run);
    dev->ops->loss_scale_update(dev, state, &o->scaling);
    for (int i = 0; i < n; i++) {
        const lt_optim_slice *s = &slices[i];

        run.weight_decay = s->decay || o->decay_all ? o->weight_decay : 0.0f;
        dev->ops->adamw(dev, s->p, s->copy, s->m, s->v, s->g, state, &run);
    }
}
