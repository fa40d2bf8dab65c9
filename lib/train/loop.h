/* train/loop.h - lt-train: the loop from configuration to checkpoint. */
#ifndef LT_TRAIN_LOOP_H
#define LT_TRAIN_LOOP_H

#include "train/setup.h"

/* Trains to the end of the run.  SIGTERM, SIGINT and SIGUSR1 finish the step, save, and return
 * LT_ERESTART; a second one ends the process at once. */
LT_MUST_USE lt_err lt_train(lt_config *config);

#endif
