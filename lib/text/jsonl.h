/* text/jsonl.h - the text of one JSONL line: a string member of a JSON object.
 *
 * Checks the whole line against RFC 8259 while it looks, without building a tree.  Bytes above 0x7F
 * pass through as they are; a lone surrogate (\ud800) becomes U+FFFD. */
#ifndef LT_TEXT_JSONL_H
#define LT_TEXT_JSONL_H

#include "base/mem.h"

enum { LT_JSONL_DEPTH = 512 }; /* deeper nesting is refused */

/* Appends the string to out and adds the surrogates replaced to *n_replaced.  NULL, or in a few
 * words (static) what is wrong; out then holds nothing of use. */
const char *lt_jsonl_field(const char *line, size_t n, const char *field, lt_buf *out,
                           uint64_t *n_replaced);

#endif
