/* text/encoder.h - text -> token ids, for one thread.
 *
 * Owns a cache of short words (4 MiB, fixed, so memory never grows with the text) and the memory
 * for merging long ones. */
#ifndef LT_TEXT_ENCODER_H
#define LT_TEXT_ENCODER_H

#include "text/tokenizer.h"

typedef struct lt_ids {
    uint32_t *data;
    size_t size, capacity;
} lt_ids;
void lt_ids_release(lt_ids *ids);

typedef struct lt_encoder lt_encoder;
lt_encoder *lt_encoder_new(const lt_tokenizer *t); /* t is borrowed */
void lt_encoder_free(lt_encoder *e);               /* NULL is fine */

/* Appends the ids of a text (any bytes; its end ends the last piece).  Equal to Hugging Face's
 * encode without special tokens and tiktoken's encode_ordinary on valid UTF-8. */
void lt_encode(lt_encoder *e, const void *text, size_t n, lt_ids *out);

/* Pieces so far that were as long as LT_PRETOKEN_MAX allows and therefore perhaps cut: only there
 * can the ids differ from those references. */
uint64_t lt_encoder_n_cut(const lt_encoder *e);

#endif
