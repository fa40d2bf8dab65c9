/* text/utf8.h - decoding and repair of UTF-8.
 *
 * A malformed stretch is split as Unicode recommends and as Python and Rust do: each maximal start
 * of a well-formed sequence, or else each single byte, counts as one error and becomes one
 * U+FFFD. */
#ifndef LT_TEXT_UTF8_H
#define LT_TEXT_UTF8_H

#include "base/mem.h"

enum { LT_UTF8_INVALID = -1 };

/* The character at s (n > 0 bytes are readable): its code point, or LT_UTF8_INVALID with *size =
 * the bytes that one U+FFFD stands for.  *size is 1..4 and at most n. */
int32_t lt_utf8_decode(const uint8_t *s, size_t n, size_t *size);

/* How many bytes at the start of s are valid UTF-8. */
size_t lt_utf8_valid_prefix(const uint8_t *s, size_t n);

/* How many bytes at the end of s start a character that further bytes could complete: 0..3. */
size_t lt_utf8_open_tail(const uint8_t *s, size_t n);

/* Writes code_point (no surrogate) to dst; returns the bytes written, 1..4. */
size_t lt_utf8_encode(uint32_t code_point, uint8_t dst[4]);

/* Appends s to out with errors replaced by U+FFFD; returns how many were replaced. */
uint64_t lt_utf8_repair(lt_buf *out, const uint8_t *s, size_t n);

#endif
