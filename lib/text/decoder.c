/* decoder.c - token ids -> text, as a stream. */
#include "text/decoder.h"
#include "text/utf8.h"

#include <string.h>

void lt_decoder_init(lt_decoder *d, const lt_tokenizer *t)
{
    *d = (lt_decoder){ .tokenizer = t };
}

lt_err lt_decoder_push(lt_decoder *d, uint32_t id, lt_buf *out)
{
    size_t n, open;
    const uint8_t *bytes = lt_tokenizer_token(d->tokenizer, id, &n);
    lt_buf whole = { 0 };

    if (!bytes)
        return lt_fail(LT_EFORMAT, "token id %u is not in the vocabulary of %u ids", id,
                       lt_tokenizer_vocab_size(d->tokenizer));
    if (d->n_held == 0 && lt_utf8_valid_prefix(bytes, n) == n) {
        lt_buf_append(out, bytes, n);
        return LT_OK;
    }
    lt_buf_append(&whole, d->held, d->n_held);
    lt_buf_append(&whole, bytes, n);
    open = lt_utf8_open_tail((const uint8_t *)whole.data, whole.size);
    lt_utf8_repair(out, (const uint8_t *)whole.data, whole.size - open);
    memcpy(d->held, whole.data + whole.size - open, open);
    d->n_held = open;
    lt_buf_release(&whole);
    return LT_OK;
}

void lt_decoder_finish(lt_decoder *d, lt_buf *out)
{
    if (d->n_held > 0)
        lt_utf8_repair(out, d->held, d->n_held);
    d->n_held = 0;
}
