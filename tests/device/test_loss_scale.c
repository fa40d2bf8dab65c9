/* test_loss_scale.c - the loss-scale state machine against an independent model of DeepSpeed's
 * rule, told as a history: the scale after any pattern of overflows follows from the pattern
 * alone. */
#include "lt_test.h"
#include "base/mem.h"
#include "base/rng.h"
#include "device/step_math.h"

#include <math.h>

/* The rule in words, looked up in the whole history instead of kept in counters: an overflow is
 * free while fewer than `hysteresis` overflows were charged since the last refill; a refill is a
 * doubling, or any clean step when consecutive. */
typedef struct history {
    lt_loss_scaling run;
    double scale;
    int64_t since_overflow; /* clean steps */
    int64_t charged;        /* overflows since the last refill */
    bool stuck;
} history;

static void history_step(history *h, bool overflow)
{
    if (overflow) {
        h->since_overflow = 0;
        if (h->charged + 1 < (int64_t)h->run.hysteresis) {
            h->charged++;
            return;
        }
        if (h->scale <= (double)h->run.min_loss_scale)
            h->stuck = true;
        else if (h->scale / 2 < (double)h->run.min_loss_scale)
            h->scale = (double)h->run.min_loss_scale;
        else
            h->scale /= 2;
        return;
    }
    h->since_overflow++;
    if (h->run.consecutive_hysteresis)
        h->charged = 0;
    if (h->since_overflow == h->run.loss_scale_window) {
        h->since_overflow = 0;
        h->scale *= 2;
        h->charged = 0;
    }
}

/* Patterns of n steps; overflows with probability p, or in bursts. */
static void compare(lt_loss_scaling run, float scale, uint64_t seed, int64_t n, double p)
{
    lt_step_state s = { .loss_scale = scale,
                        .hysteresis_left = run.hysteresis,
                        .last_overflow = -1 };
    history h = { .run = run, .scale = (double)scale };

    for (int64_t i = 0; i < n; i++) {
        bool burst = lt_random_unit(seed, 1, (uint64_t)(i / 16)) < 0.1;
        bool overflow = lt_random_unit(seed, 2, (uint64_t)i) < (burst ? 0.7 : p);

        s.skip = overflow;
        lt_step_update_scale(&s, run);
        history_step(&h, overflow);
        LT_FAIL_IF((double)s.loss_scale != h.scale || (s.scale_stuck != 0) != h.stuck,
                   "seed %llu step %lld: scale %g stuck %u, expected %g %d",
                   (unsigned long long)seed, (long long)i, (double)s.loss_scale, s.scale_stuck,
                   h.scale, h.stuck);
        LT_CHECK(s.loss_scale >= run.min_loss_scale);
        if (s.loss_scale > 0x1p60f) /* both may grow without end: start over */
            s.loss_scale = (float)(h.scale = (double)scale);
    }
}

LT_TEST(loss_scale_follows_the_rule_over_a_million_patterns)
{
    enum { PATTERNS = 1000000, STEPS = 24 };

    for (uint64_t seed = 0; seed < PATTERNS; seed++) {
        lt_loss_scaling run = { .dynamic = true,
                                .min_loss_scale = seed & 1 ? 1.0f : 3.0f, /* no power of two */
                                .loss_scale_window = 1 + (int64_t)(seed >> 1 & 7),
                                .hysteresis = 1 + (uint32_t)(seed >> 4 & 3),
                                .consecutive_hysteresis = seed >> 6 & 1 };

        compare(run, seed & 128 ? 4.0f : 65536.0f, seed, STEPS, 0.15);
    }
}

LT_TEST(loss_scale_follows_the_rule_over_long_runs)
{
    for (uint64_t seed = 0; seed < 8; seed++) {
        lt_loss_scaling run = { .dynamic = true,
                                .min_loss_scale = 1,
                                .loss_scale_window = 1000,
                                .hysteresis = 2,
                                .consecutive_hysteresis = seed & 1 };

        compare(run, 65536.0f, seed, 200000, 0.0005);
    }
}

/* DeepSpeed's defaults, step by step as its documentation tells it. */
LT_TEST(loss_scale_of_deepspeeds_defaults)
{
    lt_loss_scaling run = {
        .dynamic = true, .min_loss_scale = 1, .loss_scale_window = 1000, .hysteresis = 2
    };
    lt_step_state s = { .loss_scale = 65536, .hysteresis_left = 2, .last_overflow = -1 };

    for (int i = 0; i < 999; i++)
        lt_step_update_scale(&s, run);
    LT_CHECK_NEAR(s.loss_scale, 65536, 0);
    lt_step_update_scale(&s, run); /* the 1000th clean step */
    LT_CHECK_NEAR(s.loss_scale, 131072, 0);
    s.skip = 1;
    lt_step_update_scale(&s, run); /* the first overflow only skips */
    LT_CHECK_NEAR(s.loss_scale, 131072, 0);
    lt_step_update_scale(&s, run);
    LT_CHECK_NEAR(s.loss_scale, 65536, 0);
    lt_step_update_scale(&s, run);
    LT_CHECK_NEAR(s.loss_scale, 32768, 0);
}

LT_TEST(static_scale_never_moves)
{
    lt_step_state s = { .loss_scale = 128, .last_overflow = -1 };

    for (int i = 0; i < 100; i++) {
        s.skip = i & 1;
        lt_step_update_scale(&s, (lt_loss_scaling){ .loss_scale_window = 1, .hysteresis = 1 });
    }
    LT_CHECK_NEAR(s.loss_scale, 128, 0);
    LT_CHECK(!s.scale_stuck);
}

LT_TEST(scale_and_tokens_become_the_factor_of_the_gradient)
{
    lt_step_state s = { .loss_scale = 1024, .inv_tokens = 1.0f / 256, .loss_sum = 7 };

    lt_step_begin(&s);
    LT_CHECK_NEAR(s.grad_scale, 4, 0);
    LT_CHECK_NEAR(s.inv_scale, 1.0 / 1024, 0);
    LT_CHECK_NEAR(s.loss_sum, 0, 0);
}

/* The norm is as small as PyTorch's 1e-6: that is what is divided by, too. */
LT_TEST(clip_factor_is_that_of_pytorch)
{
    const double sums[] = { 1e-12, 0, 0 }; /* one square, the loss, the word */
    lt_step_state s = { .inv_scale = 1 };

    lt_step_finish_norm(&s, sums, 1, 1, 1e-6f, (lt_adamw){ .beta1 = 0.9f, .beta2 = 0.95f });
    LT_CHECK_NEAR((double)s.grad_norm, 1e-6, 1e-12);
    LT_CHECK_NEAR((double)s.clip, 0.5, 1e-6);
}
