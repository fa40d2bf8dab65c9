/* ckpt/checkpoint_save.h - writes a checkpoint that exists whole or not at all.
 *
 * The commit point is the rename of "step-N.tmp.ATTEMPT" to "step-N" after everything inside was
 * synced; until then a kill or a power cut leaves only a folder that lt_ckpt_sweep removes.
 *
 *     rank 0                  every rank                     between ranks (the caller's work)
 *     lt_ckpt_begin                                          the path goes to all, or the error
 *                             lt_ckpt_write, or in the
 *                             background lt_ckpt_writer_start
 *          training goes on ...                              each step: has every rank ended?
 *                             lt_ckpt_writer_join            parts go to rank 0, or an error
 *     lt_ckpt_commit                                         the outcome goes to all
 *     lt_ckpt_retire
 *     lt_ckpt_discard         instead of the last two, when a rank failed and all have ended
 *
 * Everything whose time grows with the model is in lt_ckpt_write: commit writes the MANIFEST and
 * syncs directories.  Any thread may call. */
#ifndef LT_CKPT_CHECKPOINT_SAVE_H
#define LT_CKPT_CHECKPOINT_SAVE_H

#include "ckpt/manifest.h"

#include <stdatomic.h>

/* Elements [first, first + count) of a tensor; data is host memory of the caller, NULL: the
 * request's source has it. */
typedef struct lt_ckpt_slice {
    const char *group; /* LT_CKPT_WEIGHTS, "exp_avg", "exp_avg_sq": one file a group and rank */
    const char *name;  /* of a tensor; once a group and rank */
    lt_dtype dtype;    /* F32, BF16 or F16 */
    uint64_t first, count;
    const void *data;
} lt_ckpt_slice;

/* A small file of its own inside the checkpoint: config.json, tokenizer.json, state.json, ... */
typedef struct lt_ckpt_blob {
    const char *name; /* a plain file name; *.safetensors is ours */
    const void *data;
    size_t size;
} lt_ckpt_blob;

/* What has the values of slices without data: asked in the writing thread, block by block, slice by
 * slice in their order within a group.  Embed as first member of the caller's own struct. */
typedef struct lt_ckpt_source lt_ckpt_source;
struct lt_ckpt_source {
    /* `count` values of the slice from its value `first` on, in the slice's type.  A failure ends
     * the save. */
    lt_err (*read)(lt_ckpt_source *s, const lt_ckpt_slice *slice, uint64_t first, uint64_t count,
                   void *dst);
};

/* Borrows all that it points to. */
typedef struct lt_ckpt_save_request {
    lt_ckpt_step step;
    const lt_ckpt_tensor *tensors; /* the whole logical space, the same on every rank */
    size_t n_tensors;
    const lt_ckpt_slice *slices; /* this rank's; together they cover every tensor of a group once */
    size_t n_slices;
    const lt_ckpt_blob *blobs; /* rank 0's */
    size_t n_blobs;
    uint32_t rank, world;
    lt_ckpt_source *source; /* NULL: every slice has data */
    /* Once set, by any thread, lt_ckpt_write ends within a few MiB with LT_EIO; NULL: never */
    const atomic_bool *give_up;
} lt_ckpt_save_request;

LT_MUST_USE lt_err lt_ckpt_begin(const char *dir, uint64_t step, char **tmp); /* free() it */
/* This rank's slices, and rank 0's blobs.  *part is replaced by text for lt_ckpt_commit.  Another
 * step than the folder's is LT_EMISMATCH: ranks have lost step. */
LT_MUST_USE lt_err lt_ckpt_write(const char *tmp, const lt_ckpt_save_request *rq, lt_buf *part);
/* Rank 0; parts[r] is rank r's, and there is one of each.  Slices and blobs are not looked at.
 * LT_EMISMATCH: a part of another rank, world, step or attempt; LT_EFORMAT: slices that overlap or
 * leave a hole.  A step folder of the same name is replaced in one step of the file system.  An
 * error after that is reported with *published set: the checkpoint is there, but may not survive a
 * power cut. */
LT_MUST_USE lt_err lt_ckpt_commit(const char *tmp, const lt_ckpt_save_request *rq,
                                  const char *const *parts, size_t n_parts, bool *published);
void lt_ckpt_discard(const char *tmp); /* keeps the error record of the thread */

/* The logical tensor of a row of the parameter table. */
lt_ckpt_tensor lt_ckpt_tensor_of(const lt_param *p, lt_dtype dtype);

#endif
