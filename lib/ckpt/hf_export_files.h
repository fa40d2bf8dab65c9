/* ckpt/hf_export_files.h - the small files of an exported folder. */
#ifndef LT_CKPT_HF_EXPORT_FILES_H
#define LT_CKPT_HF_EXPORT_FILES_H

#include "ckpt/checkpoint.h"

/* config.json (required in the checkpoint; its dtype becomes `dtype`), generation_config.json,
 * tokenizer.json and tokenizer_config.json into `folder`. */
LT_MUST_USE lt_err lt_hf_export_files(lt_ckpt *c, const char *folder, lt_dtype dtype);

/* The text of the added token `id` of a tokenizer.json; "" if it has none.  `name` is for the
 * sentences. */
LT_MUST_USE lt_err lt_hf_added_token(const char *text, size_t n, const char *name, int64_t id,
                                     char *out, size_t capacity);

#endif
