/* text/pretoken.h - where GPT-2's pattern cuts a text:
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * Merges never cross these cuts, so every piece can be encoded alone and a text may be handed to
 * several threads at any cut.  Bytes that are no UTF-8 count as "other" characters, as U+FFFD
 * does. */
#ifndef LT_TEXT_PRETOKEN_H
#define LT_TEXT_PRETOKEN_H

#include <stddef.h>
#include <stdint.h>

#define LT_GPT2_PATTERN                                                                            \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

enum {
    LT_PRETOKEN_MAX = 12 << 20, /* a longer piece is cut here, between characters */
    LT_PRETOKEN_LOOKAHEAD = 8,  /* bytes behind a piece that can move its end */
};

/* Length of the first piece of s (n > 0; the text ends at n). */
size_t lt_pretoken(const uint8_t *s, size_t n);

/* A position in s where the text can be cut although more text follows byte n: the last one found,
 * 0 if there is none.  s itself starts at a cut. */
size_t lt_pretoken_safe_cut(const uint8_t *s, size_t n);

#endif
