/* shard/shard_reader.h - random access to one shard file.
 *
 * Owns the mapping of the file and a desk (a decompressor and one decoded frame), or shares the
 * desk of another reader; keeps no descriptor open.  Opening checks size, footer, header, both
 * index blocks (checksums, order, ranges) and never scans the frames; a frame is checked when it is
 * decoded: size, zstd checksum against the index, ids below the vocabulary size.
 * One thread at a time. */
#ifndef LT_SHARD_SHARD_READER_H
#define LT_SHARD_SHARD_READER_H

#include "shard/shard_format.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_shard_info {
    lt_shard_head head;
    lt_shard_foot foot;
    uint64_t head_bytes; /* of HEAD; frames start here */
    uint64_t file_bytes;
} lt_shard_info;

typedef struct lt_shard_reader lt_shard_reader;
LT_MUST_USE lt_err lt_shard_reader_open(lt_shard_reader **out, const char *path);
void lt_shard_reader_close(lt_shard_reader *r); /* NULL is fine */

/* r decodes on `other`'s desk from now on: a data set of thousands of shards needs one.  `other`
 * must be closed after r, and r must not have read anything yet. */
LT_MUST_USE lt_err lt_shard_reader_share(lt_shard_reader *r, lt_shard_reader *other);

const lt_shard_info *lt_shard_reader_info(const lt_shard_reader *r);
const char *lt_shard_reader_path(const lt_shard_reader *r);

/* Tokens [first, first + n) into dst; beyond n_tokens is a bug of the caller. */
LT_MUST_USE lt_err lt_shard_reader_read(lt_shard_reader *r, uint64_t first, uint32_t *dst,
                                        size_t n);

/* Row of the frame index; damage that appeared after opening is LT_EFORMAT. */
LT_MUST_USE lt_err lt_shard_reader_frame(const lt_shard_reader *r, uint64_t frame,
                                         lt_shard_frame *out);
/* Everything that can be known of one frame: both checksums, decoding, first token. */
LT_MUST_USE lt_err lt_shard_reader_check_frame(lt_shard_reader *r, uint64_t frame);

/* Position of the first document end at or after `token`; n_tokens if there is none (the document
 * goes on in the next shard).  *ordinal, unless NULL: how many documents end before `token`, which
 * is the number of the document that holds it. */
uint64_t lt_shard_reader_next_end(const lt_shard_reader *r, uint64_t token, uint64_t *ordinal);

/* The tokens [*first, *first + *n) of document `ordinal` (below n_docs) in this shard. */
void lt_shard_reader_document(const lt_shard_reader *r, uint64_t ordinal, uint64_t *first,
                              uint64_t *n);

/* The bytes of the mapped file [offset, offset + n), which must lie inside. */
const uint8_t *lt_shard_reader_bytes(const lt_shard_reader *r, uint64_t offset, uint64_t n);

/* What decoding took so far. */
typedef struct lt_shard_work {
    uint64_t frames, tokens;          /* decoded; a frame counts again when it is decoded again */
    uint64_t stored_bytes, raw_bytes; /* of these frames, compressed and as ids */
} lt_shard_work;
/* Adds that of r's desk, which counts for all readers that share it. */
void lt_shard_reader_work(const lt_shard_reader *r, lt_shard_work *sum);

struct ZSTD_DCtx_s; /* zstd's name of a ZSTD_DCtx */

/* Decodes one zstd frame of exactly raw_bytes into dst; false when it is anything else. */
bool lt_shard_decode_frame(struct ZSTD_DCtx_s *dctx, const uint8_t *stored, size_t stored_bytes,
                           void *dst, size_t raw_bytes);

#ifdef __cplusplus
}
#endif
#endif
