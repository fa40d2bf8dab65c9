/* ckpt/checkpoint_dir.h - the directory that holds the checkpoints of one run.
 *
 *     step-00000100/                   complete: has a valid MANIFEST
 *     step-00000200.tmp.ATTEMPT/       being written, or left by a killed job
 *     trash.step-00000050/             being removed
 *     lock                             held by the job that writes here
 * Names decide nothing but the order: whether a step is complete is asked of its MANIFEST. */
#ifndef LT_CKPT_CHECKPOINT_DIR_H
#define LT_CKPT_CHECKPOINT_DIR_H

#include "base/lock.h"
#include "base/mem.h"

/* Path of the newest step whose manifest is valid and whose files have their sizes; free() it.
 * Newer ones that are not are named by lt_log_warn with the reason.  LT_ENOENT: there is none.
 * Of many ranks, rank 0 alone looks and tells the others the path: on a network file system two
 * hosts may see two newest steps for a moment. */
LT_MUST_USE lt_err lt_ckpt_find(const char *dir, char **path);

/* A step folder as it is, or the newest one of a directory of steps (*chosen tells). */
LT_MUST_USE lt_err lt_ckpt_resolve(const char *path, char **step_path, bool *chosen);

/* Removes what is older than the keep_last-th newest valid step; keep_last 0 keeps everything.
 * A step that is not valid never counts as kept. */
LT_MUST_USE lt_err lt_ckpt_retire(const char *dir, int keep_last);

/* Removes what dead jobs left; call it with the lock held.  An absent directory is fine. */
LT_MUST_USE lt_err lt_ckpt_sweep(const char *dir);

/* One writing job a directory, held by its rank 0.  Makes dir. */
LT_MUST_USE lt_err lt_ckpt_lock(lt_lock **out, const char *dir);

#endif
