/* text/decoder.h - token ids -> text, as a stream.
 *
 * A token may end inside a character.  Those bytes are held back until the next token completes
 * them, so everything that comes out is valid UTF-8 and can be shown at once. */
#ifndef LT_TEXT_DECODER_H
#define LT_TEXT_DECODER_H

#include "text/tokenizer.h"

typedef struct lt_decoder {
    const lt_tokenizer *tokenizer; /* borrowed */
    uint8_t held[4];
    size_t n_held;
} lt_decoder;

void lt_decoder_init(lt_decoder *d, const lt_tokenizer *t);

/* Appends what can be shown of the text up to and with this token; LT_EFORMAT for an id that the
 * vocabulary does not have.  A special token appends its spelling. */
LT_MUST_USE lt_err lt_decoder_push(lt_decoder *d, uint32_t id, lt_buf *out);

/* End of text: an unfinished character becomes U+FFFD.  The decoder is ready for the next text. */
void lt_decoder_finish(lt_decoder *d, lt_buf *out);

#endif
