/* ckpt/checkpoint_save.h - writes a checkpoint that exists whole or not at all.
 *
 * The commit point is the rename of "step-N.tmp.ATTEMPT" to "step-N" after everything inside was
 * synced; until then a kill or a power cut leaves only a folder that lt_ckpt_sweep removes.
 *
 *     rank 0      lt_ckpt_begin      makes the folder; its path is all that other ranks need
 *     each rank   lt_ckpt_write      writes and syncs its own files; gives a part (text)
 *     rank 0      lt_ckpt_commit     gathers the parts; blobs, MANIFEST, rename
 *     rank 0      lt_ckpt_discard    instead, when any rank failed
 * lt_ckpt_save is the four for a job of one process.  Callable from any thread. */
#ifndef LT_CKPT_CHECKPOINT_SAVE_H
#define LT_CKPT_CHECKPOINT_SAVE_H

#include "ckpt/manifest.h"

/* Elements [first, first + count) of a tensor; data is host memory of the caller. */
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

typedef struct lt_ckpt_save_request {
    lt_ckpt_step step;
    const lt_ckpt_tensor *tensors; /* the whole logical space, the same on every rank */
    size_t n_tensors;
    const lt_ckpt_slice *slices; /* this rank's; together they cover every tensor of a group once */
    size_t n_slices;
    const lt_ckpt_blob *blobs; /* rank 0's */
    size_t n_blobs;
    uint32_t rank, world;
} lt_ckpt_save_request;

/* World 1.  *final_path (may be NULL) gets "DIR/step-00000100"; free() it.  On failure the folders
 * that were there are untouched and no temporary one is left. */
LT_MUST_USE lt_err lt_ckpt_save(const char *dir, const lt_ckpt_save_request *rq, char **final_path);

LT_MUST_USE lt_err lt_ckpt_begin(const char *dir, uint64_t step, char **tmp); /* free() it */
LT_MUST_USE lt_err lt_ckpt_write(const char *tmp, const lt_ckpt_save_request *rq, lt_buf *part);
/* A step folder of the same name is replaced in one step of the file system.  An error after that
 * is reported with *published set: the checkpoint is there, but may not survive a power cut. */
LT_MUST_USE lt_err lt_ckpt_commit(const char *tmp, const lt_ckpt_save_request *rq,
                                  const char *const *parts, size_t n_parts, bool *published);
void lt_ckpt_discard(const char *tmp); /* keeps the error record of the thread */

/* The logical tensor of a row of the parameter table. */
lt_ckpt_tensor lt_ckpt_tensor_of(const lt_param *p, lt_dtype dtype);

#endif
