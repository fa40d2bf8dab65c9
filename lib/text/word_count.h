/* text/word_count.h - how often each piece (pretoken.h) occurs: what BPE training starts from. */
#ifndef LT_TEXT_WORD_COUNT_H
#define LT_TEXT_WORD_COUNT_H

#include "base/mem.h"

enum { LT_WORD_COUNT_MAX = 1024 }; /* bytes; longer pieces teach nothing and are only counted */

typedef struct lt_word {
    size_t offset; /* in lt_word_counts.bytes */
    uint32_t length, hash;
    uint64_t count;
} lt_word;

typedef struct lt_word_counts {
    lt_word *words;
    size_t n, capacity;
    lt_buf bytes;
    uint32_t *slots; /* index into words, by hash */
    size_t n_slots;
    uint64_t n_skipped; /* pieces longer than LT_WORD_COUNT_MAX */
} lt_word_counts;       /* {0} is empty */

/* Counts the pieces of a text.  LT_ENOMEM beyond 2^31 distinct ones. */
LT_MUST_USE lt_err lt_word_counts_text(lt_word_counts *w, const void *text, size_t n);
LT_MUST_USE lt_err lt_word_counts_merge(lt_word_counts *sum, const lt_word_counts *more);
void lt_word_counts_sort(lt_word_counts *w); /* by bytes; the index is dropped: no more counting */
void lt_word_counts_release(lt_word_counts *w);

#endif
