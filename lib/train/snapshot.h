/* train/snapshot.h - a run's whole state <-> a checkpoint.
 *
 * What a checkpoint of lt-train holds besides weights and moments: config.yaml (effective),
 * state.json (counters and identities), config.json, generation_config.json and tokenizer.json for
 * whoever merges or generates from it. */
#ifndef LT_TRAIN_SNAPSHOT_H
#define LT_TRAIN_SNAPSHOT_H

#include "train/setup.h"

enum { LT_RUN_ID_BYTES = 17 };

/* Counters of a run; everything else that decides its future is configuration, data or weights. */
typedef struct lt_run_state {
    uint64_t step, samples, tokens; /* done; samples is the data cursor */
    char run_id[LT_RUN_ID_BYTES];
} lt_run_state;

void lt_run_state_new(lt_run_state *s); /* step 0, a fresh run id */

/* Loads a step folder, on all ranks together, into the engine and *state.  LT_EMISMATCH when the
 * model, the data or what decides the order of samples is not what the checkpoint was trained
 * with. */
LT_MUST_USE lt_err lt_snapshot_load(lt_engine *e, const lt_setup *s, lt_run_state *state,
                                    const char *path);

/* Weights alone, for generation. */
LT_MUST_USE lt_err lt_snapshot_load_weights(lt_engine *e, const char *path);

#endif
