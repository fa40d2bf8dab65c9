/* test_utf8.c - decoding, repair, and the class of characters. */
#include "lt_test.h"
#include "text/unicode_class.h"
#include "text/utf8.h"

LT_TEST(utf8_encode_and_decode_agree_on_every_code_point)
{
    uint32_t wrong = 0;

    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        uint8_t s[4];
        size_t n, size;

        if (cp >= 0xd800 && cp < 0xe000)
            continue;
        n = lt_utf8_encode(cp, s);
        wrong += lt_utf8_decode(s, n, &size) != (int32_t)cp || size != n;
        wrong += lt_utf8_valid_prefix(s, n) != n;
        wrong += n > 1 && lt_utf8_open_tail(s, n - 1) != n - 1;
    }
    LT_CHECK_INT(wrong, 0);
}

LT_TEST(utf8_repair_replaces_maximal_subparts)
{
    static const struct {
        const char *in, *out;
        int n_replaced;
    } cases[] = {
        { "plain", "plain", 0 },
        { "a\xff"
          "b",
          "a\xef\xbf\xbd"
          "b",
          1 },
        { "\xe2\x82", "\xef\xbf\xbd", 1 }, /* cut short: one */
        { "\xe2\x82x", "\xef\xbf\xbdx", 1 },
        { "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd", 2 },                 /* overlong: each byte */
        { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 3 }, /* a surrogate */
        { "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 4 },
        { "\xf0\x9f\x98\xf0\x9f\x98\x80", "\xef\xbf\xbd\xf0\x9f\x98\x80", 1 },
    };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        lt_buf out = { 0 };
        uint64_t n = lt_utf8_repair(&out, (const uint8_t *)cases[i].in, strlen(cases[i].in));

        LT_CHECK_INT(n, cases[i].n_replaced);
        LT_CHECK_STR(lt_buf_cstr(&out), cases[i].out);
        lt_buf_release(&out);
    }
}

LT_TEST(utf8_open_tail_is_what_more_bytes_could_complete)
{
    LT_CHECK_INT(lt_utf8_open_tail((const uint8_t *)"ab", 2), 0);
    LT_CHECK_INT(lt_utf8_open_tail((const uint8_t *)"a\xf0\x9f\x98", 4), 3);
    LT_CHECK_INT(lt_utf8_open_tail((const uint8_t *)"\xe0\x80", 2), 0);
    LT_CHECK_INT(lt_utf8_open_tail((const uint8_t *)"\x80\x80\x80\x80", 4), 0);
    LT_CHECK_INT(lt_utf8_open_tail((const uint8_t *)"\xff", 1), 0);
    LT_CHECK_INT(lt_utf8_open_tail((const uint8_t *)"", 0), 0);
}

LT_TEST(unicode_class_counts_are_those_of_unicode_16)
{
    uint32_t n[4] = { 0 };

    for (uint32_t cp = 0; cp < 0x110000; cp++)
        n[lt_unicode_class(cp)]++;
    LT_CHECK_INT(n[LT_CHAR_LETTER], 141028);
    LT_CHECK_INT(n[LT_CHAR_NUMBER], 1911);
    LT_CHECK_INT(n[LT_CHAR_SPACE], 25);
    LT_CHECK_INT(lt_unicode_class(0x2160), LT_CHAR_NUMBER); /* roman numeral one */
    LT_CHECK_INT(lt_unicode_class(0x300), LT_CHAR_OTHER);   /* a combining mark */
    LT_CHECK_INT(lt_unicode_class(0x180e), LT_CHAR_OTHER);  /* no blank any more */
    LT_CHECK_INT(lt_unicode_class(0x85), LT_CHAR_SPACE);
    LT_CHECK_INT(lt_unicode_class(0x1c), LT_CHAR_OTHER);
}
