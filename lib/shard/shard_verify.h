/* shard/shard_verify.h - checks every byte of a shard, and rebuilds a shard that lost its end. */
#ifndef LT_SHARD_SHARD_VERIFY_H
#define LT_SHARD_SHARD_VERIFY_H

#include "shard/shard_reader.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every frame's two checksums, decoding and ids, the content root and the zstd seek table, on top
 * of what opening checks: no byte of the file is outside of some check.  The sentence names the
 * file, the frame and the offset of the first damage. */
LT_MUST_USE lt_err lt_shard_verify(lt_shard_reader *r);

typedef struct lt_shard_repair {
    uint64_t n_tokens, n_docs, n_frames; /* of the shard written */
    uint64_t end_offset;                 /* where the sound frames of the input end */
    uint64_t lost_bytes;                 /* behind that, other than an index */
    bool docs_rebuilt; /* document ends are known: the end-of-text tokens stand in for them */
} lt_shard_repair;

/* Writes to `to` the sound frames at the start of `from`, with a new index.  The header of `from`
 * must be sound; document ends are taken from end-of-text tokens, or dropped if there is none. */
LT_MUST_USE lt_err lt_shard_repair_file(const char *from, const char *to, lt_shard_repair *report);

#ifdef __cplusplus
}
#endif
#endif
