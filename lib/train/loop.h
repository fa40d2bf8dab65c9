/* train/loop.h - lt-train: the loop from configuration to checkpoint. */
#ifndef LT_TRAIN_LOOP_H
#define LT_TRAIN_LOOP_H

#include "comm/watch.h"
#include "train/setup.h"

/* Trains to the end of the run, as one rank of the group; watch may be NULL.  SIGTERM, SIGINT and
 * SIGUSR1 at any rank, or training.max_wallclock, finish the step, save, and return LT_ERESTART on
 * all; a second signal ends the process at once. */
LT_MUST_USE lt_err lt_train(lt_config *config, lt_group *group, lt_watch *watch);

#endif
