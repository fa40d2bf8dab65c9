/* train/saver.h - checkpoints of a run while it goes on.
 *
 * An asynchronous save is a snapshot of this rank's slices into host memory, which the steps wait
 * for, and a thread that writes it, which they do not.  Any other is written by lt_saver_start,
 * straight from where the state lies, through one block of a few MiB.
 *
 *     lt_saver_start      all ranks, at the same step: snapshot; the thread begins
 *     lt_saver_written    is this rank's part on disk?  Travels with each step's result
 *     lt_saver_look       all ranks, with everybody's words: commits once all have written
 *     lt_saver_finish     all ranks: waits for all, commits
 * The checkpoint exists from the commit on; whatever stops the run before leaves the older one. */
#ifndef LT_TRAIN_SAVER_H
#define LT_TRAIN_SAVER_H

#include "train/snapshot.h"

typedef struct lt_saver lt_saver;

/* Borrows both.  async: the memory of a snapshot is taken now and kept; LT_ENOMEM tells how to do
 * without. */
LT_MUST_USE lt_err lt_saver_open(lt_saver **out, lt_engine *e, const lt_setup *s, bool async);
void lt_saver_close(lt_saver *v); /* NULL is fine; gives up an unfinished save */
/* Host bytes that an asynchronous saver keeps for so many elements (lt_engine_bytes). */
uint64_t lt_saver_bytes(uint64_t owned);

/* Ends a save that is under way first.  The error is every rank's.  Not async: the whole save. */
LT_MUST_USE lt_err lt_saver_start(lt_saver *v, const lt_run_state *state);
bool lt_saver_written(lt_saver *v); /* this rank's part, for its word */
/* all_written: every rank's word said so.  Commits then. */
LT_MUST_USE lt_err lt_saver_look(lt_saver *v, bool all_written);
LT_MUST_USE lt_err lt_saver_finish(lt_saver *v); /* nothing under way: LT_OK */

#endif
