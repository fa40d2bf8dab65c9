/* ckpt/json_scan.c - the pull scanner.  Strings are checked as UTF-8 here, once, so that nobody
 * after it needs to ask; numbers other than unsigned integers are only ever skipped. */
#include "ckpt/json_scan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

lt_err lt_json_scan_fail(const lt_json_scan *s, const char *fmt, ...)
{
    char text[LT_ERR_TEXT_BYTES / 2];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return lt_fail(LT_EFORMAT, "%s: byte %llu: %s", s->name, (unsigned long long)(s->base + s->at),
                   text);
}

/* The next byte after white space, 0 at the end; tells what kind of value follows. */
static char peek(lt_json_scan *s)
{
    while (s->at < s->size && s->text[s->at] != '\0' && strchr(" \t\r\n", s->text[s->at]))
        s->at++;
    return s->at < s->size ? s->text[s->at] : '\0';
}

static lt_err expect(lt_json_scan *s, char c)
{
    char found = peek(s);

    if (s->at == s->size)
        return lt_json_scan_fail(s, "expected '%c', found the end", c);
    if (found != c)
        return lt_json_scan_fail(s, "expected '%c', found 0x%02x", c, (unsigned char)found);
    s->at++;
    return LT_OK;
}

lt_err lt_json_scan_open(lt_json_scan *s, char bracket, lt_json_scan_in *in)
{
    *in = (lt_json_scan_in){ .close = bracket == '{' ? '}' : ']' };
    return expect(s, bracket);
}

lt_err lt_json_scan_next(lt_json_scan *s, lt_json_scan_in *in, bool *more)
{
    lt_err err;

    *more = peek(s) != in->close;
    if (!*more) {
        s->at++;
        return LT_OK;
    }
    if (in->n++ > 0)
        LT_TRY(err = expect(s, ','));
    return LT_OK;
fail:
    return err;
}

/* Bytes of the valid UTF-8 sequence at p, 0 if there is none in the n bytes that are left. */
static size_t utf8_length(const unsigned char *p, size_t n)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } forms[] = {
        { 0x80, 0x00, 0 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 }
    };

    for (size_t k = 0; k < LT_COUNT(forms) && k < n; k++) {
        uint32_t c = p[0] & (unsigned char)~forms[k].mask;

        if ((p[0] & forms[k].mask) != forms[k].lead)
            continue;
        for (size_t i = 1; i <= k; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return 0;
            c = c << 6 | (p[i] & 0x3f);
        }
        return c >= forms[k].least && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? k + 1 : 0;
    }
    return 0;
}

static size_t utf8_encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* Four hexadecimal digits at the position. */
static lt_err scan_hex4(lt_json_scan *s, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++) {
        char c = s->at < s->size ? s->text[s->at] : '\0';
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;

        if (digit < 0)
            return lt_json_scan_fail(s, "expected a hexadecimal digit of \\uXXXX");
        *out = *out << 4 | (uint32_t)digit;
        s->at++;
    }
    return LT_OK;
}

/* What follows a backslash, as UTF-8. */
static lt_err scan_escape(lt_json_scan *s, char out[4], size_t *n)
{
    static const char letters[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    char c = s->at < s->size ? s->text[s->at] : '\0';
    const char *found = c ? strchr(letters, c) : NULL;
    uint32_t code, low;
    lt_err err;

    if (found) {
        s->at++;
        out[0] = bytes[found - letters];
        *n = 1;
        return LT_OK;
    }
    if (c != 'u')
        return lt_json_scan_fail(s, "unknown escape in a string");
    s->at++;
    LT_TRY(err = scan_hex4(s, &code));
    if (code >= 0xd800 && code < 0xdc00 && s->size - s->at >= 2 && s->text[s->at] == '\\' &&
        s->text[s->at + 1] == 'u') {
        s->at += 2;
        LT_TRY(err = scan_hex4(s, &low));
        if (low < 0xdc00 || low > 0xdfff)
            return lt_json_scan_fail(s, "lone surrogate in a string");
        code = 0x10000 + ((code - 0xd800) << 10 | (low - 0xdc00));
    }
    if (code == 0 || (code >= 0xd800 && code <= 0xdfff))
        return lt_json_scan_fail(s, "%s in a string", code ? "lone surrogate" : "NUL");
    *n = utf8_encode(code, out);
    return LT_OK;
fail:
    return err;
}

/* A string into dst; with dst NULL it is only checked. */
static lt_err scan_string(lt_json_scan *s, char *dst, size_t capacity)
{
    size_t n = 0;
    lt_err err;

    LT_TRY(err = expect(s, '"'));
    for (;;) {
        char piece[4];
        size_t k = 0;

        if (s->at == s->size)
            return lt_json_scan_fail(s, "the string does not end");
        if (s->text[s->at] == '"')
            break;
        if (s->text[s->at] == '\\') {
            s->at++;
            LT_TRY(err = scan_escape(s, piece, &k));
        } else {
            k = utf8_length((const unsigned char *)s->text + s->at, s->size - s->at);
            if (k == 0 || (unsigned char)s->text[s->at] < 0x20)
                return lt_json_scan_fail(s, "byte 0x%02x in a string is not valid UTF-8 text",
                                         (unsigned char)s->text[s->at]);
            memcpy(piece, s->text + s->at, k);
            s->at += k;
        }
        if (!dst)
            continue;
        if (n + k >= capacity)
            return lt_json_scan_fail(s, "the string is longer than %zu bytes", capacity - 1);
        memcpy(dst + n, piece, k);
        n += k;
    }
    s->at++;
    if (dst)
        dst[n] = '\0';
    return LT_OK;
fail:
    return err;
}

lt_err lt_json_scan_string(lt_json_scan *s, char *dst, size_t capacity)
{
    return scan_string(s, dst, capacity);
}

lt_err lt_json_scan_key(lt_json_scan *s, char *dst, size_t capacity)
{
    lt_err err;

    LT_TRY(err = scan_string(s, dst, capacity));
    LT_TRY(err = expect(s, ':'));
    return LT_OK;
fail:
    return err;
}

lt_err lt_json_scan_known_key(lt_json_scan *s, const char *const *keys, int n, uint32_t *seen,
                              int *index)
{
    char key[256];
    lt_err err;

    LT_BUG_ON(n > 32);
    LT_TRY(err = lt_json_scan_key(s, key, sizeof key));
    *index = -1;
    for (int i = 0; i < n; i++) {
        if (strcmp(key, keys[i]) != 0)
            continue;
        if (*seen & 1u << i)
            return lt_json_scan_fail(s, "\"%s\" stands twice", key);
        *seen |= 1u << i;
        *index = i;
    }
    return LT_OK;
fail:
    return err;
}

lt_err lt_json_scan_u64(lt_json_scan *s, uint64_t *out)
{
    char c = peek(s);
    size_t start = s->at;
    uint64_t v = 0;

    for (; c >= '0' && c <= '9'; c = s->at < s->size ? s->text[s->at] : '\0') {
        if (!lt_size_muladd(v, 10, (uint64_t)(c - '0'), &v))
            return lt_json_scan_fail(s, "the number does not fit into 64 bits");
        s->at++;
    }
    if (s->at == start)
        return lt_json_scan_fail(s, "expected an unsigned integer");
    if (c == '.' || c == 'e' || c == 'E' || (s->text[start] == '0' && s->at - start > 1))
        return lt_json_scan_fail(s, "expected a plain unsigned integer");
    *out = v;
    return LT_OK;
}

static bool take_word(lt_json_scan *s, const char *word)
{
    size_t n = strlen(word);

    if (s->size - s->at < n || memcmp(s->text + s->at, word, n) != 0)
        return false;
    s->at += n;
    return true;
}

lt_err lt_json_scan_bool(lt_json_scan *s, bool *out)
{
    peek(s);
    *out = take_word(s, "true");
    return *out || take_word(s, "false") ? LT_OK : lt_json_scan_fail(s, "expected true or false");
}

/* A string, number or word: whatever is no container. */
static lt_err skip_scalar(lt_json_scan *s)
{
    char c = peek(s);
    size_t start = s->at;

    if (c == '"')
        return scan_string(s, NULL, 0);
    if (take_word(s, "true") || take_word(s, "false") || take_word(s, "null"))
        return LT_OK;
    while (s->at < s->size && s->text[s->at] != '\0' && strchr("+-.0123456789eE", s->text[s->at]))
        s->at++;
    return s->at > start ? LT_OK : lt_json_scan_fail(s, "expected a value");
}

lt_err lt_json_scan_skip(lt_json_scan *s)
{
    lt_json_scan_in in[LT_JSON_SCAN_DEPTH];
    int depth = 0;
    lt_err err;

    do {
        char c;
        bool more = true;

        if (depth > 0) {
            LT_TRY(err = lt_json_scan_next(s, &in[depth - 1], &more));
            if (!more) {
                depth--;
                continue;
            }
            if (in[depth - 1].close == '}') {
                LT_TRY(err = scan_string(s, NULL, 0));
                LT_TRY(err = expect(s, ':'));
            }
        }
        c = peek(s);
        if (c != '{' && c != '[') {
            LT_TRY(err = skip_scalar(s));
            continue;
        }
        if (depth == LT_JSON_SCAN_DEPTH)
            return lt_json_scan_fail(s, "nested deeper than %d", LT_JSON_SCAN_DEPTH);
        LT_TRY(err = lt_json_scan_open(s, c, &in[depth++]));
    } while (depth > 0);
    return LT_OK;
fail:
    return err;
}

lt_err lt_json_scan_end(lt_json_scan *s)
{
    peek(s);
    return s->at == s->size ? LT_OK : lt_json_scan_fail(s, "expected the end");
}
