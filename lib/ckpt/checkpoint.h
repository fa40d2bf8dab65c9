/* ckpt/checkpoint.h - reads one checkpoint (a step folder).  Owns the manifest, a few descriptors
 * and one 4 MiB block.
 *
 * A checkpoint is a logical tensor space: any element range of any tensor is read by name, whatever
 * ranks wrote it and however it was cut.  Every block that a read touches is checked against its
 * CRC32C the first time, so damage is an error, never a number.  One thread at a time. */
#ifndef LT_CKPT_CHECKPOINT_H
#define LT_CKPT_CHECKPOINT_H

#include "ckpt/manifest.h"

typedef struct lt_ckpt lt_ckpt;

/* Opens a step folder: the manifest is checked whole, every file must be there in its size. */
LT_MUST_USE lt_err lt_ckpt_open(lt_ckpt **out, const char *path);
void lt_ckpt_close(lt_ckpt *c); /* NULL is fine */

const char *lt_ckpt_path(const lt_ckpt *c);
const lt_manifest *lt_ckpt_manifest(const lt_ckpt *c);

/* LT_EMISMATCH names the first tensor that is missing, extra, or of another shape or layout. */
LT_MUST_USE lt_err lt_ckpt_check(const lt_ckpt *c, const lt_ckpt_tensor *expected, size_t n);

/* Elements [first, first + count) of a tensor ("weights", "exp_avg", ...), as dst_dtype.
 * LT_ENOENT: no such tensor or group; LT_EMISMATCH: beyond its end; LT_EFORMAT: damaged. */
LT_MUST_USE lt_err lt_ckpt_read(lt_ckpt *c, const char *group, const char *name, uint64_t first,
                                uint64_t count, void *dst, lt_dtype dst_dtype);

bool lt_ckpt_has_blob(const lt_ckpt *c, const char *name);
LT_MUST_USE lt_err lt_ckpt_blob_read(lt_ckpt *c, const char *name, lt_buf *out); /* replaces *out */

/* Reads everything.  Embed as first member of the caller's own struct; either call may be NULL. */
typedef struct lt_ckpt_watch lt_ckpt_watch;
struct lt_ckpt_watch {
    void (*progress)(lt_ckpt_watch *w, uint64_t done, uint64_t total); /* bytes */
    void (*damage)(lt_ckpt_watch *w, const char *sentence);            /* each damaged place */
};
/* All damage is found before it returns; the error is the first sentence and a count. */
LT_MUST_USE lt_err lt_ckpt_verify(lt_ckpt *c, lt_ckpt_watch *watch);

#endif
