/* byte_alphabet.c - the printable stand-ins for bytes. */
#include "text/byte_alphabet.h"
#include "text/utf8.h"

enum { N_SELF = 188, N_SHIFTED = 68 };

static bool stands_for_itself(int b)
{
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

/* The other bytes in order are 0x00-0x20, 0x7F-0xA0 and 0xAD. */
static int shifted_index(int b)
{
    return b <= 0x20 ? b : b <= 0xa0 ? 0x21 + b - 0x7f : N_SHIFTED - 1;
}

static int shifted_byte(int index)
{
    return index <= 0x20 ? index : index < N_SHIFTED - 1 ? 0x7f + index - 0x21 : 0xad;
}

uint8_t lt_alphabet_byte(int position)
{
    LT_BUG_ON(position < 0 || position > 255);
    if (position >= N_SELF)
        return (uint8_t)shifted_byte(position - N_SELF);
    if (position < 94)
        return (uint8_t)(0x21 + position);
    return (uint8_t)(position < 106 ? 0xa1 + position - 94 : 0xae + position - 106);
}

void lt_alphabet_spell(lt_buf *out, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int b = bytes[i];
        uint8_t utf8[4];
        size_t size =
            lt_utf8_encode((uint32_t)(stands_for_itself(b) ? b : 256 + shifted_index(b)), utf8);

        lt_buf_append(out, utf8, size);
    }
}

bool lt_alphabet_read(lt_buf *out, const char *s, size_t n)
{
    size_t before = out->size, i = 0, size;

    while (i < n) {
        int32_t cp = lt_utf8_decode((const uint8_t *)s + i, n - i, &size);
        uint8_t byte;

        if (cp >= 0 && cp < 256 && stands_for_itself(cp)) {
            byte = (uint8_t)cp;
        } else if (cp >= 256 && cp < 256 + N_SHIFTED) {
            byte = (uint8_t)shifted_byte(cp - 256);
        } else {
            out->size = before;
            return false;
        }
        lt_buf_append(out, &byte, 1);
        i += size;
    }
    return true;
}
