/* text/chunk_texts.h - from a chunk's parts to the texts of its documents: JSONL lines are parsed,
 * invalid UTF-8 is replaced or refused, and all of it is counted.
 *
 * Made to run in many threads, one scratch each;
 * counts of all threads add up to the same totals. */
#ifndef LT_TEXT_CHUNK_TEXTS_H
#define LT_TEXT_CHUNK_TEXTS_H

#include "text/chunker.h"

enum { LT_BAD_LINES_KEPT = 8 };

/* A line of JSONL that gave no text. */
typedef struct lt_bad_line {
    uint32_t input;
    uint64_t line;
    const char *why; /* static */
} lt_bad_line;

typedef struct lt_text_counts {
    uint64_t documents; /* that ended */
    uint64_t bytes;     /* of text */
    uint64_t replaced;  /* U+FFFD put in */
    uint64_t bad_lines;
    lt_bad_line bad[LT_BAD_LINES_KEPT]; /* the first of them */
} lt_text_counts;
void lt_text_counts_add(lt_text_counts *sum, const lt_text_counts *later);

typedef struct lt_text_options {
    const lt_input_list *inputs;
    const char *field;     /* of JSONL */
    bool refuse_invalid;   /* invalid UTF-8 is an error; else it is replaced */
    bool refuse_bad_lines; /* a bad line of JSONL is an error; else it is counted and left out */
} lt_text_options;

/* Receives the texts in order; embed it first and cast.  A document comes in one or more calls. */
typedef struct lt_text_sink lt_text_sink;
struct lt_text_sink {
    void (*text)(lt_text_sink *sink, const char *text, size_t n, bool starts, bool ends);
};

typedef struct lt_text_scratch {
    lt_buf line, repaired;
} lt_text_scratch;
void lt_text_scratch_release(lt_text_scratch *s);

LT_MUST_USE lt_err lt_chunk_texts(const lt_chunk *chunk, const lt_text_options *options,
                                  lt_text_scratch *scratch, lt_text_counts *counts,
                                  lt_text_sink *sink);

#endif
