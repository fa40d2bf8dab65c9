/* ckpt/hf_model.h - the weights of a Hugging Face folder.  Owns one reader a file.
 *
 * Opens model.safetensors, or the files that model.safetensors.index.json names (plain base names
 * only).  Names match with or without a leading "transformer.".  Causal mask buffers of old files
 * (*.attn.bias, *.attn.masked_bias) and the lm_head.weight of a tied model are passed over. */
#ifndef LT_CKPT_HF_MODEL_H
#define LT_CKPT_HF_MODEL_H

#include "param/param_table.h"

typedef struct lt_hf_model lt_hf_model;

LT_MUST_USE lt_err lt_hf_model_open(lt_hf_model **out, const char *folder);
void lt_hf_model_close(lt_hf_model *m); /* NULL is fine */

/* Every row of the table is there in its shape and a float type, and nothing else is: LT_EMISMATCH
 * names file, tensor, expected and found. */
LT_MUST_USE lt_err lt_hf_model_check(const lt_hf_model *m, const lt_param_table *table);

/* Logical elements [first, first + n) of p, (out, in) with in contiguous, from a checked model.
 * A conv1d tensor is stored (in, out): every call reads through all of its file range, so ask for
 * large pieces. */
LT_MUST_USE lt_err lt_hf_model_read(const lt_hf_model *m, const lt_param *p, uint64_t first,
                                    uint64_t n, float *dst);

/* The index file alone, from memory: the files it names, in order of first appearance.  `name` is
 * for the sentences.  lt_hf_index_release it. */
typedef struct lt_hf_index {
    char **files;
    size_t n_files, file_capacity;
    struct lt_hf_index_entry {
        char *tensor;
        uint32_t file;
    } * entries; /* sorted by tensor */
    size_t n_entries, entry_capacity;
} lt_hf_index;
LT_MUST_USE lt_err lt_hf_index_parse(lt_hf_index *out, const char *text, size_t n,
                                     const char *name);
void lt_hf_index_release(lt_hf_index *index);

#endif
