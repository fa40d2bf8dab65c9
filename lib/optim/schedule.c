/* optim/schedule.c - the curves.  DeepSpeed's are those of its runtime/lr_schedules.py, 0.19. */
#include "optim/schedule.h"

#include "base/mem.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

/* 1 at x = 0, 0 from x = 1 on */
static double half_cosine(double x)
{
    return x < 1 ? 0.5 * (1 + cos(pi * x)) : 0;
}

static double line_down(double x)
{
    return x < 1 ? 1 - x : 0;
}

static double our_rate(const lt_lr_schedule *s, int64_t step)
{
    double left = (double)(s->total_steps - s->warmup_steps), x;

    if (step <= s->warmup_steps)
        return s->lr * (double)step / (double)s->warmup_steps;
    if (s->kind == LT_LR_CONSTANT)
        return s->lr;
    x = left > 0 ? (double)(step - s->warmup_steps) / left : 1;
    return s->min_lr +
           (s->lr - s->min_lr) * (s->kind == LT_LR_COSINE ? half_cosine(x) : line_down(x));
}

/* ---- DeepSpeed: index i = step - 2 is -1 in the first step */

static int64_t warmup_length(const lt_lr_schedule *s)
{
    return s->warmup_steps > 2 ? s->warmup_steps : 2;
}

static int64_t decay_end(const lt_lr_schedule *s)
{
    return s->total_num_steps > 0 ? s->total_num_steps : s->total_steps;
}

/* 0 to 1 over the indices [0, warmup_length) */
static double warmup_fraction(const lt_lr_schedule *s, int64_t i)
{
    double n = (double)warmup_length(s);

    if (i < 0)
        return 0;
    return s->warmup_log ? log((double)i + 1) / log(n) : (double)i / n;
}

static double warmup_rate(const lt_lr_schedule *s, int64_t i)
{
    int64_t n = warmup_length(s), end = decay_end(s);
    double part = 1;

    if (i < n)
        part = warmup_fraction(s, i);
    else if (s->kind == LT_LR_DS_WARMUP_DECAY) /* reaches `end` one index later than the cosine */
        part = i < end ? (double)(end - i) / (double)(end - n) : 0;
    return s->warmup_min_lr + (s->warmup_max_lr - s->warmup_min_lr) * part;
}

static double warmup_cosine_rate(const lt_lr_schedule *s, int64_t i)
{
    int64_t n = warmup_length(s), end = decay_end(s);
    double x;

    if (i < 0) /* not warmup_min_ratio: the first step does not move the weights */
        return 0;
    if (i < n)
        return s->lr * (s->warmup_min_ratio + (1 - s->warmup_min_ratio) * warmup_fraction(s, i));
    x = end > n ? (double)(i - n + 1) / (double)(end - n) : 1;
    return s->lr * (s->cos_min_ratio + (1 - s->cos_min_ratio) * half_cosine(x));
}

static int64_t second_half(const lt_lr_schedule *s)
{
    return s->cycle_second_step_size > 0 ? s->cycle_second_step_size : s->cycle_first_step_size;
}

/* Steps since the cycle ended; 0 or less inside it. */
static int64_t after_cycle(const lt_lr_schedule *s, int64_t step)
{
    return step - 1 - s->cycle_first_step_size - second_half(s);
}

/* Height inside the cycle: 0 at both ends, 1 where its halves meet. */
static double cycle_height(const lt_lr_schedule *s, int64_t step)
{
    int64_t at = step - 1, size = s->cycle_first_step_size, stairs = s->cycle_first_stair_count;

    if (at > size) {
        at = -after_cycle(s, step);
        size = second_half(s);
        stairs = s->cycle_second_stair_count;
    }
    if (stairs > 0) /* multiplied first: at / size * stairs may fall just below a whole stair */
        return floor((double)at * (double)stairs / (double)size) / (double)stairs;
    return (double)at / (double)size;
}

/* Decay periods since the cycle ended. */
static double decay_periods(const lt_lr_schedule *s, int64_t step)
{
    return s->decay_step_size > 0 ? (double)after_cycle(s, step) / (double)s->decay_step_size : 0;
}

static double cycle_rate(const lt_lr_schedule *s, int64_t step)
{
    if (after_cycle(s, step) > 0)
        return s->cycle_min_lr / (1 + s->decay_lr_rate * decay_periods(s, step));
    return s->cycle_min_lr + (s->cycle_max_lr - s->cycle_min_lr) * cycle_height(s, step);
}

static double range_test_rate(const lt_lr_schedule *s, int64_t step)
{
    double periods = (double)(step - 1) / (double)s->lr_range_test_step_size;

    if (s->lr_range_test_staircase)
        periods = floor(periods);
    return s->lr_range_test_min_lr * (1 + s->lr_range_test_step_rate * periods);
}

double lt_lr_at(const lt_lr_schedule *s, int64_t step)
{
    LT_BUG_ON(step < 1);
    switch (s->kind) {
    case LT_LR_COSINE:
    case LT_LR_LINEAR:
    case LT_LR_CONSTANT:
        return our_rate(s, step);
    case LT_LR_DS_WARMUP:
    case LT_LR_DS_WARMUP_DECAY:
        return warmup_rate(s, step - 2);
    case LT_LR_DS_WARMUP_COSINE:
        return warmup_cosine_rate(s, step - 2);
    case LT_LR_DS_ONE_CYCLE:
        return cycle_rate(s, step);
    case LT_LR_DS_RANGE_TEST:
        return range_test_rate(s, step);
    }
    lt_bug(__FILE__, __LINE__, __func__, "s->kind");
}

double lt_lr_beta1_at(const lt_lr_schedule *s, int64_t step, double beta1)
{
    LT_BUG_ON(step < 1);
    if (s->kind != LT_LR_DS_ONE_CYCLE || !s->cycle_momentum)
        return beta1;
    if (step == 1) /* DeepSpeed starts at the wrong end, for this one step */
        return s->cycle_min_mom;
    if (after_cycle(s, step) > 0)
        return s->cycle_max_mom * (1 + s->decay_mom_rate * decay_periods(s, step));
    return s->cycle_max_mom - (s->cycle_max_mom - s->cycle_min_mom) * cycle_height(s, step);
}

/* ---- check */

typedef struct range {
    const char *key;
    double x, min, max;
} range;

static lt_err check_ranges(const range *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(r[i].x >= r[i].min && r[i].x <= r[i].max)) /* NaN fails too */
            return lt_fail(LT_EUSAGE, "%s: expected %g to %g, found %g", r[i].key, r[i].min,
                           r[i].max, r[i].x);
    return LT_OK;
}

static const double most_steps = 1e15, most_rate = 1e9;

static lt_err check_ours(const lt_lr_schedule *s)
{
    const range ranges[] = { { "lr", s->lr, 0, most_rate },
                             { "min_lr", s->min_lr, 0,
                               s->kind == LT_LR_CONSTANT ? most_rate : s->lr },
                             { "warmup_steps", (double)s->warmup_steps, 0, most_steps },
                             { "total_steps", (double)s->total_steps, 1, most_steps } };

    return check_ranges(ranges, LT_COUNT(ranges));
}

static lt_err check_warmup(const lt_lr_schedule *s)
{
    const range ranges[] = { { "lr", s->lr, 0, most_rate },
                             { "warmup_min_lr", s->warmup_min_lr, 0, most_rate },
                             { "warmup_max_lr", s->warmup_max_lr, 0, most_rate },
                             { "warmup_min_ratio", s->warmup_min_ratio, 0, 1 },
                             { "cos_min_ratio", s->cos_min_ratio, 0, 1 },
                             { "warmup_num_steps", (double)s->warmup_steps, 1, most_steps },
                             { "total_num_steps", (double)decay_end(s), 1, most_steps } };

    return check_ranges(ranges, LT_COUNT(ranges));
}

static lt_err check_one_cycle(const lt_lr_schedule *s)
{
    const range ranges[] = {
        { "cycle_min_lr", s->cycle_min_lr, 0, most_rate },
        { "cycle_max_lr", s->cycle_max_lr, 0, most_rate },
        { "decay_lr_rate", s->decay_lr_rate, 0, most_rate },
        { "cycle_first_step_size", (double)s->cycle_first_step_size, 1, most_steps },
        { "cycle_second_step_size", (double)s->cycle_second_step_size, 0, most_steps },
        { "cycle_first_stair_count", (double)s->cycle_first_stair_count, 0, most_steps },
        { "cycle_second_stair_count", (double)s->cycle_second_stair_count, 0, most_steps },
        { "decay_step_size", (double)s->decay_step_size, 0, most_steps },
        { "cycle_min_mom", s->cycle_min_mom, 0, 1 },
        { "cycle_max_mom", s->cycle_max_mom, 0, 1 },
        { "decay_mom_rate", s->decay_mom_rate, 0, most_rate },
        { "total_steps", (double)s->total_steps, 1, most_steps },
    };
    lt_err err;
    double last;

    LT_TRY(err = check_ranges(ranges, LT_COUNT(ranges)));
    if (!s->cycle_momentum)
        return LT_OK;
    /* Adam divides by 1 - beta1^t.  After the cycle the momentum only grows. */
    last = fmax(s->cycle_min_mom, fmax(s->cycle_max_mom, lt_lr_beta1_at(s, s->total_steps, 0)));
    if (last >= 1)
        return lt_fail(LT_EUSAGE,
                       "cycle_max_mom, decay_mom_rate: expected a momentum below 1 up to "
                       "step %lld, found %g",
                       (long long)s->total_steps, last);
fail:
    return err;
}

static lt_err check_range_test(const lt_lr_schedule *s)
{
    const range ranges[] = {
        { "lr_range_test_min_lr", s->lr_range_test_min_lr, 0, most_rate },
        { "lr_range_test_step_rate", s->lr_range_test_step_rate, 0, most_rate },
        { "lr_range_test_step_size", (double)s->lr_range_test_step_size, 1, most_steps },
    };

    return check_ranges(ranges, LT_COUNT(ranges));
}

lt_err lt_lr_check(const lt_lr_schedule *s)
{
    switch (s->kind) {
    case LT_LR_COSINE:
    case LT_LR_LINEAR:
    case LT_LR_CONSTANT:
        return check_ours(s);
    case LT_LR_DS_WARMUP:
    case LT_LR_DS_WARMUP_DECAY:
    case LT_LR_DS_WARMUP_COSINE:
        return check_warmup(s);
    case LT_LR_DS_ONE_CYCLE:
        return check_one_cycle(s);
    case LT_LR_DS_RANGE_TEST:
        return check_range_test(s);
    }
    return lt_fail(LT_EUSAGE, "lr_schedule: no schedule has the number %d", (int)s->kind);
}
