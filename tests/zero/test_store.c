/* test_store.c - training with every stage, number of ranks, accumulation and offload ends at the
 * same bits. */
#include "fake_training.h"

/* ---- the matrix */

typedef struct variant {
    const char *name;
    lt_dtype compute, grad;
    lt_tier_kind optimizer, param;
    double ratio;
    int buffers; /* staging slots; 0: 3 for the state, 2 for parameters */
    int64_t tile, persistence, prefetch;
    bool tied, silent; /* silent: passes are not announced */
    fake_frozen frozen;
} variant;

static const variant variants[] = {
    { .name = "fp32", .prefetch = 100, .tied = true },
    { .name = "bf16, small tiles, persistent vectors",
      .compute = LT_BF16,
      .tile = 64,
      .persistence = 20,
      .prefetch = 700,
      .frozen = FROZEN_SOME },
    { .name = "bf16 gradients, all in host memory",
      .compute = LT_BF16,
      .grad = LT_BF16,
      .optimizer = LT_TIER_HOST,
      .param = LT_TIER_HOST,
      .ratio = 1,
      .prefetch = 1,
      .tied = true },
    { .name = "fp32, half of the state in host memory, persistent vectors",
      .optimizer = LT_TIER_HOST,
      .ratio = 0.5,
      .buffers = 1,
      .tile = 128,
      .persistence = 20,
      .frozen = FROZEN_SOME },
    { .name = "fp32, parameters in host memory, not announced",
      .param = LT_TIER_HOST,
      .buffers = 1,
      .persistence = 20,
      .silent = true },
    { .name = "bf16, all in files",
      .compute = LT_BF16,
      .optimizer = LT_TIER_FILE,
      .param = LT_TIER_FILE,
      .ratio = 1,
      .tile = 256,
      .prefetch = 2000,
      .persistence = 10,
      .frozen = FROZEN_SOME },
    { .name = "bf16, all in host memory, one vector trained",
      .compute = LT_BF16,
      .optimizer = LT_TIER_HOST,
      .param = LT_TIER_HOST,
      .ratio = 1,
      .prefetch = 300,
      .frozen = FROZEN_MOST },
};

static fake_run run_of(const fake_model *m, const variant *v, int stage)
{
    return (fake_run){ .model = m,
                       .announce = !v->silent,
                       .set = { .stage = stage,
                                .compute = v->compute,
                                .grad = v->grad,
                                .overlap = true,
                                .training = true,
                                .optimizer = { .kind = v->optimizer,
                                               .path = lt_test_tmp(""),
                                               .n_buffers = v->buffers ? v->buffers : 3,
                                               .ratio = v->ratio },
                                .param = { .kind = stage == 3 ? v->param : LT_TIER_NONE,
                                           .pinned = true,
                                           .path = lt_test_tmp(""),
                                           .n_buffers = v->buffers ? v->buffers : 2 },
                                .tile = v->tile,
                                .persistence_threshold = v->persistence,
                                .model_persistence_threshold = 1000,
                                .prefetch = v->prefetch,
                                .max_live = 1 << 20 } };
}

/* Sum of squares of the owned gradients: padding would show. */
static void check_norm(fake_store *f)
{
    double sum = 0, all[MAX_RANKS], want = 0;
    int n_trained = 0;

    for (int s = 0; s < f->plan->n_segments; s++)
        n_trained += f->plan->segments[s].trainable;
    for (int i = 0; i < n_trained; i++) {
        lt_tensor g = lt_zero_owned_grad(f->z, i);

        for (int64_t k = 0; k < g.cols; k++)
            sum += (double)fake_at(g, k) * (double)fake_at(g, k);
    }
    RANK_CHECK_OK(f->me, f->me->group->ops->all_gather(f->me->group, all, &sum, sizeof sum));
    for (int r = 1; r < f->me->world; r++)
        all[0] += all[r];
    for (int p = 0; p < f->model->table->n_params; p++)
        for (int64_t i = 0;
             f->model->table->params[p].trainable && i < f->model->table->params[p].count; i++) {
            int g = 0;

            for (int k = 0; k < f->model->n_micro * N_SAMPLES; k++)
                g += fake_gradient(f->model, f->step, k / N_SAMPLES, k % N_SAMPLES, p, i);
            want += (double)(g * g);
        }
    RANK_CHECK(f->me, all[0] == want);
}

static void check_pieces_of_gradients(fake_store *f)
{
    for (int i = 0; i < f->n_pieces; i++) {
        const lt_zero_piece *c = &f->pieces[i];
        lt_tensor g = lt_zero_owned_grad_piece(f->z, c);
        int want = 0;

        RANK_CHECK(f->me, (g.data != NULL) == f->model->table->params[c->param].trainable);
        if (!g.data)
            continue;
        for (int k = 0; k < f->model->n_micro * N_SAMPLES; k++)
            want += fake_gradient(f->model, f->step, k / N_SAMPLES, k % N_SAMPLES, c->param,
                                  c->first + c->count - 1);
        RANK_CHECK(f->me, g.cols == c->count && fake_at(g, c->count - 1) == (float)want);
    }
}

static void train(thread_rank *me, void *arg)
{
    fake_store f = fake_store_open(me, arg);

    for (int step = 0; step < N_STEPS && f.open; step++) {
        for (int micro = 0; micro < f.model->n_micro; micro++)
            fake_micro_step(&f, micro);
        lt_zero_grads_finish(f.z);
        if (step == 1)
            fake_evaluate(&f);
        check_norm(&f);
        check_pieces_of_gradients(&f);
        if (step == 2) {
            fake_update(&f, true);
            fake_evaluate(&f);
        }
        fake_update(&f, false);
        if (step != 0)
            fake_evaluate(&f);
        if (step != 1)
            fake_check_state(&f);
    }
    fake_store_close(&f);
}

static void check_variant(const variant *v, int n_micro)
{
    static const int worlds[] = { 1, 2, 3, 4, 7 };
    fake_model *m = fake_model_new(n_micro, v->tied, v->frozen);

    for (int stage = 0; stage <= 3; stage++)
        for (size_t i = 0; i < LT_COUNT(worlds); i++) {
            fake_run run = run_of(m, v, stage);
            const char *failure;

            run.set.overlap = (stage + worlds[i]) % 2 == 0;
            failure = thread_ranks_run(worlds[i], train, &run);
            LT_FAIL_IF(failure[0], "%s, stage %d, %d micro-steps: %s", v->name, stage, n_micro,
                       failure);
        }
    fake_model_free(m);
}

LT_TEST(store_trains_the_same_bits_at_every_stage_and_world)
{
    for (size_t i = 0; i < LT_COUNT(variants); i++)
        check_variant(&variants[i], 1);
}

LT_TEST(store_accumulates_micro_steps)
{
    for (size_t i = 0; i < LT_COUNT(variants); i++)
        check_variant(&variants[i], 3);
}
