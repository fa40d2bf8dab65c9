/* pretoken.c - a scanner for GPT-2's pattern, written out by hand: a class for each byte, ASCII
 * letters by eights, and the Unicode table only behind bytes above 0x7F. */
#include "text/pretoken.h"
#include "text/unicode_class.h"
#include "text/utf8.h"

#include <stdbool.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first byte is the lowest");

enum {
    OTHER = LT_CHAR_OTHER,
    LETTER = LT_CHAR_LETTER,
    NUMBER = LT_CHAR_NUMBER,
    SPACE = LT_CHAR_SPACE,
    WIDE = 4
};

static const uint8_t byte_class[256] = {
    ['\t'] = SPACE,         ['\n'] = SPACE,         ['\v'] = SPACE,         ['\f'] = SPACE,
    ['\r'] = SPACE,         [' '] = SPACE,          ['0' ... '9'] = NUMBER, ['A' ... 'Z'] = LETTER,
    ['a' ... 'z'] = LETTER, [0x80 ... 0xff] = WIDE,
};

static int class_of(const uint8_t *s, size_t n, size_t *size)
{
    int c = byte_class[s[0]];
    int32_t cp;

    *size = 1;
    if (c != WIDE)
        return c;
    cp = lt_utf8_decode(s, n, size);
    return cp == LT_UTF8_INVALID ? OTHER : (int)lt_unicode_class((uint32_t)cp);
}

/* Bit 7 of each byte of the result: that byte of w is no ASCII letter. */
static inline uint64_t non_letters(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x80 * ones;
    uint64_t low7 = (w | 0x20 * ones) & ~high;
    uint64_t from_a = low7 + (0x80 - 'a') * ones, above_z = low7 + (0x80 - 'z' - 1) * ones;

    return ~(from_a & ~above_z & ~w) & high;
}

/* The end of the run of characters of one class that goes on at s + i. */
static size_t run_end(const uint8_t *s, size_t i, size_t n, int class)
{
    uint64_t w;
    size_t size;

    for (;;) {
        if (class == LETTER)
            for (; n - i >= sizeof w; i += sizeof w) {
                memcpy(&w, s + i, sizeof w);
                w = non_letters(w);
                if (w) {
                    i += (size_t)__builtin_ctzll(w) / 8;
                    break;
                }
            }
        while (i < n && byte_class[s[i]] == class)
            i++;
        if (i == n || byte_class[s[i]] != WIDE || class_of(s + i, n - i, &size) != class)
            return i;
        i += size;
    }
}

/* 's 't 'm 'd 're 've 'll: the length with the apostrophe, or 0. */
static size_t contraction(const uint8_t *s, size_t n)
{
    if (n >= 2 && (s[1] == 's' || s[1] == 't' || s[1] == 'm' || s[1] == 'd'))
        return 2;
    if (n >= 3 && ((s[1] == 'r' && s[2] == 'e') || (s[1] == 'v' && s[2] == 'e') ||
                   (s[1] == 'l' && s[2] == 'l')))
        return 3;
    return 0;
}

/* \s+(?!\S)|\s+: a run of blanks leaves its last one to the word that follows. */
static size_t blank_run(const uint8_t *s, size_t n, bool more_follows)
{
    size_t end = run_end(s, 0, n, SPACE), last = end - 1, size;

    if (end == n && !more_follows)
        return end;
    while (byte_class[s[last]] == WIDE && class_of(s + last, end - last, &size) != SPACE)
        last--; /* back over the continuation bytes of a wide blank */
    return last > 0 && end < n ? last : end;
}

size_t lt_pretoken(const uint8_t *s, size_t n)
{
    bool more_follows = n > LT_PRETOKEN_MAX;
    size_t i = s[0] == ' ' && n > 1, size;
    int class;

    if (more_follows)
        n = LT_PRETOKEN_MAX;
    if (s[0] == '\'') {
        size_t length = contraction(s, n);

        if (length)
            return length;
    }
    class = class_of(s + i, n - i, &size);
    size = class == SPACE ? blank_run(s, n, more_follows) : run_end(s, i + size, n, class);
    if (more_follows && size == n)
        size -= lt_utf8_open_tail(s, n);
    return size;
}

/* The character that ends at s + end is a blank; one that is no UTF-8 is none. */
static bool is_blank_before(const uint8_t *s, size_t end)
{
    size_t start = end - 1, size;

    while (start > 0 && end - start < 4 && (s[start] & 0xc0) == 0x80)
        start--;
    return class_of(s + start, end - start, &size) == SPACE && start + size == end;
}

/* Between a character that is no blank and one that is: no piece spans the two, and neither side
 * depends on the other. */
static bool is_plain_cut(const uint8_t *s, size_t at)
{
    return byte_class[s[at]] == SPACE && byte_class[s[at - 1]] != SPACE && !is_blank_before(s, at);
}

/* A blank at the end of a text belongs to the run before it, so a cut behind a blank would change
 * the left side unless the run goes on. */
size_t lt_pretoken_safe_cut(const uint8_t *s, size_t n)
{
    size_t cut = 0, end = 0, window = n < 65536 ? n : 65536, size;

    for (size_t at = n - 1; n > 1 && at > n - window; at--)
        if (is_plain_cut(s, at))
            return at;
    while (end < n) {
        end += lt_pretoken(s + end, n - end);
        if (end + LT_PRETOKEN_LOOKAHEAD > n)
            break;
        if (!is_blank_before(s, end) || class_of(s + end, n - end, &size) == SPACE)
            cut = end;
    }
    return cut;
}
