/* ckpt/hf_export.h - checkpoint -> Hugging Face folder, as a stream.
 *
 * Memory does not depend on the model: two buffers of LT_HF_EXPORT_BUFFER bytes, the reader's
 * block, the headers, and the tokenizer files.  Every block of the weights and every copied file is
 * checked against its sum.  The folder appears whole, by a rename, or not at all.
 *
 *     config.json             with the dtype of the export      generation_config.json
 *     model.safetensors       or model-00001-of-0000N and model.safetensors.index.json
 *     tokenizer.json          and a tokenizer_config.json that AutoTokenizer understands */
#ifndef LT_CKPT_HF_EXPORT_H
#define LT_CKPT_HF_EXPORT_H

#include "ckpt/checkpoint.h"

enum { LT_HF_EXPORT_BUFFER = 32 << 20 };

typedef struct lt_hf_export_options {
    lt_dtype dtype;           /* F32, BF16 or F16 */
    uint64_t max_shard_bytes; /* data of one file; a larger tensor stands alone; 0: one file */
    bool force;               /* replace a model folder that is there */
    bool allow_nonfinite; /* NaN and infinity pass; else they are LT_EFORMAT naming the tensor */
} lt_hf_export_options;

typedef struct lt_hf_export_report {
    size_t n_tensors, n_files;
    uint64_t n_elements, data_bytes;
} lt_hf_export_report;

/* watch->progress counts bytes of the export; watch and report may be NULL. */
LT_MUST_USE lt_err lt_hf_export(lt_ckpt *c, const char *folder, const lt_hf_export_options *o,
                                lt_ckpt_watch *watch, lt_hf_export_report *report);

#endif
