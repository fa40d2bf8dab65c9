/* tools/tokenize/tokenize.h - lt-tokenize: its options and its three jobs. */
#ifndef LT_TOKENIZE_H
#define LT_TOKENIZE_H

#include "base/options.h"

typedef struct tokenize_args {
    const char *tokenizer, *field, *separator, *invalid, *out;
    bool ids, count, decode, train; /* at most one; none: a token stream */
    bool strict, json, quiet;
    int64_t threads, vocab_size, min_frequency;
    lt_opt_list specials, inputs;
} tokenize_args;

/* Each does its job from the inputs to the committed output and the summary. */
LT_MUST_USE lt_err tokenize_encode(const tokenize_args *args);
LT_MUST_USE lt_err tokenize_train(const tokenize_args *args);
LT_MUST_USE lt_err tokenize_decode(const tokenize_args *args);

#endif
