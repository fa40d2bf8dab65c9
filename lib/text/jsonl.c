/* jsonl.c - a validating scanner over one line of JSON. */
#include "text/jsonl.h"
#include "text/utf8.h"

#include <string.h>

typedef struct scanner {
    const uint8_t *p, *end;
    const char *wrong; /* set by the first thing that is not JSON */
    uint64_t n_replaced;
} scanner;

static bool fail(scanner *s, const char *wrong)
{
    if (!s->wrong)
        s->wrong = wrong;
    return false;
}

/* The next byte behind blanks, 0 at the end. */
static uint8_t peek(scanner *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
    return s->p < s->end ? *s->p : 0;
}

static bool take(scanner *s, uint8_t byte, const char *wrong)
{
    if (peek(s) != byte || s->p == s->end)
        return fail(s, wrong);
    s->p++;
    return true;
}

static bool hex4(scanner *s, uint32_t *out)
{
    *out = 0;
    if (s->end - s->p < 4)
        return fail(s, "a \\u escape is cut short");
    for (int i = 0; i < 4; i++) {
        uint8_t c = *s->p++, low = c | 0x20;

        if (c >= '0' && c <= '9')
            *out = *out << 4 | (uint32_t)(c - '0');
        else if (low >= 'a' && low <= 'f')
            *out = *out << 4 | (uint32_t)(low - 'a' + 10);
        else
            return fail(s, "a \\u escape lacks four hexadecimal digits");
    }
    return true;
}

/* Behind "\u": one code point, from two escapes if they are a surrogate pair. */
static bool unicode_escape(scanner *s, lt_buf *out)
{
    uint32_t cp, low;
    uint8_t utf8[4];

    if (!hex4(s, &cp))
        return false;
    if (cp >= 0xd800 && cp < 0xdc00 && s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u') {
        const uint8_t *second = s->p;

        s->p += 2;
        if (!hex4(s, &low))
            return false;
        if (low >= 0xdc00 && low < 0xe000)
            cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
        else
            s->p = second;
    }
    if (cp >= 0xd800 && cp < 0xe000) {
        cp = 0xfffd;
        s->n_replaced += out != NULL;
    }
    if (out)
        lt_buf_append(out, utf8, lt_utf8_encode(cp, utf8));
    return true;
}

static bool escape(scanner *s, lt_buf *out)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *at;

    if (s->p == s->end)
        return fail(s, "a string does not end");
    if (*s->p == 'u') {
        s->p++;
        return unicode_escape(s, out);
    }
    at = memchr(names, *s->p++, sizeof names - 1);
    if (!at)
        return fail(s, "an unknown escape in a string");
    if (out)
        lt_buf_append(out, values + (at - names), 1);
    return true;
}

/* A string whose opening quote is next; decoded into out unless that is NULL. */
static bool string(scanner *s, lt_buf *out)
{
    if (!take(s, '"', "expected a string"))
        return false;
    for (;;) {
        const uint8_t *start = s->p;

        while (s->p < s->end && *s->p >= 0x20 && *s->p != '"' && *s->p != '\\')
            s->p++;
        if (out)
            lt_buf_append(out, start, (size_t)(s->p - start));
        if (s->p == s->end)
            return fail(s, "a string does not end");
        if (*s->p < 0x20)
            return fail(s, "a control character in a string");
        if (*s->p++ == '"')
            return true;
        if (!escape(s, out))
            return false;
    }
}

static bool digits(scanner *s)
{
    const uint8_t *start = s->p;

    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return s->p > start || fail(s, "a number without digits");
}

static bool number(scanner *s)
{
    if (*s->p == '-')
        s->p++;
    if (s->p < s->end && *s->p == '0')
        s->p++;
    else if (!digits(s))
        return false;
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (!digits(s))
            return false;
    }
    if (s->p < s->end && (*s->p | 0x20) == 'e') {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        return digits(s);
    }
    return true;
}

static bool scalar(scanner *s)
{
    static const char *const words[] = { "true", "false", "null" };
    uint8_t c = peek(s);

    if (c == '"')
        return string(s, NULL);
    if (c == '-' || (c >= '0' && c <= '9'))
        return number(s);
    for (size_t i = 0; i < LT_COUNT(words); i++) {
        size_t n = strlen(words[i]);

        if ((size_t)(s->end - s->p) >= n && memcmp(s->p, words[i], n) == 0) {
            s->p += n;
            return true;
        }
    }
    return fail(s, "expected a value");
}

/* Any value; arrays and objects by a stack of closing brackets instead of recursion. */
static bool skip_value(scanner *s)
{
    uint8_t closer[LT_JSONL_DEPTH];
    size_t depth = 0;

    do {
        uint8_t c = peek(s);

        if (c == '{' || c == '[') {
            if (depth == LT_JSONL_DEPTH)
                return fail(s, "nesting is too deep");
            closer[depth++] = c == '{' ? '}' : ']';
            s->p++;
            c = peek(s);
            if (c != closer[depth - 1]) {
                if (c == '"' && closer[depth - 1] == '}' &&
                    !(string(s, NULL) && take(s, ':', "expected a colon")))
                    return false;
                if (c != '"' && closer[depth - 1] == '}')
                    return fail(s, "expected a member name");
                continue;
            }
        } else if (!scalar(s)) {
            return false;
        }
        while (depth > 0 && peek(s) == closer[depth - 1]) {
            s->p++;
            depth--;
        }
        if (depth > 0) {
            if (!take(s, ',', "expected a comma or a closing bracket"))
                return false;
            if (closer[depth - 1] == '}' && !(string(s, NULL) && take(s, ':', "expected a colon")))
                return false;
        }
    } while (depth > 0);
    return true;
}

/* One member; *found if it was the field. */
static bool member(scanner *s, const char *field, lt_buf *key, lt_buf *out, bool *found)
{
    uint64_t n_replaced = s->n_replaced;

    lt_buf_clear(key);
    if (!string(s, key) || !take(s, ':', "expected a colon"))
        return false;
    s->n_replaced = n_replaced;
    if (key->size != strlen(field) || memcmp(lt_buf_cstr(key), field, key->size) != 0)
        return skip_value(s);
    if (*found)
        return fail(s, "the field is given twice");
    if (peek(s) != '"')
        return fail(s, "the field is not a string");
    *found = true;
    return string(s, out);
}

const char *lt_jsonl_field(const char *line, size_t n, const char *field, lt_buf *out,
                           uint64_t *n_replaced)
{
    scanner s = { .p = (const uint8_t *)line, .end = (const uint8_t *)line + n };
    lt_buf key = { 0 };
    bool found = false;

    if (take(&s, '{', "expected an object") && peek(&s) != '}')
        while (member(&s, field, &key, out, &found) && peek(&s) == ',')
            s.p++;
    lt_buf_release(&key);
    if (!s.wrong && take(&s, '}', "expected a comma or a closing brace") && peek(&s) != 0)
        fail(&s, "something follows the object");
    if (!s.wrong && s.p != s.end)
        fail(&s, "something follows the object");
    if (!s.wrong && !found)
        fail(&s, "the field is missing");
    *n_replaced += s.n_replaced;
    return s.wrong;
}
