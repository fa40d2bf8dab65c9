/* train/setup.h - a checked configuration -> everything a run needs but the device.
 *
 * Opens the data and the tokenizer, checks that data, tokenizer and model belong together, and
 * turns lengths given in epochs or tokens into steps.  Owns what it opened; borrows the
 * configuration. */
#ifndef LT_TRAIN_SETUP_H
#define LT_TRAIN_SETUP_H

#include "batch/batch.h"
#include "config/config.h"
#include "optim/schedule.h"
#include "text/tokenizer.h"
#include "train/engine.h"

typedef struct lt_setup {
    lt_config *config;
    lt_dataset *train, *val; /* val NULL: no evaluation */
    lt_tokenizer *tokenizer; /* NULL: none beside the data; then nothing can be sampled */
    lt_buf tokenizer_json;
    lt_engine_options engine;
    lt_lr_schedule schedule;
    uint64_t epoch_samples; /* N */
    uint64_t step_samples;  /* G, all ranks */
    uint64_t total_steps;
    int n_micro;
} lt_setup;

/* Borrows group; NULL: this process alone.  with_data false (--plan): nothing but the configuration
 * is looked at, total_steps may be 0, and lt_config_resolve_batch is the caller's. */
LT_MUST_USE lt_err lt_setup_open(lt_setup *s, lt_config *config, lt_group *group, bool with_data);
void lt_setup_release(lt_setup *s); /* zeroed is fine */

/* Options of the training batches from sample `first_sample` on. */
lt_batcher_options lt_setup_batches(const lt_setup *s, uint64_t first_sample);

/* "Opening FILE: no such file" with what to do about it. */
LT_MUST_USE lt_err lt_setup_open_tokenizer(lt_tokenizer **out, const char *path);

#endif
