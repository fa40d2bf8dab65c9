/* test_schedule.c - learning rates against schedule_table.h, and what check refuses. */
#include "lt_test.h"
#include "base/mem.h"
#include "optim/schedule.h"

#include <math.h>

enum { CASE_STEPS = 16 };

typedef struct schedule_case {
    lt_lr_schedule schedule;
    struct {
        int64_t step;
        double lr, beta1; /* beta1 -1: the caller's own */
    } rows[CASE_STEPS];
} schedule_case;

#include "optim/schedule_table.h"

LT_TEST(schedule_follows_the_table)
{
    for (size_t i = 0; i < LT_COUNT(schedule_cases); i++) {
        const schedule_case *c = &schedule_cases[i];

        LT_CHECK_OK(lt_lr_check(&c->schedule));
        for (int k = 0; k < CASE_STEPS; k++) {
            double lr = lt_lr_at(&c->schedule, c->rows[k].step);
            double beta1 = lt_lr_beta1_at(&c->schedule, c->rows[k].step, -1);

            LT_FAIL_IF(!(fabs(lr - c->rows[k].lr) <= 1e-12 * fabs(c->rows[k].lr) + 1e-18),
                       "case %zu step %lld: rate %.17g, expected %.17g", i,
                       (long long)c->rows[k].step, lr, c->rows[k].lr);
            LT_FAIL_IF(!(fabs(beta1 - c->rows[k].beta1) <= 1e-14),
                       "case %zu step %lld: beta1 %.17g, expected %.17g", i,
                       (long long)c->rows[k].step, beta1, c->rows[k].beta1);
        }
    }
}

/* The rate of a step does not depend on which steps were asked for before it. */
LT_TEST(schedule_is_a_pure_function)
{
    enum { STEPS = 120 };
    double forward[STEPS];

    for (size_t i = 0; i < LT_COUNT(schedule_cases); i++) {
        lt_lr_schedule s = schedule_cases[i].schedule;

        for (int k = 0; k < STEPS; k++)
            forward[k] = lt_lr_at(&s, k + 1);
        for (int k = STEPS - 1; k >= 0; k--)
            LT_CHECK(lt_lr_at(&s, k + 1) == forward[k]);
        LT_CHECK(memcmp(&s, &schedule_cases[i].schedule, sizeof s) == 0);
    }
}

LT_TEST(schedule_ours_meets_its_ends)
{
    lt_lr_schedule s = { .lr = 6e-4, .min_lr = 6e-5, .warmup_steps = 20, .total_steps = 300 };

    for (int kind = LT_LR_COSINE; kind <= LT_LR_LINEAR; kind++) {
        s.kind = (lt_lr_kind)kind;
        LT_CHECK_NEAR(lt_lr_at(&s, 1), 6e-4 / 20, 1e-18);
        LT_CHECK(lt_lr_at(&s, 20) == 6e-4);
        LT_CHECK(lt_lr_at(&s, 21) < 6e-4);
        LT_CHECK_NEAR(lt_lr_at(&s, 160), (6e-4 + 6e-5) / 2, 1e-15);
        LT_CHECK(lt_lr_at(&s, 299) > 6e-5);
        LT_CHECK(lt_lr_at(&s, 300) == 6e-5);
        LT_CHECK(lt_lr_at(&s, 1000000000) == 6e-5);
        for (int64_t k = 21; k < 300; k++)
            LT_CHECK(lt_lr_at(&s, k + 1) < lt_lr_at(&s, k));
    }
}

LT_TEST(schedule_deepspeed_starts_twice_at_the_minimum)
{
    lt_lr_schedule s = { .kind = LT_LR_DS_WARMUP, .warmup_steps = 100 };

    s.warmup_min_lr = 0.125;
    s.warmup_max_lr = 1;
    s.total_steps = 1000;
    for (int log = 0; log < 2; log++) {
        s.warmup_log = log;
        LT_CHECK(lt_lr_at(&s, 1) == 0.125);
        LT_CHECK(lt_lr_at(&s, 2) == 0.125);
        LT_CHECK(lt_lr_at(&s, 3) > 0.125);
        LT_CHECK(lt_lr_at(&s, 101) <= 1); /* log: index 99 is the top already */
        LT_CHECK(lt_lr_at(&s, 102) == 1);
    }
    LT_CHECK_NEAR(lt_lr_at(&s, 11), 0.125 + 0.875 / 2, 1e-15); /* ln 10 / ln 100 */
}

LT_TEST(schedule_check_names_the_key)
{
    lt_lr_schedule good = {
        .kind = LT_LR_COSINE, .lr = 1e-3, .total_steps = 10, .warmup_steps = 1
    };
    lt_lr_schedule s = good;

    LT_CHECK_OK(lt_lr_check(&good));
    s.lr = NAN;
    LT_CHECK_FAILS(lt_lr_check(&s), LT_EUSAGE, "lr: expected");
    s = good;
    s.min_lr = 2e-3;
    LT_CHECK_FAILS(lt_lr_check(&s), LT_EUSAGE, "min_lr: expected 0 to 0.001, found 0.002");
    s.kind = LT_LR_CONSTANT; /* has no end */
    LT_CHECK_OK(lt_lr_check(&s));
    s = good;
    s.warmup_steps = -1;
    LT_CHECK_FAILS(lt_lr_check(&s), LT_EUSAGE, "warmup_steps");
    s = good;
    s.total_steps = 0;
    LT_CHECK_FAILS(lt_lr_check(&s), LT_EUSAGE, "total_steps");
    s = good;
    s.kind = LT_LR_DS_WARMUP;
    s.warmup_steps = 0; /* DeepSpeed refuses it too */
    LT_CHECK_FAILS(lt_lr_check(&s), LT_EUSAGE, "warmup_num_steps: expected 1 to");
    s.kind = LT_LR_DS_RANGE_TEST;
    s.lr_range_test_min_lr = 1e-3;
    LT_CHECK_FAILS(lt_lr_check(&s), LT_EUSAGE, "lr_range_test_step_size");
}

LT_TEST(schedule_check_bounds_the_momentum)
{
    lt_lr_schedule s = { .kind = LT_LR_DS_ONE_CYCLE, .total_steps = 100, .cycle_max_lr = 1e-3 };

    LT_CHECK_FAILS(lt_lr_check(&s), LT_EUSAGE, "cycle_first_step_size");
    s.cycle_first_step_size = 10;
    LT_CHECK_OK(lt_lr_check(&s));
    s.cycle_momentum = true;
    s.cycle_min_mom = 0.8;
    s.cycle_max_mom = 1;
    LT_CHECK_FAILS(lt_lr_check(&s), LT_EUSAGE, "below 1");
    s.cycle_max_mom = 0.9;
    s.decay_mom_rate = 0.01;
    s.decay_step_size = 5; /* 0.9 (1 + 0.01 * 79 / 5) = 1.04 at step 100 */
    LT_CHECK_FAILS(lt_lr_check(&s), LT_EUSAGE, "below 1 up to step 100");
    s.total_steps = 60;
    LT_CHECK_OK(lt_lr_check(&s));
}
