/* unicode_class.c - look-up in the embedded two-level table. */
#include "text/unicode_class.h"
#include "base/err.h"

extern const uint8_t lt_unicode_class_table[];

enum { BLOCK = 256, N_BLOCKS = 0x110000 / BLOCK };

lt_char_class lt_unicode_class(uint32_t code_point)
{
    const uint8_t *blocks = lt_unicode_class_table + N_BLOCKS;
    uint32_t block, i = code_point % BLOCK;

    LT_BUG_ON(code_point > 0x10ffff);
    block = lt_unicode_class_table[code_point / BLOCK];
    return (lt_char_class)(blocks[block * (BLOCK / 4) + i / 4] >> (i % 4 * 2) & 3);
}
