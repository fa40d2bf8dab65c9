/* batch/batch.h - the batches of one rank, made ahead by a thread.
 *
 * Owns the thread and a ring of batches, all allocated at _open.  A batch is all that this rank
 * reads in one optimizer step; micro-batches are slices of its rows.  What a batch holds depends on
 * the options and its step alone, never on timing, so cursor -> same batches again. */
#ifndef LT_BATCH_BATCH_H
#define LT_BATCH_BATCH_H

#include "base/mem.h"
#include "batch/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LT_IGNORE (-100) /* a target that is not counted */

typedef struct lt_batcher_options {
    lt_dataset *data;      /* borrowed; the batcher's thread alone reads it until _close */
    uint32_t vocab_size;   /* of the model; 0: not compared with the data's */
    uint64_t seq_len;      /* T */
    uint64_t seed, stream; /* of the sample order (sampler.h) */
    bool shuffle;
    bool document_mask;    /* documents do not see each other; needs recorded document ends */
    bool once;             /* evaluation: stop behind the last window instead of a second epoch */
    uint64_t first_sample; /* k of the first step's first sample, i.e. a saved cursor */
    uint64_t step_samples; /* G: samples of one step on all ranks */
    uint64_t rank_first;   /* this rank reads samples [rank_first, rank_first + rank_samples) */
    uint64_t rank_samples; /* B: of each step's G */
    uint64_t max_steps;    /* 0: no limit */
    int depth;             /* batches in the ring, 2..4 */
} lt_batcher_options;

/* Rows of T.  Target t of a row is the token behind input t.  With document_mask, the target behind
 * the last token of a document (its end-of-text) is LT_IGNORE: it would be another document's first
 * token.  Rows that do not exist (once, last step) have every target LT_IGNORE. */
typedef struct lt_batch {
    int32_t *inputs;    /* (B, T) */
    int32_t *targets;   /* (B, T) */
    int32_t *doc_start; /* (B, T) column where the token's document starts; 0 without masking */
    int32_t *positions; /* (B, T) column - doc_start */
    int64_t n_target_tokens; /* targets that are not LT_IGNORE */
    uint64_t first_sample;   /* k of row 0 */
    uint64_t n_samples;      /* rows that exist, <= B */
} lt_batch;

typedef struct lt_batcher lt_batcher;
LT_MUST_USE lt_err lt_batcher_open(lt_batcher **out, const lt_batcher_options *options);
void lt_batcher_close(lt_batcher *b); /* stops the thread; NULL is fine */

/* The next step's batch, valid until it is released; NULL behind the last step.  At most depth
 * batches may be out. */
LT_MUST_USE lt_err lt_batcher_next(lt_batcher *b, const lt_batch **out);
void lt_batcher_release(lt_batcher *b); /* gives back the oldest batch that is out */

/* Appends to *out, as text, what sample k reads: epoch, window, shards, frames with their file
 * offsets, documents.  Uses the options' data, so not while a batcher runs on it. */
LT_MUST_USE lt_err lt_batch_explain(const lt_batcher_options *options, uint64_t k, lt_buf *out);

#ifdef __cplusplus
}
#endif
#endif
