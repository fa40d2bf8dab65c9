/* shard_split.h - deals documents out to splits (train, val, ...) by a hash of their tokens.
 *
 * Which split a document goes to depends on its own tokens and the seed alone: the same document
 * always lands on the same side, whatever else the corpus holds and in whatever order.  Only the
 * first SPLIT_HASHED tokens are hashed, so a document of any length takes bounded memory.
 * With block_tokens > 0 each block of that many tokens inside a document is dealt out instead, for
 * a corpus of a few huge documents; where a run of blocks of one split stops, a document end is
 * recorded, because the text does not go on there. */
#ifndef LT_TOOLS_SHARD_SHARD_SPLIT_H
#define LT_TOOLS_SHARD_SHARD_SPLIT_H

#include "shard/shard_series.h"

enum { SPLIT_MAX = 8, SPLIT_NAME_MAX = 32, SPLIT_HASHED = 1 << 16, SPLIT_BLOCK_MAX = 1 << 24 };

typedef struct shard_split_spec {
    int n;
    char name[SPLIT_MAX][SPLIT_NAME_MAX];
    double fraction[SPLIT_MAX];  /* above 0, sum 1 */
    uint64_t seed, block_tokens; /* block_tokens 0: by document */
} shard_split_spec;

/* "train=0.99,val=0.01" and "document" or "tokens:4096". */
LT_MUST_USE lt_err shard_split_parse(shard_split_spec *spec, const char *split, const char *by);

typedef struct shard_splitter shard_splitter;
shard_splitter *shard_splitter_new(const char *dir, const shard_split_spec *spec,
                                   uint64_t shard_tokens, const lt_shard_writer_options *options);
LT_MUST_USE lt_err shard_splitter_piece(shard_splitter *s, const uint32_t *ids, size_t n,
                                        bool document_end);
/* Finishes every split; a split without any token is an error that names a way out. */
LT_MUST_USE lt_err shard_splitter_finish(shard_splitter *s);
const lt_shard_manifest *shard_splitter_manifest(const shard_splitter *s, int split);
void shard_splitter_free(shard_splitter *s); /* NULL is fine */

#endif
