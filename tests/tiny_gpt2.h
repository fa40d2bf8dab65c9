/* tiny_gpt2.h - a GPT-2 of two layers for unit tests: tied weights, no end-of-text id.
 *
 * What a test does not give it may change in its copy. */
#ifndef LT_TESTS_TINY_GPT2_H
#define LT_TESTS_TINY_GPT2_H

#include "config/model_config.h"

static inline lt_model_config tiny_gpt2(int64_t vocab, int64_t positions, int64_t n_embd,
                                        int64_t n_head, int64_t n_inner)
{
    return (lt_model_config){ .family = LT_FAMILY_GPT2,
                              .vocab_size = vocab,
                              .n_positions = positions,
                              .n_layer = 2,
                              .n_embd = n_embd,
                              .n_head = n_head,
                              .n_kv_head = n_head,
                              .head_dim = n_embd / n_head,
                              .n_inner = n_inner,
                              .norm = LT_NORM_LAYER,
                              .norm_eps = 1e-5,
                              .act = LT_ACT_GELU_TANH,
                              .tied = true,
                              .init_std = 0.1,
                              .bos_id = -1,
                              .eos_id = -1 };
}

#endif
