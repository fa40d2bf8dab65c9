/* test_json.c - what is refused and where it is said to stand; getters; quoting. */
#include "base/file.h"
#include "base/json.h"
#include "lt_test.h"

static lt_err parse(json_t **out, const char *text)
{
    return lt_json_parse(out, text, strlen(text), "config.json");
}

LT_TEST(parse_names_line_and_column)
{
    json_t *j = NULL;

    LT_CHECK_FAILS(parse(&j, "{\n  \"a\": 1,\n  \"b\": }\n"), LT_EFORMAT, "config.json:3:");
    LT_CHECK_FAILS(parse(&j, "{\n  \"a\": 1,\n  \"a\": 2\n}"), LT_EFORMAT, "config.json:3:");
    LT_CHECK_FAILS(parse(&j, "{\"a\": \"x\\u0000y\"}"), LT_EFORMAT, "config.json:1:");
    LT_CHECK_FAILS(parse(&j, "{\"a\": \"\xff\"}"), LT_EFORMAT, "not valid JSON");
    LT_CHECK_FAILS(parse(&j, "{} {}"), LT_EFORMAT, "config.json:1:");
    LT_CHECK_FAILS(parse(&j, "{\"a\": 1e999}"), LT_EFORMAT, "config.json:1:");
    LT_CHECK_FAILS(parse(&j, ""), LT_EFORMAT, "config.json:1:0: not valid JSON");
    LT_CHECK_FAILS(lt_json_parse(&j, "{\0}", 3, "x"), LT_EFORMAT, "x:1:");
    LT_CHECK(!j);
}

LT_TEST(parse_refuses_deep_nesting)
{
    enum { DEEP = 5000 };
    lt_buf b = { 0 };
    json_t *j = NULL;

    for (int i = 0; i < DEEP; i++)
        lt_buf_append(&b, "[", 1);
    LT_CHECK_FAILS(lt_json_parse(&j, b.data, b.size, "deep"), LT_EFORMAT, "deep:1:");
    lt_buf_release(&b);
}

LT_TEST(load_reads_a_bounded_file)
{
    const char *path = lt_test_tmp("x.json");
    json_t *j = NULL;
    int64_t n = 0;

    LT_CHECK_OK(lt_file_write_atomic(path, "{\"n\": 5}", 8));
    LT_CHECK_OK(lt_json_load(&j, path, 8));
    LT_CHECK_OK(lt_json_int(j, "n", 0, 9, &n, path));
    LT_CHECK_INT(n, 5);
    json_decref(j);
    LT_CHECK_FAILS(lt_json_load(&j, path, 7), LT_EFORMAT, "8 bytes, expected at most 7");
    LT_CHECK_FAILS(lt_json_load(&j, lt_test_tmp("absent"), 7), LT_ENOENT, "absent");
}

LT_TEST(getters_check_kind_and_range)
{
    const char *text =
        "{\"i\": 7, \"s\": \"text\", \"r\": 0.5, \"t\": true, \"z\": null, \"a\": [1]}";
    const char *s = NULL;
    int64_t i = -1;
    double r = -1;
    bool t = false;
    json_t *j;

    LT_CHECK_OK(parse(&j, text));
    LT_CHECK_OK(lt_json_int(j, "i", 7, 7, &i, "f"));
    LT_CHECK_INT(i, 7);
    LT_CHECK_OK(lt_json_string(j, "s", &s, "f"));
    LT_CHECK_STR(s, "text");
    LT_CHECK_FAILS(lt_json_int(j, "s", 0, 9, &i, "f"), LT_EFORMAT,
                   "f: s: expected an integer, found a string");
    LT_CHECK_FAILS(lt_json_int(j, "r", 0, 9, &i, "f"), LT_EFORMAT,
                   "found a number with a fraction");
    LT_CHECK_FAILS(lt_json_int(j, "z", 0, 9, &i, "f"), LT_EFORMAT, "found null");
    LT_CHECK_FAILS(lt_json_int(j, "i", 8, 9, &i, "f"), LT_EFORMAT,
                   "f: i: expected 8 to 9, found 7");
    LT_CHECK_FAILS(lt_json_int(j, "no", 8, 9, &i, "f"), LT_EFORMAT,
                   "f: no: expected an integer, found no such key");
    LT_CHECK_FAILS(lt_json_string(j, "a", &s, "f"), LT_EFORMAT,
                   "expected a string, found an array");
    LT_CHECK_FAILS(lt_json_string(json_object_get(j, "a"), "x", &s, "f"), LT_EFORMAT,
                   "expected an object around it, found an array");
    LT_CHECK_FAILS(lt_json_string(NULL, "x", &s, "f"), LT_EFORMAT, "found nothing");

    LT_CHECK_OK(lt_json_opt_int(j, "no", 0, 9, &i, "f"));
    LT_CHECK_OK(lt_json_opt_int(j, "z", 0, 9, &i, "f"));
    LT_CHECK_INT(i, 7);
    LT_CHECK_FAILS(lt_json_opt_int(j, "i", 0, 6, &i, "f"), LT_EFORMAT, "expected 0 to 6");
    LT_CHECK_OK(lt_json_opt_real(j, "r", &r, "f"));
    LT_CHECK(r == 0.5);
    LT_CHECK_OK(lt_json_opt_real(j, "i", &r, "f"));
    LT_CHECK(r == 7);
    LT_CHECK_OK(lt_json_opt_real(j, "no", &r, "f"));
    LT_CHECK_FAILS(lt_json_opt_real(j, "t", &r, "f"), LT_EFORMAT, "expected a number, found true");
    LT_CHECK_OK(lt_json_opt_bool(j, "t", &t, "f"));
    LT_CHECK(t);
    LT_CHECK_OK(lt_json_opt_bool(j, "z", &t, "f"));
    LT_CHECK_FAILS(lt_json_opt_bool(j, "i", &t, "f"), LT_EFORMAT, "expected true or false");
    json_decref(j);
}

LT_TEST(quote_escapes)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        { "", "\"\"" },
        { "a\"b\\c/", "\"a\\\"b\\\\c/\"" },
        { "\b\f\n\r\t\x01\x1f\x7f", "\"\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\"" },
        { "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"" },
        { "\xff", "\"\\ufffd\"" },
        { "\xc0\xaf", "\"\\ufffd\\ufffd\"" },                       /* overlong */
        { "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" },            /* surrogate */
        { "\xe2\x82", "\"\\ufffd\\ufffd\"" },                       /* cut short */
        { "\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" }, /* beyond the last */
    };
    lt_buf b = { 0 };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        lt_buf_clear(&b);
        lt_json_quote(&b, cases[i].in, strlen(cases[i].in));
        LT_CHECK_STR(lt_buf_cstr(&b), cases[i].out);
    }
    lt_buf_clear(&b);
    lt_json_quote(&b, "a\0b", 3);
    LT_CHECK_STR(lt_buf_cstr(&b), "\"a\\u0000b\"");
    lt_buf_release(&b);
}

/* Every byte pair, quoted, is JSON that jansson takes. */
LT_TEST(quote_is_always_valid)
{
    lt_buf b = { 0 };

    for (int pair = 0; pair < 65536; pair += 3) {
        char s[2] = { (char)(pair >> 8), (char)pair };
        json_t *j;

        lt_buf_clear(&b);
        lt_buf_append(&b, "[", 1);
        lt_json_quote(&b, s, 2);
        lt_buf_append(&b, "]", 1);
        j = json_loadb(b.data, b.size, JSON_ALLOW_NUL, NULL);
        LT_FAIL_IF(!j, "%04x gives %s", (unsigned)pair, b.data);
        json_decref(j);
    }
    lt_buf_release(&b);
}
