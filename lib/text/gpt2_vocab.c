/* gpt2_vocab.c - the built-in GPT-2: 256 bytes, 50,000 merges, <|endoftext|>.
 *
 * gpt2_merges.bin holds the merges as pairs of little-endian 16-bit ids (make_gpt2_merges.py); the
 * ids themselves follow from the order. */
#include "text/byte_alphabet.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>

extern const uint8_t lt_gpt2_merges[], lt_gpt2_merges_end[];

lt_err lt_tokenizer_open_gpt2(lt_tokenizer **out)
{
    lt_tokenizer *t = lt_new0(sizeof *t);
    lt_merge_list list = { 0 };
    lt_buf left = { 0 }, right = { 0 }, both = { 0 };
    int64_t id = 0;
    lt_err err;

    t->bos_id = LT_NO_ID;
    for (; id < 256; id++) {
        uint8_t byte = lt_alphabet_byte((int)id);

        LT_TRY(err = lt_vocab_add(&t->vocab, id, &byte, 1, LT_TOKEN_PLAIN));
    }
    for (const uint8_t *p = lt_gpt2_merges; p < lt_gpt2_merges_end; p += 4, id++) {
        lt_buf *part[2] = { &left, &right };

        lt_buf_clear(&both);
        for (int side = 0; side < 2; side++) {
            uint32_t part_id = (uint32_t)(p[2 * side] | p[2 * side + 1] << 8);
            size_t n;
            const uint8_t *bytes = lt_vocab_bytes(&t->vocab, part_id, &n);

            lt_buf_clear(part[side]);
            lt_buf_append(part[side], bytes, n);
            lt_buf_append(&both, bytes, n);
        }
        LT_TRY(err = lt_vocab_add(&t->vocab, id, both.data, both.size, LT_TOKEN_PLAIN));
        LT_TRY(err = lt_merge_list_add(&list, &t->vocab, &left, &right));
    }
    LT_TRY(err = lt_vocab_add(&t->vocab, id, "<|endoftext|>", 13, LT_TOKEN_SPECIAL));
    LT_TRY(err = lt_tokenizer_seal(t, &list));
    *out = t;
    t = NULL;
fail:
    lt_buf_release(&left);
    lt_buf_release(&right);
    lt_buf_release(&both);
    free(list.merges);
    lt_tokenizer_free(t);
    return err;
}
