/* base/json.c - JSON through jansson, with sentences that say where and what. */
#include "base/json.h"
#include "base/file.h"

#include <string.h>

lt_err lt_json_parse(json_t **out, const char *text, size_t n, const char *name)
{
    json_error_t where;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &where);

    if (!root)
        return lt_fail(LT_EFORMAT, "%s:%d:%d: not valid JSON: %s", name, where.line, where.column,
                       where.text);
    *out = root;
    return LT_OK;
}

lt_err lt_json_load(json_t **out, const char *path, uint64_t max_bytes)
{
    lt_buf text = { 0 };
    lt_err err;

    LT_TRY(err = lt_file_read_all(&text, path, max_bytes));
    err = lt_json_parse(out, lt_buf_cstr(&text), text.size,
                        strcmp(path, "-") == 0 ? "standard input" : path);
fail:
    lt_buf_release(&text);
    return err;
}

static const char *kind_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    default:
        return "null";
    }
}

static lt_err wrong_kind(const json_t *v, const char *key, const char *expected, const char *name)
{
    return lt_fail(LT_EFORMAT, "%s: %s: expected %s, found %s", name, key, expected, kind_name(v));
}

static lt_err integer_value(const json_t *v, const char *key, int64_t min, int64_t max,
                            int64_t *out, const char *name)
{
    long long x;

    if (!json_is_integer(v))
        return wrong_kind(v, key, "an integer", name);
    x = json_integer_value(v);
    if (x < min || x > max)
        return lt_fail(LT_EFORMAT, "%s: %s: expected %lld to %lld, found %lld", name, key,
                       (long long)min, (long long)max, x);
    *out = x;
    return LT_OK;
}

/* The member, NULL when it is absent or null. */
static const json_t *member(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);

    return json_is_null(v) ? NULL : v;
}

static lt_err required(const json_t **out, const json_t *object, const char *key,
                       const char *expected, const char *name)
{
    if (!json_is_object(object))
        return lt_fail(LT_EFORMAT, "%s: %s: expected an object around it, found %s", name, key,
                       object ? kind_name(object) : "nothing");
    *out = json_object_get(object, key);
    if (!*out)
        return lt_fail(LT_EFORMAT, "%s: %s: expected %s, found no such key", name, key, expected);
    return LT_OK;
}

lt_err lt_json_int(const json_t *object, const char *key, int64_t min, int64_t max, int64_t *out,
                   const char *name)
{
    const json_t *v;
    lt_err err;

    LT_TRY(err = required(&v, object, key, "an integer", name));
    return integer_value(v, key, min, max, out, name);
fail:
    return err;
}

lt_err lt_json_string(const json_t *object, const char *key, const char **out, const char *name)
{
    const json_t *v;
    lt_err err;

    LT_TRY(err = required(&v, object, key, "a string", name));
    if (!json_is_string(v))
        return wrong_kind(v, key, "a string", name);
    *out = json_string_value(v);
    return LT_OK;
fail:
    return err;
}

lt_err lt_json_opt_int(const json_t *object, const char *key, int64_t min, int64_t max,
                       int64_t *out, const char *name)
{
    const json_t *v = member(object, key);

    return v ? integer_value(v, key, min, max, out, name) : LT_OK;
}

lt_err lt_json_opt_real(const json_t *object, const char *key, double *out, const char *name)
{
    const json_t *v = member(object, key);

    if (!v)
        return LT_OK;
    if (!json_is_number(v))
        return wrong_kind(v, key, "a number", name);
    *out = json_number_value(v);
    return LT_OK;
}

lt_err lt_json_opt_bool(const json_t *object, const char *key, bool *out, const char *name)
{
    const json_t *v = member(object, key);

    if (!v)
        return LT_OK;
    if (!json_is_boolean(v))
        return wrong_kind(v, key, "true or false", name);
    *out = json_is_true(v);
    return LT_OK;
}

/* Bytes of the well-formed UTF-8 sequence at s, at most n; 0 if there is none. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

    if (len == 0 || len > n || s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    /* overlong forms, surrogates, beyond U+10FFFF: the second byte tells */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return len;
}

void lt_json_quote(lt_buf *b, const char *s, size_t n)
{
    static const char plain[] = "\"\\\b\f\n\r\t", escaped[] = "\"\\bfnrt";

    lt_buf_append(b, "\"", 1);
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        const char *at = c ? strchr(plain, c) : NULL;
        size_t len = utf8_length((const unsigned char *)s + i, n - i);

        if (at)
            lt_buf_printf(b, "\\%c", escaped[at - plain]);
        else if (c < 0x20 || c == 0x7f)
            lt_buf_printf(b, "\\u%04x", c);
        else if (len == 0)
            lt_buf_append(b, "\\ufffd", 6); /* a stray byte: the output must stay valid */
        else
            lt_buf_append(b, s + i, len);
        i += len ? len : 1;
    }
    lt_buf_append(b, "\"", 1);
}
