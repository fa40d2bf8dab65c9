/* train/generate.h - text from a model: prompt -> tokens, one at a time, through the KV cache.
 *
 * The choice of token k of a text is a pure function of (logits, settings, seed, k): the same seed
 * gives the same text. */
#ifndef LT_TRAIN_GENERATE_H
#define LT_TRAIN_GENERATE_H

#include "text/tokenizer.h"
#include "train/engine.h"

typedef struct lt_sampling {
    double temperature; /* 0: the most likely token */
    int64_t top_k;      /* only the k most likely; 0: all */
    double top_p;       /* only the most likely that together reach p (nucleus); 1: all */
    uint64_t seed;
} lt_sampling;

LT_MUST_USE lt_err lt_sampling_check(const lt_sampling *s);

typedef struct lt_candidate {
    float logit;
    int32_t id;
} lt_candidate;
/* The token to follow, from n logits; turn counts the tokens of this text.  scratch (n). */
int32_t lt_sample_token(const float *logits, int64_t n, const lt_sampling *s, uint64_t turn,
                        lt_candidate *scratch);

/* Whoever wants text as it comes embeds this first; text is valid UTF-8. */
typedef struct lt_generate_sink lt_generate_sink;
struct lt_generate_sink {
    lt_err (*put)(lt_generate_sink *sink, const char *text, size_t n);
};

/* Continues `prompt` (may be empty: begins from end-of-text) by up to max_tokens tokens; ends at
 * the end-of-text token or when the model's positions are used up.  The engine has LT_USE_GENERATE
 * with generate_batch 1.  The prompt itself is not put. */
LT_MUST_USE lt_err lt_generate(lt_engine *e, const lt_model_config *config, const lt_tokenizer *t,
                               const char *prompt, int64_t max_tokens, const lt_sampling *s,
                               lt_generate_sink *sink);

#endif
