/* train/loop_parts.h - a run's insides, shared by loop.c (life and order), loop_step.c (a step and
 * its result) and loop_act.c (what happens between steps). */
#ifndef LT_TRAIN_LOOP_PARTS_H
#define LT_TRAIN_LOOP_PARTS_H

#include "ckpt/checkpoint_dir.h"
#include "monitor/metrics.h"
#include "monitor/progress.h"
#include "monitor/tb_events.h"
#include "train/loop.h"
#include "train/ranks.h"
#include "train/saver.h"

/* What a rank says in the word that travels with each step's result. */
enum {
    LT_WORD_STOP = 1,    /* it was asked to stop, or its time is up */
    LT_WORD_SAVE = 2,    /* a checkpoint is due by the clock */
    LT_WORD_WRITTEN = 4, /* its part of the checkpoint under way is on disk */
};

typedef struct lt_run {
    lt_setup setup;
    lt_config *config;
    lt_group *group;
    lt_watch *watch;
    lt_engine *engine;
    lt_batcher *batches;
    lt_saver *saver;
    lt_run_state state;          /* of what is enqueued */
    lt_lock *checkpoints, *logs; /* the directories are ours; rank 0's, as the three below */
    lt_metrics_log *log;
    lt_tb_events *events;
    lt_progress progress;
    lt_engine_batch *micro;
    lt_step_metrics waiting[LT_STEPS_AHEAD]; /* of steps whose results are outstanding */
    int ahead;       /* results left outstanding while the next step is enqueued */
    bool stop, save; /* agreed: after the step under way */
    double opened_at, saved_at, result_at; /* clocks: of the run, the last save, the last result */
    uint64_t saved_step;
    double step_s; /* moving average for the ETA */
    int skips_in_a_row;
    uint64_t skipped;
} lt_run;

static inline bool lt_run_due(uint64_t step, int64_t every)
{
    return every > 0 && step % (uint64_t)every == 0;
}

/* loop_step.c */
LT_MUST_USE lt_err lt_run_enqueue(lt_run *r, uint32_t word);
/* The oldest outstanding result; words of all ranks have been looked at. */
LT_MUST_USE lt_err lt_run_result(lt_run *r, lt_step_metrics *m);
LT_MUST_USE lt_err lt_run_check_skips(const lt_run *r);

/* loop_act.c */
LT_MUST_USE lt_err lt_run_evaluate(lt_run *r, lt_step_metrics *m);
LT_MUST_USE lt_err lt_run_show_samples(lt_run *r);
LT_MUST_USE lt_err lt_run_save(lt_run *r);
/* A save in passing has ended with err: LT_OK when the run may go on. */
LT_MUST_USE lt_err lt_run_forgive(lt_run *r, lt_err err);
/* Every rank has come to the same err at the same step: finishes the save under way, and agrees. */
LT_MUST_USE lt_err lt_run_fail_together(lt_run *r, lt_err err);
void lt_run_draw_curve(const lt_run *r);

#endif
