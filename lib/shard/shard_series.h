/* shard/shard_series.h - writes one split as shards of at most so many tokens, and its manifest.
 *
 * DIR/SPLIT-00000.lts.zst, -00001 ...: a shard is full after exactly shard_tokens tokens, so a
 * document may go on in the next one; the shards joined in order are the split. */
#ifndef LT_SHARD_SHARD_SERIES_H
#define LT_SHARD_SHARD_SERIES_H

#include "shard/shard_manifest.h"
#include "shard/shard_writer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_shard_series lt_shard_series;
/* `options` is copied, its pool borrowed; shard_tokens in 1..LT_SHARD_MAX_TOKENS. */
lt_shard_series *lt_shard_series_new(const char *dir, const char *split, uint64_t shard_tokens,
                                     const lt_shard_writer_options *options);
void lt_shard_series_free(lt_shard_series *s); /* drops an unfinished shard; NULL is fine */

LT_MUST_USE lt_err lt_shard_series_append(lt_shard_series *s, const uint32_t *ids, size_t n);
void lt_shard_series_end_document(lt_shard_series *s); /* at the last token appended */

/* Finishes the last shard and writes DIR/SPLIT.manifest; without any token it writes nothing. */
LT_MUST_USE lt_err lt_shard_series_finish(lt_shard_series *s);
/* Full after _finish. */
const lt_shard_manifest *lt_shard_series_manifest(const lt_shard_series *s);

#ifdef __cplusplus
}
#endif
#endif
