/* tests/device/test_ops_step.c - what ends a step: sums, norm and clipping, AdamW. */
#include "op_packs.h"

static lt_step_state state_of(const op_tensor *t)
{
    lt_step_state s;

    memcpy(&s, t->now.data, sizeof s);
    return s;
}

LT_TEST(sum_losses_adds_to_the_state_in_double)
{
    static const int64_t counts[] = { 1, 33, 1024, 5003 };

    for (size_t i = 0; i < LT_COUNT(counts); i++) {
        const lt_step_state state = { .lr = 0.5f, .adam_t = 9, .loss_sum = 2.5 };
        op_tensor *t, *losses;
        double want = 2.5;
        lt_step_state now;

        LT_CHECK_OK(op_begin());
        t = op_new_bytes(&state, sizeof state);
        losses = op_new(LT_F32, 1, counts[i], OP_IN);
        op_send();
        op.dev->ops->sum_losses(op.dev, t->dev.data, losses->dev);
        LT_CHECK_OK(op_receive());
        for (int64_t j = 0; j < counts[i]; j++)
            want += op_get(losses->sent, 0, j);
        now = state_of(t);
        LT_CHECK_NEAR(now.loss_sum, want, 1e-10);
        now.loss_sum = state.loss_sum;
        LT_CHECK(memcmp(&now, &state, sizeof now) == 0);
    }
}

/* The same numbers twice: where a device may load packs, and at an odd address. */
static void check_sum_squares(lt_dtype dtype, int64_t n)
{
    op_tensor *g, *sum[2];
    double want = 0;

    LT_CHECK_OK(op_begin());
    g = op_new_strided(dtype, 2, n, 1 + n % 2, OP_IN);
    for (int64_t i = 0; i < n; i++)
        op_set(g->sent, 1, i, op_get(g->sent, 0, i));
    for (int i = 0; i < 2; i++)
        sum[i] = op_new(LT_F64, 1, 1, OP_OUT);
    op_send();
    for (int i = 0; i < 2; i++)
        op.dev->ops->sum_squares(op.dev, sum[i]->dev.data, lt_rows(g->dev, i, 1));
    LT_CHECK_OK(op_receive());
    for (int64_t i = 0; i < n; i++)
        want += op_get(g->sent, 0, i) * op_get(g->sent, 0, i);
    LT_CHECK_NEAR(op_get(sum[0]->now, 0, 0), want, 1e-12 * want);
    LT_CHECK(memcmp(sum[0]->now.data, sum[1]->now.data, sizeof(double)) == 0);
}

LT_TEST(sum_squares_is_a_sum_in_double_and_repeats)
{
    check_sum_squares(LT_F32, 1);
    check_sum_squares(LT_F32, 300007);
    check_sum_squares(LT_BF16, 4099);
    check_sum_squares(LT_BF16, 5);
    if (op_has_f16())
        check_sum_squares(LT_F16, 4099);
}

LT_TEST(sum_squares_shows_what_is_not_finite_and_nothing_else)
{
    static const float bad[] = { NAN, INFINITY, -INFINITY, 3e38f };

    for (size_t i = 0; i < LT_COUNT(bad); i++) {
        op_tensor *g, *sum;

        LT_CHECK_OK(op_begin());
        g = op_new(LT_F32, 1, 3000, OP_IN);
        op_set(g->sent, 0, 2999, (double)bad[i]);
        sum = op_new(LT_F64, 1, 1, OP_OUT);
        op_send();
        op.dev->ops->sum_squares(op.dev, sum->dev.data, g->dev);
        LT_CHECK_OK(op_receive());
        LT_CHECK_INT(isfinite(op_get(sum->now, 0, 0)) != 0, isfinite(bad[i]) != 0);
    }
}

/* ---- grad_norm_finish */

static const lt_adamw adam = { 0.9f, 0.95f, 1e-8f, 0.1f, true };

static lt_step_state finished(lt_step_state state, double a, double b, float max_norm)
{
    op_tensor *t, *sums;

    t = op_new_bytes(&state, sizeof state);
    sums = op_new(LT_F64, 1, 6, OP_IN); /* two ranks, one sum and one loss each */
    op_set(sums->sent, 0, 0, a);
    op_set(sums->sent, 0, 1, 0.25);
    op_set(sums->sent, 0, 3, b);
    op_set(sums->sent, 0, 4, 0.5);
    op_send();
    op.dev->ops->grad_norm_finish(op.dev, t->dev.data, (const double *)sums->dev.data, 2, 1,
                                  max_norm, &adam);
    if (op_receive() != LT_OK)
        memset(t->now.data, 0xff, sizeof state);
    return state_of(t);
}

LT_TEST(grad_norm_finish_clips_and_counts)
{
    const lt_step_state before = { .lr = 3, .inv_scale = 0.5f, .adam_t = 4, .skip = 1 };
    lt_step_state s;

    LT_CHECK_OK(op_begin());
    s = finished(before, 36, 64, 2); /* norm 10 * 0.5 = 5, clipped to 2 */
    LT_CHECK_NEAR(s.grad_norm, 5, 1e-6);
    LT_CHECK_NEAR(s.clip, 0.5 * 2 / (5 + 1e-6), 1e-7);
    LT_CHECK_INT(s.skip, 0);
    LT_CHECK_INT(s.n_skipped, 0);
    LT_CHECK_INT(s.adam_t, 5);
    LT_CHECK_NEAR(s.bias1, 1 - pow((double)adam.beta1, 5), 1e-7);
    LT_CHECK_NEAR(s.bias2_sqrt, sqrt(1 - pow((double)adam.beta2, 5)), 1e-7);
    LT_CHECK_NEAR(s.lr, 3, 0);
    LT_CHECK_NEAR(s.loss_sum, 0.75, 0);
    LT_CHECK_INT(s.first_bad, LT_NO_RANGE);

    s = finished(before, 36, 64, 6);
    LT_CHECK_NEAR(s.clip, 0.5, 1e-7);
    s = finished(before, 36, 64, 0);
    LT_CHECK_NEAR(s.clip, 0.5, 0);
    s = finished(before, 0, 0, 1);
    LT_CHECK_NEAR(s.grad_norm, 0, 0);
    LT_CHECK_NEAR(s.clip, 0.5, 0);
}

LT_TEST(grad_norm_finish_skips_what_is_not_finite)
{
    static const double bad[] = { NAN, INFINITY };

    for (size_t i = 0; i < LT_COUNT(bad); i++) {
        const lt_step_state before = {
            .inv_scale = 0.5f, .adam_t = 4, .bias1 = 0.3f, .bias2_sqrt = 0.4f, .n_skipped = 2
        };
        lt_step_state s;

        LT_CHECK_OK(op_begin());
        s = finished(before, 1, bad[i], 1);
        LT_CHECK_INT(s.skip, 1);
        LT_CHECK_INT(s.n_skipped, 3);
        LT_CHECK_INT(s.adam_t, 4);
        LT_CHECK(!isfinite(s.grad_norm));
    }
}

/* ---- find_nonfinite */

/* Two ranges of one tensor: [0, 700) and [700, 1500).  A value in the first comes again in the
 * second. */
static uint32_t first_bad_of(lt_dtype dtype, uint32_t skip, int64_t where, double value)
{
    const lt_step_state before = { .skip = skip, .first_bad = LT_NO_RANGE };
    op_tensor *t = op_new_bytes(&before, sizeof before);
    op_tensor *g = op_new(dtype, 1, 1500, OP_IN);
    op_tensor *r;
    lt_range ranges[2];

    op_set(g->sent, 0, where, value);
    if (where < 700)
        op_set(g->sent, 0, where + 700, value);
    ranges[0] = (lt_range){ lt_at(g->dev, 0, 0), 700 };
    ranges[1] = (lt_range){ lt_at(g->dev, 0, 700), 800 };
    r = op_new_bytes(ranges, sizeof ranges);
    op_send();
    op.dev->ops->find_nonfinite(op.dev, t->dev.data, r->dev.data, 2, dtype);
    return op_receive() == LT_OK ? state_of(t).first_bad : 77;
}

LT_TEST(find_nonfinite_names_the_first_range)
{
    static const lt_dtype types[] = { LT_F32, LT_BF16, LT_F16 };

    for (size_t i = 0; i < LT_COUNT(types); i++) {
        LT_CHECK_OK(op_begin());
        LT_CHECK_INT(first_bad_of(types[i], 1, 699, NAN), 0);
        LT_CHECK_INT(first_bad_of(types[i], 1, 1499, INFINITY), 1);
        LT_CHECK_INT(first_bad_of(types[i], 1, 3, 1), LT_NO_RANGE);
        LT_CHECK_INT(first_bad_of(types[i], 0, 3, NAN), LT_NO_RANGE);
    }
}

/* ---- accumulate */

/* Two vectors, one where a device may move packs and one at an odd address. */
static void check_accumulate(lt_dtype dtype, int64_t n, bool add)
{
    op_tensor *dst, *src;
    double *want;

    LT_CHECK_OK(op_begin());
    dst = op_new_strided(LT_F32, 2, n, 1 + n % 2, add ? OP_INOUT : OP_OUT);
    src = op_new_strided(dtype, 2, n, 1 + n % 2, OP_IN);
    want = op_array(2 * n);
    for (int64_t i = 0; i < 2 * n; i++) {
        float sum = (float)op_get(src->sent, i / n, i % n);

        want[i] = (double)(add ? (float)op_get(dst->sent, i / n, i % n) + sum : sum);
    }
    op_send();
    for (int row = 0; row < 2; row++)
        op.dev->ops->accumulate(op.dev, lt_rows(dst->dev, row, 1), lt_rows(src->dev, row, 1), add);
    LT_CHECK_OK(op_receive());
    for (int64_t i = 0; i < 2 * n; i++)
        LT_CHECK(op_get(dst->now, i / n, i % n) == want[i]);
}

LT_TEST(accumulate_adds_in_fp32_or_overwrites)
{
    static const lt_dtype types[] = { LT_F32, LT_BF16, LT_F16 };
    static const int64_t counts[] = { 1, 3, 64, 4097, 70001 };

    for (size_t t = 0; t < LT_COUNT(types); t++)
        for (size_t i = 0; i < LT_COUNT(counts); i++)
            for (int add = 0; add <= 1; add++)
                check_accumulate(types[t], counts[i], add != 0);
}

/* ---- AdamW */

typedef struct adam_case {
    lt_dtype copy, grad;
    bool with_copy, decoupled, skip;
    int64_t n;
} adam_case;

/* One step in double: PyTorch's order of operations. */
static void adam_step(double *p, double *m, double *v, double g, const lt_step_state *s,
                      const lt_adamw *run)
{
    double lr = (double)s->lr, decay = (double)run->weight_decay;
    double b1 = (double)run->beta1, b2 = (double)run->beta2;

    g *= (double)s->clip;
    if (run->decoupled)
        *p -= lr * decay * *p;
    else
        g += decay * *p;
    *m = b1 * *m + (1 - b1) * g;
    *v = b2 * *v + (1 - b2) * g * g;
    *p -= lr / (double)s->bias1 * *m / (sqrt(*v) / (double)s->bias2_sqrt + (double)run->eps);
}

/* Two vectors, one where a device may move packs and one at an odd address. */
static void check_adamw(adam_case c)
{
    enum { ROWS = 2 };
    const lt_step_state state = {
        .lr = 0.01f, .clip = 0.25f, .bias1 = 0.271f, .bias2_sqrt = 0.377f, .skip = c.skip
    };
    const int64_t gap = 1 + c.n % 2, n = ROWS * c.n; /* an odd stride */
    lt_adamw run = adam;
    op_tensor *p, *copy, *m, *v, *g, *device_state;
    double *want_p, *want_m, *want_v;

    run.decoupled = c.decoupled;
    LT_CHECK_OK(op_begin());
    device_state = op_new_bytes(&state, sizeof state);
    p = op_new_strided(LT_F32, ROWS, c.n, gap, OP_INOUT);
    m = op_new_strided(LT_F32, ROWS, c.n, gap, OP_INOUT);
    v = op_new_strided(LT_F32, ROWS, c.n, gap, OP_INOUT);
    for (int64_t i = 0; i < n; i++) { /* some at their first step, none with a moment near zero */
        bool first = i % 7 == 0;
        double var = op_get(v->sent, i / c.n, i % c.n), mean = op_get(m->sent, i / c.n, i % c.n);

        op_set(v->sent, i / c.n, i % c.n, first ? 0 : 0.05 + fabs(var));
        op_set(m->sent, i / c.n, i % c.n, first ? 0 : mean);
    }
    g = op_new_strided(c.grad, ROWS, c.n, gap, OP_IN);
    copy = c.with_copy ? op_new_strided(c.copy, ROWS, c.n, gap, c.skip ? OP_IN : OP_OUT) : NULL;
    want_p = op_values(p->sent);
    want_m = op_values(m->sent);
    want_v = op_values(v->sent);
    op_send();
    for (int row = 0; row < ROWS; row++)
        op.dev->ops->adamw(op.dev, lt_rows(p->dev, row, 1),
                           copy ? lt_rows(copy->dev, row, 1) : lt_absent(), lt_rows(m->dev, row, 1),
                           lt_rows(v->dev, row, 1), lt_rows(g->dev, row, 1), device_state->dev.data,
                           &run);
    LT_CHECK_OK(op_receive());
    for (int64_t i = 0; !c.skip && i < n; i++)
        adam_step(&want_p[i], &want_m[i], &want_v[i], op_get(g->sent, i / c.n, i % c.n), &state,
                  &run);
    LT_CHECK_NEAR(op_error(p, want_p), 0, c.skip ? 0 : 1e-6);
    LT_CHECK_NEAR(op_error(m, want_m), 0, c.skip ? 0 : 1e-6);
    LT_CHECK_NEAR(op_error(v, want_v), 0, c.skip ? 0 : 1e-6);
    for (int64_t i = 0; copy && !c.skip && i < n; i++) {
        char cast[8];

        lt_convert(cast, c.copy, lt_at(p->now, i / c.n, i % c.n), LT_F32, 1);
        LT_CHECK(memcmp(cast, lt_at(copy->now, i / c.n, i % c.n), lt_dtype_bytes(c.copy)) == 0);
    }
}

LT_TEST(adamw_makes_one_step)
{
    for (int i = 0; i < 16; i++)
        check_adamw((adam_case){ .copy = i & 1 ? LT_BF16 : LT_F32,
                                 .grad = i & 2 ? LT_BF16 : LT_F32,
                                 .with_copy = i & 4,
                                 .decoupled = i & 8,
                                 .n = 5003 });
    if (op_has_f16())
        check_adamw((adam_case){
            .copy = LT_F16, .grad = LT_F16, .with_copy = true, .decoupled = true, .n = 2047 });
    check_adamw((adam_case){ .n = 1, .decoupled = true });
}

LT_TEST(adamw_leaves_everything_alone_when_told_to_skip)
{
    check_adamw((adam_case){
        .copy = LT_BF16, .with_copy = true, .decoupled = true, .skip = true, .n = 1000 });
}
