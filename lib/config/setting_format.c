/* config/setting_format.c - values as YAML that reads back the same. */
#include "config/setting_value.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void lt_real_format(lt_buf *out, double x)
{
    char text[32];

    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    lt_buf_printf(out, "%s", text);
}

static const char *word_name(const lt_setting *s, int64_t value)
{
    for (const lt_setting_word *w = s->words; w->name; w++)
        if (w->value == value)
            return w->name;
    return NULL;
}

/* A double-quoted YAML scalar.  JSON's escapes are YAML's; beyond ASCII, YAML wants more of them:
 * C1 controls, its further line breaks, the byte order mark and the two that are no characters. */
static void format_quoted(lt_buf *out, const char *text)
{
    lt_buf json = { 0 };

    lt_json_quote(&json, text, strlen(text)); /* well-formed UTF-8 from here on */
    for (size_t i = 0; i < json.size;) {
        const unsigned char *p = (const unsigned char *)json.data + i;
        size_t n = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
        unsigned u = n == 2   ? (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu)
                     : n == 3 ? (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu)
                              : 0;

        if ((u >= 0x80 && u < 0xa0) || u == 0x2028 || u == 0x2029 || u == 0xfeff || u > 0xfffd)
            lt_buf_printf(out, "\\u%04x", u);
        else
            lt_buf_append(out, p, n);
        i += n;
    }
    lt_buf_release(&json);
}

/* Plain where YAML reads it back as the same text, else quoted. */
static void format_text(lt_buf *out, const char *text)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
    bool b;

    if (*text && *text != '-' && strspn(text, plain) == strlen(text) &&
        !lt_is_bool_text(text, &b) && strcasecmp(text, "null") != 0)
        lt_buf_printf(out, "%s", text);
    else
        format_quoted(out, text);
}

/* Whole hours and more as a clock, else a number of seconds. */
static void format_time(lt_buf *out, double seconds)
{
    int64_t s = seconds < 1e15 ? (int64_t)seconds : -1;
    int hours = (int)(s / 3600 % 24), minutes = (int)(s / 60 % 60), rest = (int)(s % 60);

    if ((double)s != seconds)
        lt_real_format(out, seconds);
    else if (s < 3600)
        lt_buf_printf(out, "%d", (int)s);
    else if (s < 86400)
        lt_buf_printf(out, "%02d:%02d:%02d", hours, minutes, rest);
    else
        lt_buf_printf(out, "%lld-%02d:%02d:%02d", (long long)(s / 86400), hours, minutes, rest);
}

void lt_setting_format(lt_buf *out, const lt_setting *s, const lt_setting_value *v)
{
    switch (s->type) {
    case LT_SETTING_BOOL:
        lt_buf_printf(out, "%s", v->i ? "true" : "false");
        break;
    case LT_SETTING_INT:
        lt_buf_printf(out, "%lld", (long long)v->i);
        break;
    case LT_SETTING_REAL:
        lt_real_format(out, v->r[0]);
        break;
    case LT_SETTING_TIME:
        format_time(out, v->r[0]);
        break;
    case LT_SETTING_WORD:
    case LT_SETTING_ONOFF: {
        const char *name = word_name(s, v->i);

        lt_buf_printf(out, "%s", name ? name : "null");
        break;
    }
    case LT_SETTING_TEXT:
        format_text(out, v->text);
        break;
    case LT_SETTING_PAIR:
        lt_buf_append(out, "[", 1);
        lt_real_format(out, v->r[0]);
        lt_buf_append(out, ", ", 2);
        lt_real_format(out, v->r[1]);
        lt_buf_append(out, "]", 1);
        break;
    case LT_SETTING_TEXTS:
        lt_buf_append(out, "[", 1);
        for (size_t i = 0; i < v->list.n; i++) {
            lt_buf_printf(out, "%s", i ? ", " : "");
            format_quoted(out, v->list.items[i]);
        }
        lt_buf_append(out, "]", 1);
        break;
    case LT_SETTING_SECTION:
        break;
    }
}
