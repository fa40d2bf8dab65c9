/* text/tokenizer.h - a tokenizer: byte-level BPE cut by GPT-2's pattern.
 *
 * Immutable once opened, so threads share it; each thread encodes through its own lt_encoder
 * (encoder.h) and decodes through an lt_decoder (decoder.h).  Encoding is "ordinary": a special
 * token whose spelling occurs in a text is spelled out, never recognised. */
#ifndef LT_TEXT_TOKENIZER_H
#define LT_TEXT_TOKENIZER_H

#include "base/mem.h"

typedef struct lt_tokenizer lt_tokenizer;

/* "gpt2" is built in.  A path is a tokenizer.json, or a folder with tokenizer.json or else
 * vocab.json and merges.txt.  What lt would encode differently from Hugging Face is refused by
 * name. */
LT_MUST_USE lt_err lt_tokenizer_open(lt_tokenizer **out, const char *name_or_path);

/* The text of a tokenizer.json; `name` is for sentences. */
LT_MUST_USE lt_err lt_tokenizer_parse(lt_tokenizer **out, const char *text, size_t n,
                                      const char *name);
void lt_tokenizer_free(lt_tokenizer *t); /* NULL is fine */

uint32_t lt_tokenizer_vocab_size(const lt_tokenizer *t); /* largest id + 1 */

/* LT_NO_ID (vocab.h, all ones) if there is none.  End of text is the special token <|endoftext|>,
 * or else </s>; begin is the special token that the post_processor puts before a text. */
uint32_t lt_tokenizer_eot_id(const lt_tokenizer *t);
uint32_t lt_tokenizer_bos_id(const lt_tokenizer *t);

/* SHA-256 (32 bytes) of all that decides which ids a text gets; layout: tokenizer_parts.h. */
const uint8_t *lt_tokenizer_hash(const lt_tokenizer *t);

/* The bytes of a token (a special one: its spelling); NULL and *n = 0 for an id without a token. */
const uint8_t *lt_tokenizer_token(const lt_tokenizer *t, uint32_t id, size_t *n);

/* Appends a tokenizer.json: the very file that was opened, else one that Hugging Face loads. */
void lt_tokenizer_to_json(const lt_tokenizer *t, lt_buf *out);

#endif
