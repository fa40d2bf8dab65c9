/* optim/schedule.h - the learning rate as a pure function of the step.
 *
 * Nothing is counted here and nothing saved: a resumed run asks for its step and gets the same
 * rate.  Three curves are ours; five are DeepSpeed's, value for value.  DeepSpeed moves its
 * schedulers after the optimizer, from index -1, so optimizer step s sees index s - 2: the first
 * two steps of its warm-ups run at the minimum.  That is kept, because whoever brings such a
 * configuration expects its curve. */
#ifndef LT_OPTIM_SCHEDULE_H
#define LT_OPTIM_SCHEDULE_H

#include "base/err.h"
#include "base/kinds.h"

/* Fields under the names of their keys; those of other kinds are ignored. */
typedef struct lt_lr_schedule {
    lt_lr_kind kind;
    double lr, min_lr;
    int64_t warmup_steps; /* DeepSpeed's warmup_num_steps too */
    int64_t total_steps;  /* of the run */

    double warmup_min_lr, warmup_max_lr;
    bool warmup_log;         /* warm-up along ln(i + 1) / ln(warmup_steps); false: along a line */
    int64_t total_num_steps; /* 0: total_steps */
    double warmup_min_ratio, cos_min_ratio;
    double cycle_min_lr, cycle_max_lr, decay_lr_rate;
    int64_t cycle_first_step_size, cycle_second_step_size;     /* second 0: as the first */
    int64_t cycle_first_stair_count, cycle_second_stair_count; /* 0: no stairs */
    int64_t decay_step_size;                                   /* 0: no decay */
    bool cycle_momentum;
    double cycle_min_mom, cycle_max_mom, decay_mom_rate;
    double lr_range_test_min_lr, lr_range_test_step_rate;
    int64_t lr_range_test_step_size;
    bool lr_range_test_staircase;
} lt_lr_schedule;

/* Every range that the curve of s->kind relies on; LT_EUSAGE names the key. */
LT_MUST_USE lt_err lt_lr_check(const lt_lr_schedule *s);

/* The rate of optimizer step `step`, 1 for the first, of a checked schedule. */
double lt_lr_at(const lt_lr_schedule *s, int64_t step);

/* Adam's beta1 of that step: OneCycle's momentum if it cycles, else `beta1`.  (DeepSpeed then also
 * sets beta2 to 0.99; that is left to the caller.) */
double lt_lr_beta1_at(const lt_lr_schedule *s, int64_t step, double beta1);

#endif
