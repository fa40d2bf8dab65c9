/* ckpt/safetensors_writer.h - writes one safetensors file as a stream.
 *
 * Life: open, metadata and declare in any number, begin (the header is written and the space
 * reserved), write the bytes of all tensors in the order of declaration in pieces of any size,
 * commit.  The file appears under its name only then, synced.  Memory is one header. */
#ifndef LT_CKPT_SAFETENSORS_WRITER_H
#define LT_CKPT_SAFETENSORS_WRITER_H

#include "base/dtype.h"
#include "ckpt/block_crc.h"

typedef struct lt_safetensors_writer lt_safetensors_writer;

LT_MUST_USE lt_err lt_safetensors_writer_open(lt_safetensors_writer **out, const char *path);
void lt_safetensors_writer_metadata(lt_safetensors_writer *w, const char *key, const char *value);

/* Offset of the tensor's first byte behind the header; names must differ. */
uint64_t lt_safetensors_writer_declare(lt_safetensors_writer *w, const char *name, lt_dtype dtype,
                                       int n_dims, const uint64_t *dims);
LT_MUST_USE lt_err lt_safetensors_writer_begin(lt_safetensors_writer *w);
uint64_t lt_safetensors_writer_header(const lt_safetensors_writer *w); /* bytes before the data */

LT_MUST_USE lt_err lt_safetensors_writer_write(lt_safetensors_writer *w, const void *data,
                                               size_t n);

/* Frees w in any case.  *crc (may be NULL) gets size and sums; lt_block_crc_release it. */
LT_MUST_USE lt_err lt_safetensors_writer_commit(lt_safetensors_writer *w, lt_block_crc *crc);
void lt_safetensors_writer_abort(lt_safetensors_writer *w); /* NULL is fine */

#endif
