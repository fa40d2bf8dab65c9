/* train/weights.h - where an engine's weights come from: a Hugging Face folder. */
#ifndef LT_TRAIN_WEIGHTS_H
#define LT_TRAIN_WEIGHTS_H

#include "train/engine.h"

/* Reads this rank's slices of every parameter and refreshes the compute weights. */
LT_MUST_USE lt_err lt_engine_load_hf(lt_engine *e, const char *folder);

#endif
