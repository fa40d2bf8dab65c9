/* The pull scanner: what it takes, what it refuses, and where it says the fault is. */
#include "ckpt/json_scan.h"
#include "lt_test.h"

static lt_json_scan scan(const char *text)
{
    return (lt_json_scan){ .text = text, .size = strlen(text), .name = "t" };
}

LT_TEST(json_scan_unescapes_strings)
{
    static const struct {
        const char *json, *text;
    } cases[] = {
        { "\"\"", "" },
        { "  \"a b\"", "a b" },
        { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t" },
        { "\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
        { "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
    };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        lt_json_scan s = scan(cases[i].json);
        char got[64];

        LT_CHECK_OK(lt_json_scan_string(&s, got, sizeof got));
        LT_CHECK_STR(got, cases[i].text);
        LT_CHECK_OK(lt_json_scan_end(&s));
    }
}

LT_TEST(json_scan_refuses_bad_strings)
{
    static const struct {
        const char *json, *part;
    } cases[] = {
        { "x", "byte 0: expected '\"'" },
        { "", "found the end" },
        { "\"abc", "byte 4: the string does not end" },
        { "\"a\\", "unknown escape" },
        { "\"\\x\"", "unknown escape" },
        { "\"\\u12g4\"", "hexadecimal" },
        { "\"\\u0000\"", "NUL" },
        { "\"\\ud800\"", "lone surrogate" },
        { "\"\\ud800\\u0041\"", "lone surrogate" },
        { "\"\\udc00\"", "lone surrogate" },
        { "\"\x01\"", "byte 1: byte 0x01" },
        { "\"\xc0\x80\"", "not valid UTF-8" },
        { "\"\xed\xa0\x80\"", "not valid UTF-8" },
        { "\"\xf4\x90\x80\x80\"", "not valid UTF-8" },
        { "\"\xe2\x82", "not valid UTF-8" },
        { "\"0123456789abcdef\"", "longer than 15 bytes" },
    };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        lt_json_scan s = scan(cases[i].json);
        char got[16];

        LT_CHECK_FAILS(lt_json_scan_string(&s, got, sizeof got), LT_EFORMAT, cases[i].part);
    }
}

LT_TEST(json_scan_reads_exact_integers)
{
    lt_json_scan s = scan("18446744073709551615 0");
    uint64_t v;

    LT_CHECK_OK(lt_json_scan_u64(&s, &v));
    LT_CHECK(v == UINT64_MAX);
    LT_CHECK_OK(lt_json_scan_u64(&s, &v));
    LT_CHECK_INT(v, 0);
    s = scan("18446744073709551616");
    LT_CHECK_FAILS(lt_json_scan_u64(&s, &v), LT_EFORMAT, "64 bits");
    static const char *const bad[] = { "-1", "1.0", "1e3", "01", "\"1\"", "", "null" };
    for (size_t i = 0; i < LT_COUNT(bad); i++) {
        s = scan(bad[i]);
        LT_CHECK_FAILS(lt_json_scan_u64(&s, &v), LT_EFORMAT, "unsigned integer");
    }
}

LT_TEST(json_scan_skips_any_value)
{
    lt_json_scan s = scan(" {\"a\": [1, -2.5e+3, {\"b\": null}, \"x\\n\"], \"c\": {}, \"d\": [] , "
                          "\"e\":[[true],[false]]} ");
    char deep[2 * LT_JSON_SCAN_DEPTH + 3] = "";

    LT_CHECK_OK(lt_json_scan_skip(&s));
    LT_CHECK_OK(lt_json_scan_end(&s));
    for (int i = 0; i < LT_JSON_SCAN_DEPTH; i++)
        deep[i] = '[', deep[2 * LT_JSON_SCAN_DEPTH - 1 - i] = ']';
    s = scan(deep);
    LT_CHECK_OK(lt_json_scan_skip(&s));
    memset(deep, '[', LT_JSON_SCAN_DEPTH + 1);
    s = scan(deep);
    LT_CHECK_FAILS(lt_json_scan_skip(&s), LT_EFORMAT, "nested deeper than 64");
    static const char *const bad[] = {
        "[1 2]", "[1,]", "{\"a\"}", "{1:2}", "[", "{\"a\":1,}", "nul"
    };
    for (size_t i = 0; i < LT_COUNT(bad); i++) {
        s = scan(bad[i]);
        LT_CHECK_FAILS(lt_json_scan_skip(&s), LT_EFORMAT, "expected");
    }
}

LT_TEST(json_scan_says_the_offset_in_the_file)
{
    lt_json_scan s = { .text = "{]", .size = 2, .name = "model.safetensors", .base = 8 };

    LT_CHECK_FAILS(lt_json_scan_skip(&s), LT_EFORMAT, "model.safetensors: byte 9: ");
}
