/* text/byte_alphabet.h - the printable stand-ins for bytes
 * in vocab.json, merges.txt, tokenizer.json.
 *
 * 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF stand for themselves; the 68 other bytes are U+0100,
 * U+0101 ... in byte order.  The "alphabet order" is the order of those code points, "GPT-2 order"
 * puts the 188 that stand for themselves first: both are the same order. */
#ifndef LT_TEXT_BYTE_ALPHABET_H
#define LT_TEXT_BYTE_ALPHABET_H

#include "base/mem.h"

/* The byte that is `position`th (0..255) in alphabet order. */
uint8_t lt_alphabet_byte(int position);

/* Appends the printable spelling of bytes. */
void lt_alphabet_spell(lt_buf *out, const uint8_t *bytes, size_t n);

/* Appends the bytes that a spelling stands for; false (and out unchanged) when a character of s is
 * not in the alphabet. */
bool lt_alphabet_read(lt_buf *out, const char *s, size_t n);

#endif
