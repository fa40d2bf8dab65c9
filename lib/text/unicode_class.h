/* text/unicode_class.h - what the GPT-2 pattern asks of a code point: \p{L}, \p{N}, \s or none.
 *
 * The table is unicode_class.bin, written by make_unicode_class.py: 4,352 bytes say which block of
 * 64 bytes describes each 256 code points, two bits a code point, lowest bits first.  The version
 * changes tokens, so it is part of a tokenizer's hash. */
#ifndef LT_TEXT_UNICODE_CLASS_H
#define LT_TEXT_UNICODE_CLASS_H

#include <stdint.h>

#define LT_UNICODE_VERSION "16.0.0"

typedef enum lt_char_class {
    LT_CHAR_OTHER,
    LT_CHAR_LETTER,
    LT_CHAR_NUMBER,
    LT_CHAR_SPACE
} lt_char_class;

lt_char_class lt_unicode_class(uint32_t code_point); /* at most 0x10FFFF */

#endif
