/* test_pretoken.c - the cuts of GPT-2's pattern. */
#include "base/mem.h"
#include "base/rng.h"
#include "lt_test.h"
#include "text/byte_alphabet.h"
#include "text/pretoken.h"

#include <stdlib.h>

/* The pieces of s with '|' between them. */
static const char *pieces(lt_buf *out, const char *s)
{
    size_t n = strlen(s);

    lt_buf_clear(out);
    while (n > 0) {
        size_t size = lt_pretoken((const uint8_t *)s, n);

        if (out->size > 0)
            lt_buf_append(out, "|", 1);
        lt_buf_append(out, s, size);
        s += size;
        n -= size;
    }
    return lt_buf_cstr(out);
}

LT_TEST(pretoken_cuts_like_the_pattern)
{
    static const char *const cases[][2] = {
        { "Hello world", "Hello| world" },
        { "x  y", "x| | y" },
        { "x\t y", "x|\t| y" },
        { "x \ty", "x| |\t|y" },
        { "end  ", "end|  " },
        { " ", " " },
        { "  ", "  " },
        { "a\n\nb", "a|\n|\n|b" },
        { "a \n", "a| \n" },
        { "don't I'Ll we'll", "don|'t| I|'|Ll| we|'ll" },
        { "'s 's ''s", "'s| '|s| ''|s" },
        { "x'dy 're've", "x|'d|y| '|re|'ve" },
        { "abc123 4.5", "abc|123| 4|.|5" },
        { "a=b == c", "a|=|b| ==| c" },
        { "na\xc3\xafve caf\xc3\xa9!", "na\xc3\xafve| caf\xc3\xa9|!" },
        { "a\xcc\x81"
          "b",
          "a|\xcc\x81|b" },                                     /* a mark is no letter */
        { "\xc2\xb2x\xe2\x85\xa3", "\xc2\xb2|x|\xe2\x85\xa3" }, /* superscript two, roman four */
        { "a\xe3\x80\x80"
          "b",
          "a|\xe3\x80\x80|b" }, /* a wide blank is not absorbed */
        { "a\xe3\x80\x80\xe3\x80\x80"
          "b",
          "a|\xe3\x80\x80|\xe3\x80\x80|b" },
        { "a \xc2\xa0"
          "b",
          "a| |\xc2\xa0|b" },
        { "\xff\xfe a", "\xff\xfe| a" }, /* no UTF-8: other */
    };
    lt_buf out = { 0 };

    for (size_t i = 0; i < LT_COUNT(cases); i++)
        LT_CHECK_STR(pieces(&out, cases[i][0]), cases[i][1]);
    lt_buf_release(&out);
}

/* Random text from parts that make every rule fire. */
static void random_text(lt_buf *out, uint64_t seed, int n_parts)
{
    static const char *const parts[] = { " ",
                                         "  ",
                                         "\n",
                                         "\t",
                                         "'",
                                         "'s",
                                         "'ll",
                                         "a",
                                         "word",
                                         "42",
                                         "=",
                                         "\xe6\x9d\xb1",
                                         "\xe3\x80\x80",
                                         "\xc2\xa0",
                                         "\xf0\x9f\x98\x80",
                                         "\xcc\x81",
                                         "\xff",
                                         "\xe2\x82",
                                         "longerletters" };

    lt_buf_clear(out);
    for (int i = 0; i < n_parts; i++) {
        const char *part = parts[lt_random_u64(seed, 1, (uint64_t)i) % LT_COUNT(parts)];

        lt_buf_append(out, part, strlen(part));
    }
}

LT_TEST(pretoken_safe_cut_is_a_cut_whatever_follows)
{
    lt_buf text = { 0 };
    int n_cuts = 0, n_wrong = 0;

    for (uint64_t seed = 0; seed < 3000; seed++) {
        size_t n, cut, at = 0;
        const uint8_t *s;
        bool same = true;

        random_text(&text, seed, 40);
        s = (const uint8_t *)text.data;
        n = 1 + lt_random_u64(seed, 2, 0) % text.size;
        cut = lt_pretoken_safe_cut(s, n);
        while (at < cut) { /* the left side alone has the pieces that it has in the text */
            size_t size = lt_pretoken(s + at, text.size - at);

            same &= lt_pretoken(s + at, cut - at) == size;
            at += size;
        }
        n_cuts += cut > 0;
        n_wrong += at != cut || !same;
    }
    LT_CHECK(n_cuts > 2000);
    LT_CHECK_INT(n_wrong, 0);
    lt_buf_release(&text);
}

LT_TEST(pretoken_cuts_endless_pieces_between_characters)
{
    size_t n = (size_t)LT_PRETOKEN_MAX + 100;
    uint8_t *s = lt_new0(n + 3);

    memset(s, 'a', n);
    LT_CHECK_INT(lt_pretoken(s, n), LT_PRETOKEN_MAX);
    LT_CHECK_INT(lt_pretoken(s, LT_PRETOKEN_MAX), LT_PRETOKEN_MAX);
    memset(s, ' ', n);
    LT_CHECK_INT(lt_pretoken(s, n), LT_PRETOKEN_MAX);
    for (size_t i = 1; i + 3 <= n; i += 3)
        memcpy(s + i, "\xe6\x9d\xb1", 3);
    s[0] = 'a';
    LT_CHECK_INT(lt_pretoken(s, n) % 3, 1);
    LT_CHECK(lt_pretoken(s, n) > LT_PRETOKEN_MAX - 3);
    free(s);
}

LT_TEST(byte_alphabet_is_a_bijection_in_code_point_order)
{
    lt_buf spelled = { 0 }, back = { 0 };
    bool seen[256] = { false };

    for (int i = 0; i < 256; i++) {
        uint8_t byte = lt_alphabet_byte(i);

        LT_CHECK(!seen[byte]);
        seen[byte] = true;
        lt_buf_clear(&spelled);
        lt_buf_clear(&back);
        lt_alphabet_spell(&spelled, &byte, 1);
        LT_CHECK(lt_alphabet_read(&back, spelled.data, spelled.size));
        LT_CHECK(back.size == 1 && (uint8_t)back.data[0] == byte);
    }
    lt_buf_clear(&spelled);
    lt_alphabet_spell(&spelled, (const uint8_t *)" the\n", 5);
    LT_CHECK_STR(lt_buf_cstr(&spelled), "\xc4\xa0the\xc4\x8a");
    LT_CHECK(!lt_alphabet_read(&back, " ", 1));
    LT_CHECK(!lt_alphabet_read(&back, "\xe6\x9d\xb1", 3));
    lt_buf_release(&spelled);
    lt_buf_release(&back);
}
