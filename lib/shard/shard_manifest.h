/* shard/shard_manifest.h - the text file that names the shards of one split (spec: FORMAT.md).
 *
 * A manifest is the split: order of the shards, their counts and content roots, the tokenizer.  Its
 * last line is the SHA-256 of all lines before it, which is the identity of the data set. */
#ifndef LT_SHARD_SHARD_MANIFEST_H
#define LT_SHARD_SHARD_MANIFEST_H

#include "shard/shard_reader.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_shard_row {
    char *path; /* relative to the manifest's folder, never upwards */
    uint64_t n_tokens, n_docs;
    uint8_t root[32];
} lt_shard_row;

typedef struct lt_shard_manifest {
    uint32_t vocab_size, eot_id, bos_id; /* LT_NO_TOKEN = none */
    uint8_t tokenizer_hash[32];
    lt_shard_row *rows;
    size_t n_rows, capacity;
    uint64_t n_tokens, n_docs; /* of all rows */
    uint8_t id[32];            /* set by _format and _parse */
} lt_shard_manifest;

void lt_shard_manifest_release(lt_shard_manifest *m); /* zeroed is fine */

/* Sets what all shards share: vocabulary and tokenizer. */
void lt_shard_manifest_describe(lt_shard_manifest *m, const lt_shard_head *head);

/* Appends a row for a shard written under `path` (copied). */
void lt_shard_manifest_add(lt_shard_manifest *m, const char *path, const lt_shard_foot *foot);

/* m is zeroed before; on failure it stays released. */
LT_MUST_USE lt_err lt_shard_manifest_parse(lt_shard_manifest *m, const char *text, size_t n,
                                           const char *name);
LT_MUST_USE lt_err lt_shard_manifest_load(lt_shard_manifest *m, const char *path);
void lt_shard_manifest_format(lt_shard_manifest *m, lt_buf *out);
LT_MUST_USE lt_err lt_shard_manifest_save(lt_shard_manifest *m, const char *path);

/* Opens shard `row` of the manifest at `path` and checks that it is the one the manifest means. */
LT_MUST_USE lt_err lt_shard_manifest_open_shard(const lt_shard_manifest *m, const char *path,
                                                size_t row, lt_shard_reader **out);

#ifdef __cplusplus
}
#endif
#endif
