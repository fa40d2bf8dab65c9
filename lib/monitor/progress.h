/* monitor/progress.h - the line a person watches while a model trains.
 *
 * On a terminal one line is redrawn in place, at most ten times a second; elsewhere (a batch log) a
 * plain line is written every `every_steps` steps.  The last step is a plain line everywhere.  Both
 * go through base/log.h, so messages and the drawn line never mix.  A narrow terminal cuts the end
 * of the line, so what matters less stands there.
 *
 *     step 1200/5000  loss 3.412  lr 5.7e-04  norm 0.83  41.2k tok/s  eta 12m05s  mfu 43.1% */
#ifndef LT_MONITOR_PROGRESS_H
#define LT_MONITOR_PROGRESS_H

#include "monitor/metrics.h"

typedef struct lt_progress {
    uint64_t total_steps; /* 0: not known */
    uint64_t every_steps; /* plain lines; 0: only the last step */
    double drawn_at;      /* ours: lt_now() of the last redraw */
} lt_progress;

/* To be called after every step. */
void lt_progress_step(lt_progress *p, const lt_step_metrics *m);

/* The line alone, appended to `out` without a newline. */
void lt_progress_format(lt_buf *out, const lt_step_metrics *m, uint64_t total_steps);

#endif
