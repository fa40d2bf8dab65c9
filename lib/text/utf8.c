/* utf8.c - decoding and repair of UTF-8. */
#include "text/utf8.h"

#include <string.h>

/* The range that the second byte must lie in narrows for E0, ED, F0 and F4; that alone excludes
 * overlong forms, surrogates and everything above U+10FFFF. */
int32_t lt_utf8_decode(const uint8_t *s, size_t n, size_t *size)
{
    uint8_t b = s[0], low = 0x80, high = 0xbf;
    size_t want;
    int32_t cp;

    *size = 1;
    if (b < 0x80)
        return b;
    if (b < 0xc2 || b > 0xf4)
        return LT_UTF8_INVALID;
    if (b < 0xe0) {
        want = 2;
        cp = b & 0x1f;
    } else if (b < 0xf0) {
        want = 3;
        cp = b & 0x0f;
        low = b == 0xe0 ? 0xa0 : low;
        high = b == 0xed ? 0x9f : high;
    } else {
        want = 4;
        cp = b & 0x07;
        low = b == 0xf0 ? 0x90 : low;
        high = b == 0xf4 ? 0x8f : high;
    }
    for (; *size < want; (*size)++) {
        if (*size >= n || s[*size] < low || s[*size] > high)
            return LT_UTF8_INVALID;
        cp = cp << 6 | (s[*size] & 0x3f);
        low = 0x80;
        high = 0xbf;
    }
    return cp;
}

size_t lt_utf8_valid_prefix(const uint8_t *s, size_t n)
{
    size_t i = 0, size;

    while (i < n) {
        uint64_t word;

        while (n - i >= sizeof word) { /* ASCII by eights */
            memcpy(&word, s + i, sizeof word);
            if (word & 0x8080808080808080u)
                break;
            i += sizeof word;
        }
        if (i < n) {
            if (lt_utf8_decode(s + i, n - i, &size) == LT_UTF8_INVALID)
                break;
            i += size;
        }
    }
    return i;
}

size_t lt_utf8_open_tail(const uint8_t *s, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        uint8_t b = s[n - back];
        size_t size;

        if (b < 0x80)
            return 0;
        if (b >= 0xc0) {
            size_t want = b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;

            return lt_utf8_decode(s + n - back, back, &size) == LT_UTF8_INVALID && size == back &&
                           back < want && b >= 0xc2 && b <= 0xf4
                       ? back
                       : 0;
        }
    }
    return 0;
}

size_t lt_utf8_encode(uint32_t cp, uint8_t dst[4])
{
    if (cp < 0x80) {
        dst[0] = (uint8_t)cp;
        return 1;
    }
    if (cp < 0x800) {
        dst[0] = (uint8_t)(0xc0 | cp >> 6);
        dst[1] = (uint8_t)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        dst[0] = (uint8_t)(0xe0 | cp >> 12);
        dst[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
        dst[2] = (uint8_t)(0x80 | (cp & 0x3f));
        return 3;
    }
    dst[0] = (uint8_t)(0xf0 | cp >> 18);
    dst[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
    dst[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
    dst[3] = (uint8_t)(0x80 | (cp & 0x3f));
    return 4;
}

uint64_t lt_utf8_repair(lt_buf *out, const uint8_t *s, size_t n)
{
    uint64_t n_replaced = 0;

    while (n > 0) {
        size_t good = lt_utf8_valid_prefix(s, n), bad;

        lt_buf_append(out, s, good);
        s += good;
        n -= good;
        if (n == 0)
            break;
        lt_utf8_decode(s, n, &bad);
        lt_buf_append(out, "\xef\xbf\xbd", 3);
        s += bad;
        n -= bad;
        n_replaced++;
    }
    return n_replaced;
}
