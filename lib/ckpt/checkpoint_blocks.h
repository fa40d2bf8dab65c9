/* ckpt/checkpoint_blocks.h - verified bytes of the files of a checkpoint.
 *
 * Owns descriptors (a few at a time: a checkpoint of 1,024 ranks has thousands of files), one bit a
 * block that says it was verified, and the block read last. */
#ifndef LT_CKPT_CHECKPOINT_BLOCKS_H
#define LT_CKPT_CHECKPOINT_BLOCKS_H

#include "ckpt/manifest.h"

typedef struct lt_ckpt_blocks lt_ckpt_blocks;

/* folder and m are borrowed.  Every file is looked at: absent or of another size is LT_EFORMAT. */
LT_MUST_USE lt_err lt_ckpt_blocks_open(lt_ckpt_blocks **out, const char *folder,
                                       const lt_manifest *m);
void lt_ckpt_blocks_close(lt_ckpt_blocks *b);

LT_MUST_USE lt_err lt_ckpt_blocks_read(lt_ckpt_blocks *b, size_t file, uint64_t offset, void *dst,
                                       size_t n);

/* Reads and sums one block whether or not it was verified before. */
LT_MUST_USE lt_err lt_ckpt_blocks_verify(lt_ckpt_blocks *b, size_t file, uint64_t block);

#endif
