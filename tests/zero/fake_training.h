/* tests/zero/fake_training.h - a store driven as the engine drives it, by a model that computes
 * nothing: gradients are small whole numbers, a function of (step, micro-batch, parameter,
 * element), dealt out among the ranks, so that sums are exact in bf16 in any order and every stage,
 * number of ranks and offload must end at the same bits as the plain arithmetic of
 * reference_new. */
#ifndef FAKE_TRAINING_H
#define FAKE_TRAINING_H

#include "base/rng.h"
#include "lt_test.h"
#include "optim/adamw.h"
#include "thread_ranks.h"
#include "zero/store.h"

enum { N_STEPS = 3, N_SAMPLES = 12, N_STATES = 3 }; /* samples are dealt to the ranks */

typedef struct fake_model {
    lt_model_config config;
    lt_param_table *table;
    int64_t *first; /* of each parameter in the flat space of physical elements; then its length */
    int n_micro;
    /* [step][state][element]: master, moments after `step` steps */
    float *reference;
} fake_model;

static const lt_optim fake_optim = {
    .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f, .decoupled = true
};

static inline lt_step_state fake_state(int step)
{
    return (lt_step_state){ .lr = 0.01f * (float)(1 + step),
                            .clip = 0.25f,
                            .bias1 = 0.1f + 0.1f * (float)step,
                            .bias2_sqrt = 0.2f + 0.1f * (float)step };
}

static inline int64_t fake_elements(const fake_model *m)
{
    return m->first[m->table->n_params];
}

static inline float *fake_reference(const fake_model *m, int step, int state, int param)
{
    return m->reference + (step * N_STATES + state) * fake_elements(m) + m->first[param];
}

/* One sample's gradient; pad rows have none. */
static inline int fake_gradient(const fake_model *m, int step, int micro, int sample, int param,
                                int64_t element)
{
    uint64_t seed = (uint64_t)((step * 8 + micro) * N_SAMPLES + sample);

    if (element >= m->table->params[param].count)
        return 0;
    return (int)(lt_random_u64(seed, (uint64_t)param, (uint64_t)element) % 5) - 2;
}

static inline float fake_first_weight(int param, int64_t element)
{
    return (float)lt_random_normal(50, (uint64_t)param, (uint64_t)element);
}

static inline void fake_reference_step(fake_model *m, lt_dev *dev, int step)
{
    lt_step_state now = fake_state(step);

    for (int p = 0; p < m->table->n_params; p++) {
        const lt_param *q = &m->table->params[p];
        lt_tensor state[N_STATES], grad;
        float *sum = lt_new_array0((size_t)q->phys_count, sizeof *sum);

        for (int s = 0; s < N_STATES; s++) {
            state[s] = lt_vector(fake_reference(m, step + 1, s, p), LT_F32, q->phys_count);
            memcpy(state[s].data, fake_reference(m, step, s, p),
                   (size_t)q->phys_count * sizeof(float));
        }
        for (int64_t i = 0; i < q->phys_count; i++)
            for (int k = 0; k < m->n_micro * N_SAMPLES; k++)
                sum[i] += (float)fake_gradient(m, step, k / N_SAMPLES, k % N_SAMPLES, p, i);
        grad = lt_vector(sum, LT_F32, q->phys_count);
        if (q->trainable)
            lt_optim_update(dev, &fake_optim,
                            &(lt_optim_slice){ .p = state[0],
                                               .m = state[1],
                                               .v = state[2],
                                               .g = grad,
                                               .copy = lt_absent(),
                                               .decay = q->decay },
                            &now);
        free(sum);
    }
}

/* SOME: a matrix and a vector of one block, all of another, a vector of a third, so blocks are laid
 * out differently and one has no gradients.  MOST: all but one vector. */
typedef enum fake_frozen { FROZEN_NONE, FROZEN_SOME, FROZEN_MOST } fake_frozen;

static inline bool fake_is_frozen(const lt_param *p, fake_frozen frozen)
{
    bool bias = p->role == LT_ROLE_FC_BIAS;

    if (frozen == FROZEN_MOST)
        return !(bias && p->layer == 2);
    return frozen == FROZEN_SOME &&
           (p->layer == 3 || (p->layer == 1 && (bias || p->role == LT_ROLE_FC_WEIGHT)) ||
            (p->layer == 4 && bias));
}

static inline fake_model *fake_model_new(int n_micro, bool tied, fake_frozen frozen)
{
    fake_model *m = lt_new0(sizeof *m);
    lt_dev *dev = NULL;

    LT_BUG_ON(!lt_model_config_named(&m->config, "gpt2"));
    m->config.n_layer = 5;
    m->config.n_embd = 4;
    m->config.n_head = m->config.n_kv_head = 2;
    m->config.head_dim = 2;
    m->config.n_inner = 10;
    m->config.vocab_size = 37;
    m->config.n_positions = 9;
    m->config.tied = tied;
    m->n_micro = n_micro;
    m->table = lt_param_table_new(&m->config);
    for (int p = 0; p < m->table->n_params; p++)
        m->table->params[p].trainable = !fake_is_frozen(&m->table->params[p], frozen);
    m->first = lt_new_array0((size_t)m->table->n_params + 1, sizeof *m->first);
    for (int p = 0; p < m->table->n_params; p++)
        m->first[p + 1] = m->first[p] + m->table->params[p].phys_count;
    m->reference =
        lt_new_array0((size_t)((N_STEPS + 1) * N_STATES * fake_elements(m)), sizeof(float));
    for (int p = 0; p < m->table->n_params; p++)
        for (int64_t i = 0; i < m->table->params[p].count; i++)
            fake_reference(m, 0, 0, p)[i] = fake_first_weight(p, i);
    LT_BUG_ON(lt_dev_open(&dev, "cpu", &(lt_dev_options){ .n_threads = 1 }) != LT_OK);
    for (int step = 0; step < N_STEPS; step++)
        fake_reference_step(m, dev, step);
    lt_dev_close(dev);
    return m;
}

static inline void fake_model_free(fake_model *m)
{
    lt_param_table_free(m->table);
    free(m->first);
    free(m->reference);
    free(m);
}

/* ---- one rank's store */

typedef struct fake_run {
    const fake_model *model;
    lt_zero_settings set; /* but rank and world */
    bool announce;        /* passes say what they will use */
    int first_step;       /* the store begins with the state after so many */
} fake_run;

typedef struct fake_store {
    thread_rank *me;
    const fake_run *run;
    const fake_model *model;
    lt_zero_plan *plan;
    lt_zero_store *z;
    lt_zero_piece *pieces;
    int n_pieces;
    int step; /* made so far */
    int sequence[64];
    bool open;
} fake_store;

static inline void fake_write(fake_store *f, lt_zero_class which)
{
    for (int i = 0; i < f->n_pieces; i++)
        RANK_CHECK_OK(f->me,
                      lt_zero_write(f->z, which, &f->pieces[i],
                                    fake_reference(f->model, f->step, which, f->pieces[i].param) +
                                        f->pieces[i].first));
}

static inline fake_store fake_store_open(thread_rank *me, const fake_run *run)
{
    fake_store f = { .me = me, .run = run, .model = run->model, .step = run->first_step };
    lt_zero_settings set = run->set;

    set.world = me->world;
    set.rank = me->rank;
    RANK_CHECK_OK(me, lt_zero_plan_new(&f.plan, f.model->table, &set));
    if (!f.plan)
        return f;
    RANK_CHECK_OK(me, lt_zero_store_open(&f.z, me->dev, me->comm, f.plan, f.model->table));
    if (!f.z)
        return f;
    f.pieces = lt_zero_plan_pieces(f.plan, f.model->table, &f.n_pieces);
    for (int which = 0; which < (set.training ? N_STATES : 1); which++)
        fake_write(&f, (lt_zero_class)which);
    RANK_CHECK_OK(me, lt_zero_refresh(f.z));
    f.open = true;
    return f;
}

static inline void fake_store_close(fake_store *f)
{
    lt_zero_store_close(f->z);
    lt_zero_plan_free(f->plan);
    free(f->pieces);
}

static inline float fake_at(lt_tensor t, int64_t i)
{
    float x;

    lt_convert(&x, LT_F32, lt_at(lt_vector(t.data, t.dtype, t.rows * t.cols), 0, i), t.dtype, 1);
    return x;
}

/* Work of the model: it runs in the order of the compute stream, maybe later. */
typedef struct fake_work {
    fake_store *f;
    lt_tensor t;
    int step, micro, param, first, last;
    bool add;
} fake_work;

static inline void fake_compute(fake_store *f, void (*run)(void *work), fake_work work)
{
    work.f = f;
    work.step = f->step;
    f->me->dev->backend->host_task(f->me->dev, LT_STREAM_COMPUTE, run, &work, sizeof work);
}

/* A parameter is the reference's master, cast. */
static inline void fake_check_param(void *context)
{
    const fake_work *w = context;
    const float *want = fake_reference(w->f->model, w->step, LT_ZERO_MASTER, w->param);
    bool same = true;

    for (int64_t i = 0; i < w->t.rows * w->t.cols; i++) {
        float cast = want[i];

        if (w->t.dtype == LT_BF16)
            cast = lt_bf16_to_f32(lt_f32_to_bf16(want[i]));
        same = same && fake_at(w->t, i) == cast;
    }
    RANK_CHECK(w->f->me, same);
}

static inline void fake_check_unit(fake_store *f, int unit)
{
    for (int p = 0; p < f->model->table->n_params; p++)
        if (f->model->table->params[p].unit == unit)
            fake_compute(f, fake_check_param,
                         (fake_work){ .t = lt_zero_param(f->z, p), .param = p });
}

static inline void fake_gather(fake_store *f, int unit)
{
    lt_zero_gather(f->z, unit);
    fake_check_unit(f, unit);
}

/* The order in which the model uses its units; the number of uses. */
static inline int fake_sequence(const fake_model *m, bool backward, int *out)
{
    int head = m->table->n_units - 1, n = 0;

    for (int u = 0; u <= head; u++)
        out[n++] = u;
    if (m->config.tied)
        out[n++] = 0;
    for (int u = head - 1; u >= 0 && backward; u--)
        out[n++] = u;
    return n;
}

static inline void fake_pass(fake_store *f, bool backward)
{
    int n = fake_sequence(f->model, backward, f->sequence);

    if (f->run->announce)
        lt_zero_pass_begin(f->z, f->sequence, n);
    for (int u = 0; u < f->model->table->n_units - 1; u++) {
        fake_gather(f, u);
        lt_zero_release(f->z, u);
    }
    fake_gather(f, f->model->table->n_units - 1);
    if (f->model->config.tied)
        fake_gather(f, 0);
}

static inline void fake_leave_head(fake_store *f)
{
    lt_zero_release(f->z, f->model->table->n_units - 1);
    if (f->model->config.tied)
        lt_zero_release(f->z, 0);
}

/* This rank's samples of [first, last) into the gradient of one parameter. */
static inline void fake_run_grad(void *context)
{
    const fake_work *w = context;
    lt_tensor g = lt_vector(w->t.data, w->t.dtype, w->t.rows * w->t.cols);

    for (int64_t i = 0; i < g.cols; i++) {
        float sum = w->add ? fake_at(g, i) : 0;

        for (int s = w->first; s < w->last; s++)
            if (s % w->f->me->world == w->f->me->rank)
                sum += (float)fake_gradient(w->f->model, w->step, w->micro, s, w->param, i);
        lt_convert(lt_at(g, 0, i), g.dtype, &sum, LT_F32, 1);
    }
}

static inline void fake_write_grad(fake_store *f, int micro, int param, int first, int last,
                                   bool add)
{
    fake_work w = { .t = lt_zero_grad(f->z, param),
                    .micro = micro,
                    .param = param,
                    .first = first,
                    .last = last,
                    .add = add };

    if (w.t.data)
        fake_compute(f, fake_run_grad, w);
}

/* Gradients of a unit; those of the tied table come half from the head. */
static inline void fake_backward_unit(fake_store *f, int micro, int unit)
{
    bool add = micro > 0 && !lt_zero_grads_fresh(f->z);
    int head = f->model->table->n_units - 1;

    for (int p = 0; p < f->model->table->n_params; p++) {
        bool shared = f->model->config.tied && p == 0;

        if (f->model->table->params[p].unit == unit)
            fake_write_grad(f, micro, p, shared ? N_SAMPLES / 2 : 0, N_SAMPLES, add || shared);
        else if (shared && unit == head)
            fake_write_grad(f, micro, p, 0, N_SAMPLES / 2, add);
    }
    lt_zero_grads_done(f->z, unit, micro == 0, micro == f->model->n_micro - 1);
}

static inline void fake_micro_step(fake_store *f, int micro)
{
    int head = f->model->table->n_units - 1;

    fake_pass(f, true);
    fake_backward_unit(f, micro, head);
    fake_leave_head(f);
    for (int u = head - 1; u >= 0; u--) {
        fake_gather(f, u);
        fake_backward_unit(f, micro, u);
        lt_zero_release(f->z, u);
    }
}

/* Forward and nothing else, as an evaluation between steps. */
static inline void fake_evaluate(fake_store *f)
{
    fake_pass(f, false);
    fake_leave_head(f);
}

/* skip: the step's gradients are not finite, nothing may change. */
static inline void fake_update(fake_store *f, bool skip)
{
    lt_step_state now = fake_state(f->step);
    lt_zero_update s;

    now.skip = skip;
    for (lt_zero_update_begin(f->z); lt_zero_update_next(f->z, &s);) {
        RANK_CHECK(f->me, (s.copy.data == NULL) == f->plan->master_is_compute);
        lt_optim_update(f->me->dev, &fake_optim,
                        &(lt_optim_slice){ .p = s.master,
                                           .m = s.moment1,
                                           .v = s.moment2,
                                           .g = s.grad,
                                           .copy = s.copy,
                                           .decay = s.decay },
                        &now);
    }
    f->step += skip ? 0 : 1;
    RANK_CHECK_OK(f->me, lt_zero_check(f->z));
}

/* All owned state, as it is read, against the reference. */
static inline void fake_check_state(fake_store *f)
{
    RANK_CHECK_OK(f->me, lt_zero_sync(f->z));
    for (int i = 0; i < f->n_pieces; i++)
        for (int which = 0; which < (f->plan->set.training ? N_STATES : 1); which++) {
            const lt_zero_piece *c = &f->pieces[i];
            const float *want = fake_reference(f->model, f->step, which, c->param) + c->first;
            size_t bytes = (size_t)c->count * sizeof *want;
            float *found = lt_new0(bytes);

            RANK_CHECK_OK(f->me, lt_zero_read(f->z, (lt_zero_class)which, c, found));
            RANK_CHECK(f->me, memcmp(found, want, bytes) == 0);
            free(found);
        }
}

#endif
