/* config/model_config.h - the numbers that define a transformer.  Plain data, filled by the named
 * models, by explicit dimensions in YAML, or from a Hugging Face config.json. */
#ifndef LT_CONFIG_MODEL_CONFIG_H
#define LT_CONFIG_MODEL_CONFIG_H

#include "base/kinds.h"
#include "base/mem.h"

typedef enum lt_family { LT_FAMILY_GPT2 } lt_family;

typedef struct lt_model_config {
    lt_family family;
    int64_t vocab_size;  /* logical V; memory pads it to a multiple of 128 */
    int64_t n_positions; /* longest sequence with learned positions */
    int64_t n_layer;
    int64_t n_embd; /* C */
    int64_t n_head;
    int64_t n_kv_head; /* = n_head without grouped queries */
    int64_t head_dim;  /* C / n_head for GPT-2 */
    int64_t n_inner;   /* width of the feed-forward layer, 4 C unless told */
    lt_norm_kind norm;
    double norm_eps;
    lt_act act;
    bool tied; /* lm_head shares the token embedding */
    double init_std;
    int64_t bos_id, eos_id; /* -1: none */
} lt_model_config;

/* "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"; false if the name is not known. */
bool lt_model_config_named(lt_model_config *out, const char *name);

/* Hugging Face config.json -> *out.  What lt cannot execute is refused by key and value; *dropout
 * gets the file's largest *_pdrop (the caller says that lt trains with its own setting). */
LT_MUST_USE lt_err lt_model_config_from_hf(lt_model_config *out, double *dropout, const char *path);

/* Appends the config.json that transformers loads as this model. */
void lt_model_config_to_hf(lt_buf *out, const lt_model_config *m, const char *dtype);
/* Appends generation_config.json. */
void lt_generation_config_to_hf(lt_buf *out, const lt_model_config *m);

/* Every range and divisibility the transformer relies on; LT_EUSAGE names the key. */
LT_MUST_USE lt_err lt_model_config_check(const lt_model_config *m);

#endif
