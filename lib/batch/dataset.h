/* batch/dataset.h - one split as one long array of tokens.
 *
 * Owns a reader for every shard of a manifest; position p of the data set is token p of the shards
 * joined in order, and documents may go on from shard to shard.  One thread at a time. */
#ifndef LT_BATCH_DATASET_H
#define LT_BATCH_DATASET_H

#include "shard/shard_manifest.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_dataset lt_dataset;
/* Opens and checks every shard against the manifest. */
LT_MUST_USE lt_err lt_dataset_open(lt_dataset **out, const char *manifest_path);
/* One shard alone as a data set. */
LT_MUST_USE lt_err lt_dataset_open_shard(lt_dataset **out, const char *shard_path);
void lt_dataset_close(lt_dataset *d); /* NULL is fine */

const lt_shard_manifest *lt_dataset_manifest(const lt_dataset *d); /* counts, tokenizer, id */
const char *lt_dataset_path(const lt_dataset *d);
char *lt_dataset_tokenizer_path(const lt_dataset *d); /* tokenizer.json beside it; free() */
uint64_t lt_dataset_tokens(const lt_dataset *d);
bool lt_dataset_has_documents(const lt_dataset *d); /* false: ends of documents are not recorded */

/* Tokens [first, first + n) into dst; beyond the end is a bug of the caller. */
LT_MUST_USE lt_err lt_dataset_read(lt_dataset *d, uint64_t first, uint32_t *dst, size_t n);

/* Adds what decoding took so far.  Not while a batcher reads. */
void lt_dataset_work(const lt_dataset *d, lt_shard_work *sum);

/* Position of the first document end at or after p; lt_dataset_tokens() if there is none.
 * *ordinal, unless NULL: how many documents end before it. */
uint64_t lt_dataset_next_end(const lt_dataset *d, uint64_t p, uint64_t *ordinal);

/* The tokens [*first, *first + *n) of document `ordinal`, below the manifest's n_docs. */
void lt_dataset_document(const lt_dataset *d, uint64_t ordinal, uint64_t *first, uint64_t *n);

/* Checks every byte of every shard (shard_verify.h). */
LT_MUST_USE lt_err lt_dataset_verify(lt_dataset *d);
const lt_shard_reader *lt_dataset_shard(const lt_dataset *d, size_t row); /* row of the manifest */

/* Where position p lies. */
typedef struct lt_dataset_place {
    const char *shard_name; /* as in the manifest */
    uint64_t token;         /* inside the shard */
    uint64_t frame;         /* of the shard */
    uint64_t frame_offset;  /* of that frame, in the file */
    uint64_t in_frame;      /* tokens before it in the frame */
    uint64_t left;          /* tokens from it to the end of the shard */
} lt_dataset_place;
LT_MUST_USE lt_err lt_dataset_locate(const lt_dataset *d, uint64_t p, lt_dataset_place *out);

/* Entropy of the token frequencies in nats: the loss of the best model that knows nothing but them.
 * Reads everything once. */
LT_MUST_USE lt_err lt_dataset_unigram_entropy(lt_dataset *d, double *nats);

#ifdef __cplusplus
}
#endif
#endif
