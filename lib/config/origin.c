/* config/origin.c - origins of values, sentences that name them, and derived values. */
#include "config/origin.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int row_of(const char *key)
{
    int row = lt_setting_find(key);

    LT_BUG_ON(row < 0);
    return row;
}

lt_origin *lt_origin_of(const lt_config *c, const char *key)
{
    return &c->origins->of[lt_setting_owner(row_of(key))];
}

void lt_origin_adopt(lt_origin *to, const lt_origin *given)
{
    to->rank = given->rank;
    to->line = given->line;
    to->column = given->column;
    to->by = given->by;
}

bool lt_config_given(const lt_config *c, const char *key)
{
    return lt_origin_of(c, key)->rank >= LT_FROM_FILE;
}

bool lt_origin_section_given(const lt_config *c, const char *prefix)
{
    size_t n = strlen(prefix);

    for (size_t i = 0; i < lt_setting_count(); i++) {
        const char *key = lt_setting_at(i)->key;

        if (strncmp(key, prefix, n) == 0 && key[n] == '.' && c->origins->of[i].rank >= LT_FROM_FILE)
            return true;
    }
    return false;
}

void lt_config_where(const lt_config *c, const char *key, lt_buf *out)
{
    const lt_origin *o = lt_origin_of(c, key);

    switch (o->rank) {
    case LT_FROM_DEFAULT:
        lt_buf_printf(out, "default");
        break;
    case LT_FROM_DERIVED:
        lt_buf_printf(out, "derived: %s", o->why);
        break;
    case LT_FROM_FILE:
        lt_buf_printf(out, "%s:%d", c->origins->name, o->line);
        break;
    case LT_FROM_ARGV:
        lt_buf_printf(out, "--%s", lt_setting_at((size_t)o->by)->key);
        break;
    }
}

lt_err lt_setting_fail(const lt_config *c, lt_err code, const char *key, const char *fmt, ...)
{
    const lt_origin *o = lt_origin_of(c, key);
    char text[LT_ERR_TEXT_BYTES];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (o->rank >= LT_FROM_FILE)
        key = lt_setting_at((size_t)o->by)->key;
    if (o->rank == LT_FROM_FILE)
        return lt_fail(code, "%s:%d:%d: %s: %s", c->origins->name, o->line, o->column, key, text);
    if (o->rank == LT_FROM_ARGV)
        return lt_fail(code, "--%s: %s", key, text);
    return lt_fail(code, "%s: %s: %s", c->origins->name, key, text);
}

static void derive(lt_config *c, const char *key, lt_setting_value *v, const char *why)
{
    lt_origin *o = lt_origin_of(c, key);

    lt_setting_store(c, lt_setting_at((size_t)row_of(key)), v);
    o->rank = LT_FROM_DERIVED;
    o->by = row_of(key);
    free(o->why);
    o->why = lt_strdup(why);
}

void lt_derive_int(lt_config *c, const char *key, int64_t x, const char *why)
{
    derive(c, key, &(lt_setting_value){ .i = x }, why);
}

void lt_derive_real(lt_config *c, const char *key, double x, const char *why)
{
    derive(c, key, &(lt_setting_value){ .r = { x } }, why);
}

void lt_derive_text(lt_config *c, const char *key, const char *text, const char *why)
{
    derive(c, key, &(lt_setting_value){ .text = lt_strdup(text) }, why);
}

void lt_derive_parsed(lt_config *c, const char *key, const char *text, const char *why)
{
    lt_setting_value v;
    lt_err err = lt_setting_parse_text(&v, lt_setting_at((size_t)row_of(key)), text);

    LT_BUG_ON(err != LT_OK);
    derive(c, key, &v, why);
}

void lt_setting_forget(lt_config *c, const char *key)
{
    lt_setting_clear(c, lt_setting_at((size_t)row_of(key)));
    lt_origin_of(c, key)->rank = LT_FROM_DEFAULT;
}
