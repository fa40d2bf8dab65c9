/* config/config_print.c - the effective configuration as YAML that loads again.
 *
 * A second name of a setting prints only where it was given, keys without effect and parameters of
 * a scheduler that is not used likewise. */
#include "config/origin.h"

#include <string.h>

#define SCHEDULER "deepspeed.scheduler."

enum { COMMENT_COLUMN = 44 };

/* Section lines down to the parent of `key`,
 * as far as `open` (the section printed last) differs. */
static void open_sections(lt_buf *out, const char *key, char *open, size_t room)
{
    const char *last = lt_setting_last(key);
    size_t n_parent = last == key ? 0 : (size_t)(last - key) - 1, from = 0;

    if (strlen(open) == n_parent && strncmp(open, key, n_parent) == 0)
        return;
    for (int depth = 0; from < n_parent; depth++) {
        const char *dot = memchr(key + from, '.', n_parent - from);
        size_t end = dot ? (size_t)(dot - key) : n_parent;
        bool is_open = strncmp(open, key, end) == 0 && (open[end] == '.' || open[end] == '\0');

        if (!is_open) {
            lt_buf_printf(out, "%*s%.*s:\n", 2 * depth, "", (int)(end - from), key + from);
            open[0] = '\0'; /* what lies deeper has to be opened too */
        }
        from = end + 1;
    }
    snprintf(open, room, "%.*s", (int)n_parent, key);
}

static int depth_of(const char *key)
{
    int depth = 0;

    for (; *key; key++)
        depth += *key == '.';
    return depth;
}

/* null where nothing was given and nothing follows: then it reads back as not given. */
static void append_value(const lt_config *c, int row, lt_buf *out)
{
    const lt_setting *s = lt_setting_at((size_t)row);
    lt_setting_value v;

    if (s->offset == LT_SETTING_NO_FIELD) {
        const char *text = c->origins->of[row].text;

        lt_buf_printf(out, "%s", text ? text : "{}");
        return;
    }
    v = lt_setting_fetch(c, s);
    if (c->origins->of[lt_setting_owner(row)].rank == LT_FROM_DEFAULT && !s->unless_given)
        lt_buf_printf(out, "null");
    else
        lt_setting_format(out, s, &v);
}

static void append_origin(const lt_config *c, int row, lt_buf *out)
{
    const lt_setting *s = lt_setting_at((size_t)row);
    const lt_origin *o = &c->origins->of[row];
    int owner = lt_setting_owner(row);

    if (o->rank == LT_FROM_FILE)
        lt_buf_printf(out, "%s:%d", c->origins->name, o->line);
    else if (o->rank == LT_FROM_ARGV)
        lt_buf_printf(out, "argv");
    else if (o->rank == LT_FROM_DERIVED)
        lt_buf_printf(out, "derived: %s", o->why);
    else
        lt_buf_printf(out, "default");
    if (owner != row)
        lt_buf_printf(out, ", the same as %s", lt_setting_at((size_t)owner)->key);
    else if (o->rank >= LT_FROM_FILE && o->by != row)
        lt_buf_printf(out, " (%s)", lt_setting_at((size_t)o->by)->key);
    if (s->status == LT_SETTING_NO_EFFECT)
        lt_buf_printf(out, ", no effect here%s%s", *s->help ? ": " : "", s->help);
}

static bool is_shown(const lt_config *c, int row)
{
    const lt_setting *s = lt_setting_at((size_t)row);
    bool given = c->origins->of[row].rank >= LT_FROM_FILE;

    if (s->type == LT_SETTING_ONOFF)
        return false; /* its field prints as the section's device */
    if (s->type == LT_SETTING_SECTION)
        return given && s->status == LT_SETTING_NO_EFFECT;
    if (strncmp(s->key, SCHEDULER, strlen(SCHEDULER)) == 0 &&
        c->training.lr_schedule <= LT_LR_CONSTANT)
        return given;
    return given || (s->offset != LT_SETTING_NO_FIELD && lt_setting_owner(row) == row);
}

static void append_all(const lt_config *c, bool with_origins, lt_buf *out)
{
    char open[128] = "";

    for (int row = 0; row < (int)lt_setting_count(); row++) {
        const char *key = lt_setting_at((size_t)row)->key;
        size_t start;
        int pad;

        if (!is_shown(c, row))
            continue;
        open_sections(out, key, open, sizeof open);
        start = out->size;
        lt_buf_printf(out, "%*s%s: ", 2 * depth_of(key), "", lt_setting_last(key));
        append_value(c, row, out);
        if (with_origins) {
            pad = COMMENT_COLUMN - (int)(out->size - start);
            lt_buf_printf(out, "%*s # ", pad > 0 ? pad : 0, "");
            append_origin(c, row, out);
        }
        lt_buf_append(out, "\n", 1);
    }
}

void lt_config_print(const lt_config *c, FILE *out)
{
    lt_buf b = { 0 };

    append_all(c, true, &b);
    fwrite(lt_buf_cstr(&b), 1, b.size, out); /* whoever owns `out` checks its end */
    lt_buf_release(&b);
}

void lt_config_digest_text(const lt_config *c, lt_buf *out)
{
    append_all(c, false, out);
}
