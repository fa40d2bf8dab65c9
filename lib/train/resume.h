/* train/resume.h - which checkpoint a run goes on from. */
#ifndef LT_TRAIN_RESUME_H
#define LT_TRAIN_RESUME_H

#include "train/snapshot.h"

/* Loads what checkpoint.resume asks for into the engine and *state; *path (free it) is where it
 * came from, NULL for a new run.  Call it with the lock of checkpoint.dir held.  "auto" sets a
 * damaged newest step aside as "damaged.step-N", warns, and takes the one before it; when no step
 * is left it is LT_EFORMAT, never a new run.  LT_EUSAGE when checkpoint.dir holds steps beyond the
 * one that the run begins with: theirs and the new ones would mix. */
LT_MUST_USE lt_err lt_resume(lt_engine *e, const lt_setup *s, lt_run_state *state, char **path);

#endif
