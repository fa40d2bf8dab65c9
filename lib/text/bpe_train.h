/* text/bpe_train.h - byte-pair encoding learnt from word counts.
 *
 * Same result as Hugging Face's BpeTrainer over ByteLevel with its whole alphabet, except that
 * counts are 64 bits wide: ids are the special tokens, the 256 bytes in alphabet order, the merges;
 * each step merges the most frequent pair, of equally frequent ones the smaller
 * (left id, right id). */
#ifndef LT_TEXT_BPE_TRAIN_H
#define LT_TEXT_BPE_TRAIN_H

#include "text/tokenizer.h"
#include "text/word_count.h"

typedef struct lt_bpe_train_options {
    int64_t vocab_size;          /* at least 256 + n_specials; fewer come out when pairs run out */
    int64_t min_frequency;       /* of a pair that is merged; at least 1 */
    const char *const *specials; /* borrowed */
    size_t n_specials;
    void (*progress)(int64_t n_ids, int64_t vocab_size); /* now and then; may be NULL */
} lt_bpe_train_options;

/* Depends on the counts alone, not on the order of words. */
LT_MUST_USE lt_err lt_bpe_train(lt_tokenizer **out, const lt_word_counts *words,
                                const lt_bpe_train_options *options);

#endif
