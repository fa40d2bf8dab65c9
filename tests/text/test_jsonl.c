/* test_jsonl.c - the text of a JSONL line. */
#include "lt_test.h"
#include "text/jsonl.h"

#include <stdlib.h>

LT_TEST(jsonl_finds_and_decodes_the_field)
{
    static const char *const cases[][2] = {
        { "{\"text\":\"hi\"}", "hi" },
        { "  {\"a\": [1, -2.5e+3, {\"text\": \"no\"}, []], \"text\" : \"yes\", \"z\": {}} \r",
          "yes" },
        { "{\"text\": \"\"}", "" },
        { "{\"text\": \"a\\n\\t\\\"\\\\\\/\\b\\f\\r\"}", "a\n\t\"\\/\b\f\r" },
        { "{\"text\": \"\\u00e9\\u6771\\uD83D\\uDE00\"}", "\xc3\xa9\xe6\x9d\xb1\xf0\x9f\x98\x80" },
        { "{\"\\u0074ext\": \"key\"}", "key" },
        { "{\"text\": \"raw \xc3\xa9 \xff\"}", "raw \xc3\xa9 \xff" },
        { "{\"n\":null,\"t\":true,\"f\":false,\"s\":\"\\\"}\",\"text\":\"x\"}", "x" },
    };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        lt_buf out = { 0 };
        uint64_t n_replaced = 0;
        const char *wrong =
            lt_jsonl_field(cases[i][0], strlen(cases[i][0]), "text", &out, &n_replaced);

        LT_FAIL_IF(wrong, "%s: %s", cases[i][0], wrong);
        LT_CHECK_STR(lt_buf_cstr(&out), cases[i][1]);
        LT_CHECK_INT(n_replaced, 0);
        lt_buf_release(&out);
    }
}

LT_TEST(jsonl_replaces_lone_surrogates)
{
    static const char line[] =
        "{\"k\": \"\\ud800\", \"text\": \"\\ud800|\\udc00|\\ud800\\ud83d\\ude00\"}";
    lt_buf out = { 0 };
    uint64_t n_replaced = 0;

    LT_CHECK(!lt_jsonl_field(line, sizeof line - 1, "text", &out, &n_replaced));
    LT_CHECK_STR(lt_buf_cstr(&out), "\xef\xbf\xbd|\xef\xbf\xbd|\xef\xbf\xbd\xf0\x9f\x98\x80");
    LT_CHECK_INT(n_replaced, 3);
    lt_buf_release(&out);
}

LT_TEST(jsonl_says_what_is_wrong)
{
    static const char *const cases[][2] = {
        { "", "expected an object" },
        { "[1]", "expected an object" },
        { "{}", "the field is missing" },
        { "{\"other\": 1}", "the field is missing" },
        { "{\"text\": 5}", "the field is not a string" },
        { "{\"text\": null}", "the field is not a string" },
        { "{\"text\": \"a\", \"text\": \"b\"}", "the field is given twice" },
        { "{\"text\": \"a", "a string does not end" },
        { "{\"text\": \"a\\", "a string does not end" },
        { "{\"text\": \"a\tb\"}", "a control character in a string" },
        { "{\"text\": \"\\x\"}", "an unknown escape in a string" },
        { "{\"text\": \"\\u12\"}", "a \\u escape lacks four hexadecimal digits" },
        { "{\"text\": \"\\u12", "a \\u escape is cut short" },
        { "{\"text\": \"a\"", "expected a comma or a closing brace" },
        { "{\"text\": \"a\"} x", "something follows the object" },
        { "{\"text\": \"a\",}", "expected a string" },
        { "{\"a\": [1 2], \"text\": \"a\"}", "expected a comma or a closing bracket" },
        { "{\"a\": [1}, \"text\": \"a\"}", "expected a comma or a closing bracket" },
        { "{\"a\": {1:2}, \"text\": \"a\"}", "expected a member name" },
        { "{\"a\": {\"b\" 2}, \"text\": \"a\"}", "expected a colon" },
        { "{\"a\": 01, \"text\": \"a\"}", "expected a comma or a closing brace" },
        { "{\"a\": -, \"text\": \"a\"}", "a number without digits" },
        { "{\"a\": 1., \"text\": \"a\"}", "a number without digits" },
        { "{\"a\": tru, \"text\": \"a\"}", "expected a value" },
        { "{\"a\": [,], \"text\": \"a\"}", "expected a value" },
    };
    lt_buf out = { 0 };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        uint64_t n_replaced = 0;
        const char *wrong =
            lt_jsonl_field(cases[i][0], strlen(cases[i][0]), "text", &out, &n_replaced);

        LT_FAIL_IF(!wrong, "%s: accepted", cases[i][0]);
        LT_CHECK_STR(wrong, cases[i][1]);
    }
    lt_buf_release(&out);
}

LT_TEST(jsonl_limits_nesting)
{
    lt_buf line = { 0 }, out = { 0 };
    uint64_t n_replaced = 0;

    for (int depth = LT_JSONL_DEPTH; depth <= LT_JSONL_DEPTH + 1; depth++) {
        const char *wrong;

        lt_buf_clear(&line);
        lt_buf_printf(&line, "{\"a\": ");
        for (int i = 0; i < depth; i++)
            lt_buf_append(&line, "[", 1);
        for (int i = 0; i < depth; i++)
            lt_buf_append(&line, "]", 1);
        lt_buf_printf(&line, ", \"text\": \"x\"}");
        wrong = lt_jsonl_field(line.data, line.size, "text", &out, &n_replaced);
        if (depth == LT_JSONL_DEPTH)
            LT_CHECK(!wrong);
        else
            LT_CHECK_STR(wrong ? wrong : "", "nesting is too deep");
    }
    lt_buf_release(&line);
    lt_buf_release(&out);
}
