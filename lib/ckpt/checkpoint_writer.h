/* ckpt/checkpoint_writer.h - one rank's part of a save, written while training goes on.
 *
 * Owns one thread that sleeps between jobs.  It runs at low priority for the CPU (SCHED_BATCH,
 * nice) and the disk, and its files are written out as they grow: where every core computes, steps
 * are a little slower for a while instead of much slower at once.  It never talks to other ranks
 * and never commits: see checkpoint_save.h for who does what when.  One thread uses a writer. */
#ifndef LT_CKPT_CHECKPOINT_WRITER_H
#define LT_CKPT_CHECKPOINT_WRITER_H

#include "ckpt/checkpoint_save.h"

typedef struct lt_ckpt_writer lt_ckpt_writer;

LT_MUST_USE lt_err lt_ckpt_writer_open(lt_ckpt_writer **out);

/* Gives a job running up, waits for the thread and frees; files that the job wrote stay for
 * lt_ckpt_discard.  NULL is fine. */
void lt_ckpt_writer_close(lt_ckpt_writer *w);

/* Each start needs a join before the next one.
 * start: lt_ckpt_write.  Everything the request points to (slices and their data, tensors, blobs,
 * names) belongs to the caller and must neither change nor go before join or close returned; the
 * request itself is copied, its give_up replaced.
 * start_retire: lt_ckpt_retire, rank 0's after a commit: unlinking takes as long as files are
 * large. */
void lt_ckpt_writer_start(lt_ckpt_writer *w, const char *tmp, const lt_ckpt_save_request *rq);
void lt_ckpt_writer_start_retire(lt_ckpt_writer *w, const char *dir, int keep_last);

bool lt_ckpt_writer_busy(lt_ckpt_writer *w); /* cheap: ask every step */

/* Waits.  The job's error, or *part (replaced; NULL when nobody wants it) for rank 0.  Joined again
 * it says the same again. */
LT_MUST_USE lt_err lt_ckpt_writer_join(lt_ckpt_writer *w, lt_buf *part);

#endif
