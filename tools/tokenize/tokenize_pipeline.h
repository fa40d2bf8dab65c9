/* tools/tokenize/tokenize_pipeline.h - inputs through worker threads into an ordered sink.
 *
 * Works in rounds of one batch of chunks.  In each round one task reads the next batch, one writes
 * the results of the batch before, and the others turn this batch's chunks into results: reading,
 * working and writing overlap, results arrive in the order of the input, and memory is two batches
 * (n_threads MiB of text each; a single larger chunk is a batch alone). */
#ifndef LT_TOKENIZE_PIPELINE_H
#define LT_TOKENIZE_PIPELINE_H

#include "text/chunk_texts.h"
#include "text/encoder.h"
#include "tokenize.h"

/* The ids of one call of lt_text_sink. */
typedef struct piece {
    size_t n_ids;
    bool starts, ends; /* a document */
} piece;

/* What a worker makes of a chunk; reused, so memory stays. */
typedef struct chunk_result {
    lt_text_counts counts;
    uint64_t n_tokens;
    lt_ids ids; /* of all pieces */
    piece *pieces;
    size_t n_pieces, pieces_capacity;
    lt_buf lines; /* --ids: the same as text */
    lt_err_record error;
} chunk_result;

/* The job: embed it first and cast. */
typedef struct pipeline_job pipeline_job;
struct pipeline_job {
    /* In any thread; worker tells which of n_threads it is.  `result` comes cleared. */
    lt_err (*work)(pipeline_job *job, const lt_chunk *chunk, chunk_result *result, int worker);
    /* One thread at a time, in the order of the input. */
    lt_err (*write)(pipeline_job *job, const chunk_result *result);
};

/* The inputs and how to read them, from the command line. */
typedef struct corpus {
    lt_input_list inputs;
    lt_buf separator;
    lt_text_options options;
} corpus;
LT_MUST_USE lt_err corpus_open(corpus *c, const tokenize_args *args);
void corpus_release(corpus *c);

/* What went through; the summary's numbers. */
typedef struct pipeline_totals {
    lt_text_counts counts;
    uint64_t n_tokens;
    double seconds;
} pipeline_totals;

int pipeline_threads(const tokenize_args *args);

/* Everything through the job.  LT_ENOENT if there was no document at all. */
LT_MUST_USE lt_err pipeline_run(pipeline_job *job, const corpus *c, int n_threads,
                                pipeline_totals *totals);

/* Warnings about bad lines; then "N documents, ..." on stderr. */
void pipeline_summary(const pipeline_totals *totals, const corpus *c);
/* The same numbers as JSON members, with a leading brace and no closing one. */
void pipeline_summary_json(const pipeline_totals *totals, const corpus *c, lt_buf *out);

#endif
