/* shard/token_stream_parts.h - what writer and reader of the token stream share; for them alone. */
#ifndef LT_SHARD_TOKEN_STREAM_PARTS_H
#define LT_SHARD_TOKEN_STREAM_PARTS_H

#include "base/hash.h"
#include "base/mem.h"
#include "shard/token_stream.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    LT_STREAM_MAJOR = 1,
    LT_STREAM_MINOR = 0,
    LT_STREAM_HEADER_BYTES = 64,
    LT_STREAM_BLOCK_BYTES = 1 << 20, /* of one block, counts and checksum included */
    LT_STREAM_COUNT_BYTES = 8,       /* n_tokens, n_ends */
    LT_STREAM_SUM_BYTES = 4,         /* checksum behind the block */
    LT_STREAM_MAX_JSON = 512 << 20,  /* tokenizer.json, compressed or not */
};
#define LT_STREAM_MAGIC    "LTTS"
#define LT_STREAM_END_MARK UINT32_MAX /* n_tokens of the end block */

static inline uint32_t lt_stream_sum(const void *data, size_t n, uint64_t block_number)
{
    return (uint32_t)lt_xxh64(data, n, block_number);
}

static inline int lt_stream_id_bytes(uint32_t vocab_size)
{
    return vocab_size <= 65536 ? 2 : 4;
}

/* Vocabulary size and special ids fit together. */
LT_MUST_USE lt_err lt_stream_check_info(const lt_token_stream_info *info, const char *name);

#ifdef __cplusplus
}
#endif
#endif
