/* shard/shard_writer.h - writes one shard file.
 *
 * Tokens are cut into frames of 2^frame_log2, a batch of frames is compressed by the pool's threads
 * and written in order: the same bytes for any thread count, and memory of a few frames a thread
 * plus the index (28 bytes a frame, 2 a document).  The file appears under its name at _finish. */
#ifndef LT_SHARD_SHARD_WRITER_H
#define LT_SHARD_SHARD_WRITER_H

#include "base/thread.h"
#include "shard/shard_format.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_shard_writer_options {
    uint32_t vocab_size, eot_id, bos_id; /* LT_NO_TOKEN = none */
    uint8_t tokenizer_hash[32];
    uint64_t seed;  /* recorded only */
    int frame_log2; /* LT_SHARD_MIN_LOG2..LT_SHARD_MAX_LOG2 */
    int level;      /* zstd, 1..19 */
    lt_pool *pool;  /* borrowed; NULL: the caller's thread alone */
    bool documents; /* false: no document ends are recorded */
} lt_shard_writer_options;

typedef struct lt_shard_writer lt_shard_writer;
LT_MUST_USE lt_err lt_shard_writer_open(lt_shard_writer **out, const char *path,
                                        const lt_shard_writer_options *options);
/* An id that is not below vocab_size is LT_EFORMAT; more than LT_SHARD_MAX_TOKENS is a bug. */
LT_MUST_USE lt_err lt_shard_writer_append(lt_shard_writer *w, const uint32_t *ids, size_t n);
void lt_shard_writer_end_document(lt_shard_writer *w); /* at the last token appended */
uint64_t lt_shard_writer_tokens(const lt_shard_writer *w);
uint64_t lt_shard_writer_documents(const lt_shard_writer *w);
/* Writes the index, commits the file and frees w, also on failure.  `last`: of its split. */
LT_MUST_USE lt_err lt_shard_writer_finish(lt_shard_writer *w, bool last, lt_shard_foot *foot);
void lt_shard_writer_abort(lt_shard_writer *w); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
