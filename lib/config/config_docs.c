/* config/config_docs.c - docs/config.md from the option table. */
#include "config/config.h"
#include "config/setting.h"

#include <string.h>

static const char head[] =
    "# Configuration\n"
    "\n"
    "Generated from the option table in `lib/config/` by `lt-train --config-docs`; `make check`\n"
    "compares.\n"
    "\n"
    "`lt-train CONFIG.yaml [--section.key=value ...]`: a default gives way to the file, the file\n"
    "to the command line. `lt-train CONFIG.yaml --print-config` shows every effective value and\n"
    "where it came from, as YAML that loads again.\n"
    "\n"
    "- The file is YAML of at most 1 MiB and 32 levels; JSON is YAML too. Anchors, aliases and\n"
    "  tags are refused. A key that stands twice or is not known is an error with file, line and\n"
    "  column; so is a value of the wrong type: `\"8\"` in quotes is no integer.\n"
    "- `null`, and `auto` in the deepspeed sections, mean \"not given\". Integers may be written\n"
    "  `5e8`, or with k, M, G for thousands, millions, billions.\n"
    "- On the command line a list is comma-separated, `\\,` is a comma inside an item, and a list\n"
    "  of texts may also be given by repeating the option. Otherwise the last one counts.\n"
    "  `--key=` with nothing after it is an error, except for a list of texts.\n"
    "- Where two keys name one setting (\"= key\" below) they must agree; on the command line\n"
    "  either name replaces both.\n"
    "- A DeepSpeed key whose feature lt does not have is refused as \"known, not supported yet\"\n"
    "  unless it says what is the case anyway (`enabled: false`, or its default).\n";

static void append_type(lt_buf *out, const lt_setting *s)
{
    switch (s->type) {
    case LT_SETTING_BOOL:
        lt_buf_printf(out, "true, false");
        break;
    case LT_SETTING_INT:
        lt_buf_printf(out, "integer");
        break;
    case LT_SETTING_REAL:
        lt_buf_printf(out, "number");
        break;
    case LT_SETTING_TIME:
        lt_buf_printf(out, "seconds or [D-]HH:MM:SS");
        return; /* time has no other bound than 0 */
    case LT_SETTING_WORD:
        for (const lt_setting_word *w = s->words; w->name; w++)
            if (w->value >= 0)
                lt_buf_printf(out, "%s%s", w == s->words ? "" : ", ", w->name);
        break;
    case LT_SETTING_TEXT:
        lt_buf_printf(out, "text");
        break;
    case LT_SETTING_PAIR:
        lt_buf_printf(out, "two numbers");
        break;
    case LT_SETTING_TEXTS:
        lt_buf_printf(out, "list of texts");
        break;
    case LT_SETTING_ONOFF:
    case LT_SETTING_SECTION:
        lt_buf_printf(out, "section");
        break;
    }
    if (s->max > s->min && s->max >= 1e15)
        lt_buf_printf(out, " from %.15g", s->min);
    else if (s->max > s->min)
        lt_buf_printf(out, " %.15g to %.15g", s->min, s->max);
}

static bool is_heading(const lt_setting *s)
{
    return s->type == LT_SETTING_ONOFF ||
           (s->type == LT_SETTING_SECTION && s->status == LT_SETTING_OURS);
}

static bool is_plain_row(const lt_setting *s)
{
    return s->status == LT_SETTING_OURS || s->status == LT_SETTING_DEEPSPEED;
}

/* Does row i begin a table: is the next row one of its keys? */
static bool has_rows(size_t i)
{
    const char *key = lt_setting_at(i)->key;
    size_t n = strlen(key);

    for (i++; i < lt_setting_count(); i++) {
        const lt_setting *s = lt_setting_at(i);

        if (is_plain_row(s) && !is_heading(s) && strncmp(s->key, key, n) == 0 &&
            s->key + n + 1 == lt_setting_last(s->key))
            return true;
    }
    return false;
}

static void append_heading(lt_buf *out, const char *key, const char *help)
{
    lt_buf_printf(out, "\n## %s\n", key);
    if (*help)
        lt_buf_printf(out, "\n%s\n", help);
    lt_buf_printf(out, "\n| key | value | default | meaning |\n|---|---|---|---|\n");
}

static void append_row(lt_buf *out, size_t i)
{
    const lt_setting *s = lt_setting_at(i);
    size_t owner = (size_t)lt_setting_owner((int)i);

    lt_buf_printf(out, "| %s | ", lt_setting_last(s->key));
    append_type(out, s);
    lt_buf_printf(out, " | %s | ", s->unless_given ? s->unless_given : "");
    if (owner != i)
        lt_buf_printf(out, "= %s%s", lt_setting_at(owner)->key, *s->help ? "; " : "");
    lt_buf_printf(out, "%s |\n", s->help);
}

/* Keys of one status as a table with full names. */
static void append_status(lt_buf *out, lt_setting_status status, const char *heading,
                          const char *text)
{
    lt_buf_printf(out, "\n## %s\n\n%s\n\n| key | value | note |\n|---|---|---|\n", heading, text);
    for (size_t i = 0; i < lt_setting_count(); i++) {
        const lt_setting *s = lt_setting_at(i);

        if (s->status != status)
            continue;
        lt_buf_printf(out, "| %s | ", s->key);
        append_type(out, s);
        if (status == LT_SETTING_LATER && s->unless_given)
            lt_buf_printf(out, "; only %s", s->unless_given);
        lt_buf_printf(out, " | %s |\n", s->help);
    }
}

void lt_config_docs(FILE *out)
{
    lt_buf b = { 0 };
    bool in_section = true;

    lt_buf_printf(&b, "%s", head);
    for (size_t i = 0; i < lt_setting_count(); i++) {
        const lt_setting *s = lt_setting_at(i);

        if (is_heading(s)) {
            if (has_rows(i))
                append_heading(&b, s->key, s->help);
            in_section = true;
        } else if (is_plain_row(s)) {
            if (in_section && !strchr(s->key, '.'))
                append_heading(&b, "Top level", "Where it runs.");
            in_section = strchr(s->key, '.') != NULL;
            append_row(&b, i);
        }
    }
    append_status(&b, LT_SETTING_NO_EFFECT, "Accepted without effect",
                  "What these tune does not exist here, or is always so. --print-config says it.");
    append_status(&b, LT_SETTING_LATER, "Known, not supported yet",
                  "Refused by name, unless the value is the one that is the case anyway.");
    fwrite(lt_buf_cstr(&b), 1, b.size, out); /* whoever owns `out` checks its end */
    lt_buf_release(&b);
}
