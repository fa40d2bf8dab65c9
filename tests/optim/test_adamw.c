/* test_adamw.c - norms, clipping, skipping and updates against AdamW in double precision. */
#include "lt_test.h"
#include "base/mem.h"
#include "base/rng.h"
#include "optim/adamw.h"

#include <math.h>
#include <stdlib.h>

enum { N_SLICES = 3, N = 5000, STEPS = 10 };

/* Slices that differ in what AdamW must tell apart: 0 decays, fp32 gradient; 1 does not decay, fp32
 * gradient, bf16 copy; 2 decays, bf16 gradient, bf16 copy. */
typedef struct bench {
    lt_dev *dev;
    lt_optim_slice slices[N_SLICES];
    double p[N_SLICES][N], m[N_SLICES][N], v[N_SLICES][N]; /* the reference */
    double *sums;
    lt_step_state *state;
    lt_optim run;
    uint64_t t; /* updates the reference made */
} bench;

static bool has_copy(int i)
{
    return i > 0;
}

static lt_dtype grad_type(int i)
{
    return i == 2 ? LT_BF16 : LT_F32;
}

static lt_err vector_new(bench *b, lt_tensor *out, lt_dtype type)
{
    void *data = NULL;
    lt_err err = lt_dev_alloc(b->dev, LT_MEMORY_DEVICE, N * lt_dtype_bytes(type), &data);

    *out = lt_vector(data, type, N);
    return err;
}

static lt_err slice_new(bench *b, int i)
{
    lt_optim_slice *s = &b->slices[i];
    lt_err err;

    LT_TRY(err = vector_new(b, &s->p, LT_F32));
    LT_TRY(err = vector_new(b, &s->m, LT_F32));
    LT_TRY(err = vector_new(b, &s->v, LT_F32));
    LT_TRY(err = vector_new(b, &s->g, grad_type(i)));
    s->copy = lt_absent();
    if (has_copy(i))
        LT_TRY(err = vector_new(b, &s->copy, LT_BF16));
    s->decay = i != 1;
    for (int k = 0; k < N; k++) {
        lt_f32(s->p)[k] = (float)lt_random_normal(1, (uint64_t)i, (uint64_t)k);
        b->p[i][k] = (double)lt_f32(s->p)[k];
    }
fail:
    return err;
}

static lt_err bench_open(bench **out)
{
    bench *b = lt_new0(sizeof *b);
    lt_dev_need need = { .act = LT_F32,
                         .grad = LT_F32,
                         .rows = 1,
                         .n_embd = 8,
                         .n_inner = 8,
                         .n_head = 1,
                         .n_kv_head = 1,
                         .head_dim = 8,
                         .n_batch = 1,
                         .t_q = 1,
                         .t_k = 1,
                         .chunk_rows = 1,
                         .n_vocab = 128,
                         .n_threads = 2 };
    void *sums = NULL, *state = NULL;
    lt_err err;

    *out = b;
    b->run = (lt_optim){
        .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f, .decoupled = true
    };
    LT_TRY(err = lt_dev_open(&b->dev, "cpu", &(lt_dev_options){ .n_threads = 2 }));
    LT_TRY(err = lt_dev_reserve(b->dev, &need));
    LT_TRY(err =
               lt_dev_alloc(b->dev, LT_MEMORY_DEVICE, 2 * (N_SLICES + 2) * sizeof *b->sums, &sums));
    LT_TRY(err = lt_dev_alloc(b->dev, LT_MEMORY_DEVICE, sizeof *b->state, &state));
    b->sums = sums;
    b->state = state;
    b->state->inv_scale = 1;
    for (int i = 0; i < N_SLICES; i++)
        LT_TRY(err = slice_new(b, i));
fail:
    return err;
}

static void bench_close(bench *b)
{
    for (int i = 0; i < N_SLICES; i++) {
        lt_optim_slice *s = &b->slices[i];
        lt_tensor all[] = { s->p, s->copy, s->m, s->v, s->g };

        for (size_t k = 0; k < LT_COUNT(all); k++)
            lt_dev_free(b->dev, LT_MEMORY_DEVICE, all[k].data);
    }
    lt_dev_free(b->dev, LT_MEMORY_DEVICE, b->sums);
    lt_dev_free(b->dev, LT_MEMORY_DEVICE, b->state);
    lt_dev_close(b->dev);
    free(b);
}

static double gradient(const bench *b, int i, int k)
{
    return i == 2 ? (double)lt_bf16_to_f32(((const uint16_t *)b->slices[i].g.data)[k])
                  : (double)lt_f32(b->slices[i].g)[k];
}

/* Gradients of one step, multiplied by the loss scale that state->inv_scale takes off again. */
static void set_gradients(bench *b, int step)
{
    for (int i = 0; i < N_SLICES; i++)
        for (int k = 0; k < N; k++) {
            float g =
                (float)(0.1 * lt_random_normal(2 + (uint64_t)step, (uint64_t)i, (uint64_t)k)) /
                b->state->inv_scale;

            if (i == 2)
                ((uint16_t *)b->slices[i].g.data)[k] = lt_f32_to_bf16(g);
            else
                lt_f32(b->slices[i].g)[k] = g;
        }
}

static double reference_norm(const bench *b)
{
    double sum = 0;

    for (int i = 0; i < N_SLICES; i++)
        for (int k = 0; k < N; k++)
            sum += gradient(b, i, k) * gradient(b, i, k);
    return sqrt(sum) * (double)b->state->inv_scale;
}

static void reference_step(bench *b, double lr)
{
    const lt_optim *o = &b->run;
    double b1 = (double)o->beta1, b2 = (double)o->beta2, norm = reference_norm(b);
    double clip = (double)b->state->inv_scale, max_norm = (double)o->max_norm;

    if (max_norm > 0 && norm + 1e-6 > max_norm)
        clip *= max_norm / (norm + 1e-6);
    b->t++;
    for (int i = 0; i < N_SLICES; i++) {
        bool decays = b->slices[i].decay || o->decay_all;
        double decay = decays ? (double)o->weight_decay : 0;

        for (int k = 0; k < N; k++) {
            double *p = &b->p[i][k], *m = &b->m[i][k], *v = &b->v[i][k];
            double g = gradient(b, i, k) * clip + (o->decoupled ? 0 : decay * *p);

            if (o->decoupled)
                *p -= lr * decay * *p;
            *m = b1 * *m + (1 - b1) * g;
            *v = b2 * *v + (1 - b2) * g * g;
            *p -= lr * (*m / (1 - pow(b1, (double)b->t))) /
                  (sqrt(*v / (1 - pow(b2, (double)b->t))) + (double)o->eps);
        }
    }
}

static void own_sums(bench *b)
{
    for (int i = 0; i < N_SLICES; i++)
        b->dev->ops->sum_squares(b->dev, &b->sums[i], b->slices[i].g);
}

static void decide_and_update(bench *b, int n_ranks)
{
    lt_optim_decide(b->dev, &b->run, b->sums, n_ranks, N_SLICES, b->state);
    for (int i = 0; i < N_SLICES; i++)
        lt_optim_update(b->dev, &b->run, &b->slices[i], b->state);
}

static void device_step(bench *b, double lr)
{
    b->state->lr = (float)lr;
    own_sums(b);
    decide_and_update(b, 1);
}

/* Largest distance of the device's p from the reference; -1 if a copy is not the cast of p. */
static double worst_p(const bench *b)
{
    double worst = 0;

    for (int i = 0; i < N_SLICES; i++)
        for (int k = 0; k < N; k++) {
            float p = lt_f32(b->slices[i].p)[k];

            worst = fmax(worst, fabs((double)p - b->p[i][k]));
            if (has_copy(i) && ((const uint16_t *)b->slices[i].copy.data)[k] != lt_f32_to_bf16(p))
                return -1;
        }
    return worst;
}

/* Ten steps side by side; the failed check names the setting. */
static void compare_runs(const char *what, const lt_optim *run, float inv_scale)
{
    bench *b = NULL;

    LT_CHECK_OK(bench_open(&b));
    b->run = *run;
    b->state->inv_scale = inv_scale;
    for (int step = 1; step <= STEPS; step++) {
        double norm, worst, lr = 1e-2 / step;

        set_gradients(b, step);
        norm = reference_norm(b);
        reference_step(b, (double)(float)lr);
        device_step(b, lr);
        worst = worst_p(b);
        LT_FAIL_IF(!(fabs((double)b->state->grad_norm - norm) <= 1e-6 * norm),
                   "%s, step %d: norm %.9g, expected %.9g", what, step, (double)b->state->grad_norm,
                   norm);
        LT_FAIL_IF(!(worst >= 0 && worst <= 2e-6), "%s, step %d: p is off by %g", what, step,
                   worst);
        LT_CHECK_INT(b->state->adam_t, step);
        LT_CHECK_INT(b->state->skip, 0);
    }
    LT_CHECK_INT(b->state->n_skipped, 0);
    bench_close(b);
}

static const lt_optim adamw = {
    .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f, .decoupled = true
};

LT_TEST(adamw_without_clipping)
{
    compare_runs("no clipping", &adamw, 1);
}

LT_TEST(adamw_with_a_clip_that_does_not_bite)
{
    lt_optim run = adamw;

    run.max_norm = 1000;
    compare_runs("clip 1000", &run, 1);
}

/* Clipping cancels in Adam unless steps are clipped unlike, or eps weighs in: make it weigh. */
LT_TEST(adamw_with_a_clip_that_bites)
{
    lt_optim run = adamw;

    run.max_norm = 0.5f; /* the norm is about 0.1 sqrt(15000) = 12 */
    run.eps = 1e-3f;
    compare_runs("clip 0.5", &run, 1);
}

LT_TEST(adamw_takes_the_loss_scale_off)
{
    lt_optim run = adamw;

    run.max_norm = 0.5f;
    run.eps = 1e-3f;
    compare_runs("loss scale 1024", &run, 1.0f / 1024);
}

LT_TEST(adamw_decays_all_when_told)
{
    lt_optim run = adamw;

    run.decay_all = true;
    run.weight_decay = 1.5f;
    compare_runs("decay_all", &run, 1);
}

LT_TEST(adam_with_l2)
{
    lt_optim run = adamw;

    run.decoupled = false;
    compare_runs("L2", &run, 1);
}

/* With no gradient only decay moves a weight: p (1 - lr wd) on slices that decay, p elsewhere. */
LT_TEST(adamw_decay_belongs_to_slices)
{
    bench *b = NULL;
    float before[N_SLICES];

    LT_CHECK_OK(bench_open(&b));
    for (int i = 0; i < N_SLICES; i++)
        before[i] = lt_f32(b->slices[i].p)[7];
    device_step(b, 0.5);
    LT_CHECK_NEAR((double)lt_f32(b->slices[0].p)[7], 0.95 * (double)before[0], 1e-6);
    LT_CHECK(lt_f32(b->slices[1].p)[7] == before[1]);
    LT_CHECK_NEAR((double)lt_f32(b->slices[2].p)[7], 0.95 * (double)before[2], 1e-6);
    bench_close(b);
}

/* A gradient that is not finite, anywhere: nothing moves, not even t,
 * and the next step is whole. */
LT_TEST(adamw_skips_what_is_not_finite)
{
    static const float bad[] = { NAN, INFINITY, -INFINITY };
    bench *b = NULL;

    LT_CHECK_OK(bench_open(&b));
    b->run.max_norm = 1;
    for (int step = 1; step <= 6; step++) {
        static float p[N], m[N], v[N];
        static uint16_t copy[N];
        const lt_optim_slice *s = &b->slices[1];

        set_gradients(b, step);
        if (step % 2 == 0) {
            lt_f32(b->slices[0].g)[N - 1] = bad[step / 2 - 1];
            memcpy(p, s->p.data, sizeof p);
            memcpy(m, s->m.data, sizeof m);
            memcpy(v, s->v.data, sizeof v);
            memcpy(copy, s->copy.data, sizeof copy);
        } else {
            reference_step(b, (double)1e-2f);
        }
        device_step(b, 1e-2);
        LT_CHECK_INT(b->state->skip, step % 2 == 0);
        LT_CHECK_INT(b->state->n_skipped, step / 2);
        LT_CHECK_INT(b->state->adam_t, (step + 1) / 2);
        LT_CHECK(worst_p(b) >= 0 && worst_p(b) <= 2e-6);
        if (step % 2 == 0)
            LT_CHECK(memcmp(p, s->p.data, sizeof p) == 0 && memcmp(m, s->m.data, sizeof m) == 0 &&
                     memcmp(v, s->v.data, sizeof v) == 0 &&
                     memcmp(copy, s->copy.data, sizeof copy) == 0);
    }
    bench_close(b);
}

/* The sums of other ranks count in the norm, and a gradient that is not finite there skips here. */
LT_TEST(adamw_norm_spans_ranks)
{
    bench *b = NULL;
    double own;

    LT_CHECK_OK(bench_open(&b));
    set_gradients(b, 1);
    own = reference_norm(b);
    own_sums(b);
    for (int i = 0; i < N_SLICES; i++)
        b->sums[N_SLICES + 2 + i] = 3 * b->sums[i];
    b->sums[N_SLICES] = 5;
    b->sums[2 * N_SLICES + 2] = 7;
    decide_and_update(b, 2);
    LT_CHECK_NEAR((double)b->state->grad_norm, 2 * own, 1e-5 * own);
    LT_CHECK_NEAR(b->state->loss_sum, 12, 0);
    b->sums[N_SLICES + 2] = NAN;
    decide_and_update(b, 2);
    LT_CHECK_INT(b->state->skip, 1);
    LT_CHECK_INT(b->state->adam_t, 1);
    bench_close(b);
}
