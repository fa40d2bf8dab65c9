/* config/config_read.c - YAML and argv to given values, given values to the struct.
 *
 * First every key that was given is parsed by its row; then the names of one setting are folded
 * into its field: argv wins over the file, and two names of the same rank must agree.  What follows
 * from other settings is config_resolve.c's. */
#include "config/config.h"
#include "base/file.h"
#include "base/json.h"
#include "config/config_resolve.h"
#include "config/origin.h"

#include <stdlib.h>
#include <string.h>

typedef struct reader {
    lt_config *config;
    lt_origin *of;           /* the config's, by row */
    lt_setting_value *given; /* by row; valid where of[row].rank >= LT_FROM_FILE */
} reader;

enum { LONGEST_KEY = 128 };

/* "c.yaml:3:15: key" or "--key" in front of the recorded sentence. */
static lt_err fail_in_place(const reader *r, const lt_yaml_node *node, const char *key)
{
    if (node->line > 0)
        return lt_fail_in("%s:%d:%d: %s", r->config->origins->name, node->line, node->column, key);
    return lt_fail_in("--%s", key);
}

static lt_err fail_unknown(const reader *r, const lt_yaml_node *node, const char *key)
{
    lt_buf text = { 0 }, near = { 0 };
    lt_err err;

    if (node->line > 0)
        lt_buf_printf(&text, "%s:%d:%d: unknown key ", r->config->origins->name, node->key_line,
                      node->key_column);
    else
        lt_buf_printf(&text, "--");
    lt_yaml_quote_found(&text, key);
    lt_buf_printf(&text, node->line > 0 ? "" : ": unknown key");
    if (lt_setting_suggest(key, &near))
        lt_buf_printf(&text, ": did you mean %s?", lt_buf_cstr(&near));
    else
        lt_buf_printf(&text, "; lt-train --config-docs lists them all");
    err = lt_fail(LT_EUSAGE, "%s", lt_buf_cstr(&text));
    lt_buf_release(&text);
    lt_buf_release(&near);
    return err;
}

static lt_setting_value default_of(const lt_setting *s)
{
    lt_setting_value v;
    lt_err err = lt_setting_parse_text(&v, s, s->unless_given);

    LT_BUG_ON(err != LT_OK); /* the table is wrong */
    return v;
}

/* A LATER row: its default is harmless, anything else is refused by name. */
static lt_err check_later(const lt_setting *s, const lt_setting_value *v)
{
    if (s->unless_given) {
        lt_setting_value normal = default_of(s);
        bool same = lt_setting_equal(s, v, &normal);

        lt_setting_value_release(&normal);
        if (same)
            return LT_OK;
    }
    return lt_fail(LT_EUSAGE, "known, not supported yet%s%s", *s->help ? ": " : "", s->help);
}

/* `enabled: false` in it, or false in its place. */
static bool is_switched_off(const lt_yaml_node *section)
{
    const lt_yaml_node *c;

    if (section->kind == LT_YAML_PLAIN)
        return strcmp(section->text, "false") == 0;
    for (c = section->child; c; c = c->next)
        if (strcmp(c->key ? c->key : "", "enabled") == 0 && c->kind == LT_YAML_PLAIN)
            return strcmp(c->text, "false") == 0;
    return false;
}

/* Are the keys inside not looked at? */
static bool is_opaque(const lt_setting *s)
{
    return s->status == LT_SETTING_NO_EFFECT || s->status == LT_SETTING_LATER;
}

static void mark(reader *r, int row, const lt_yaml_node *node)
{
    lt_origin *o = &r->of[row];

    o->rank = node->line > 0 ? LT_FROM_FILE : LT_FROM_ARGV;
    o->line = node->line;
    o->column = node->column;
    o->by = row;
}

/* A row without a field keeps the text for --print-config. */
static void keep_text(reader *r, int row, const lt_setting_value *v)
{
    lt_buf text = { 0 };

    lt_setting_format(&text, lt_setting_at((size_t)row), v);
    free(r->of[row].text);
    r->of[row].text = lt_strdup(lt_buf_cstr(&text));
    lt_buf_release(&text);
}

static void append_list(lt_setting_value *to, const lt_setting_value *from)
{
    size_t n = to->list.n + from->list.n;
    char **items = lt_new_array0(n, sizeof *items);

    for (size_t i = 0; i < n; i++)
        items[i] = i < to->list.n ? to->list.items[i] : lt_strdup(from->list.items[i - to->list.n]);
    free(to->list.items);
    to->list = (lt_config_strings){ .items = items, .n = n };
}

/* null, and auto in the deepspeed sections (in quotes too: JSON has no other way). */
static bool is_not_given(const lt_setting *s, const lt_yaml_node *node)
{
    if (node->kind == LT_YAML_NULL)
        return true;
    return node->text && strcmp(node->text, "auto") == 0 && strncmp(s->key, "deepspeed.", 10) == 0;
}

/* A value was given to `row`. */
static lt_err take(reader *r, int row, const lt_yaml_node *node)
{
    const lt_setting *s = lt_setting_at((size_t)row);
    lt_setting_value v = { 0 };
    lt_err err;

    if (is_not_given(s, node)) {
        r->of[row].rank = LT_FROM_DEFAULT;
        return LT_OK;
    }
    if (s->type == LT_SETTING_SECTION && is_opaque(s)) {
        if (s->status == LT_SETTING_LATER && !is_switched_off(node))
            LT_TRY(err = check_later(s, &v));
        mark(r, row, node);
        return LT_OK;
    }
    LT_TRY(err = lt_setting_parse(&v, s, node));
    if (s->status == LT_SETTING_LATER)
        LT_TRY(err = check_later(s, &v));
    if (s->offset == LT_SETTING_NO_FIELD)
        keep_text(r, row, &v);
    if (node->line == 0 && s->type == LT_SETTING_TEXTS && r->of[row].rank == LT_FROM_ARGV) {
        append_list(&r->given[row], &v);
        lt_setting_value_release(&v);
    } else {
        lt_setting_value_release(&r->given[row]);
        r->given[row] = v;
    }
    mark(r, row, node);
    return LT_OK;
fail:
    lt_setting_value_release(&v);
    return fail_in_place(r, node, s->key);
}

/* Every key of the section `path` ("" is the root). */
static lt_err walk(reader *r, const lt_yaml_node *map, const char *path)
{
    char key[LONGEST_KEY];
    lt_err err;

    for (const lt_yaml_node *c = map->child; c; c = c->next) {
        int n = snprintf(key, sizeof key, "%s%s%s", path, *path ? "." : "", c->key);
        int row = n < (int)sizeof key ? lt_setting_find(key) : -1;
        const lt_setting *s = row >= 0 ? lt_setting_at((size_t)row) : NULL;
        bool is_section = s && (s->type == LT_SETTING_SECTION || s->type == LT_SETTING_ONOFF);

        if (!s)
            return fail_unknown(r, c, n < (int)sizeof key ? key : c->key);
        if (is_section && !is_opaque(s) && c->kind == LT_YAML_MAP)
            LT_TRY(err = walk(r, c, key));
        else
            LT_TRY(err = take(r, row, c));
    }
    return LT_OK;
fail:
    return err;
}

/* YAML is UTF-8 by then; a checkpoint's configuration must be too. */
static bool is_utf8(const char *text)
{
    json_t *string = json_string(text); /* NULL for anything else */

    json_decref(string);
    return string != NULL;
}

/* "--key=value" */
static lt_err take_override(reader *r, const char *arg)
{
    const char *equals = strchr(arg, '=');
    lt_yaml_node where = { 0 };
    lt_yaml_tree tree = { 0 };
    char key[LONGEST_KEY];
    lt_err err;
    int row;

    if (strncmp(arg, "--", 2) != 0 || !equals)
        return lt_fail(LT_EUSAGE, "%.100s: expected --section.key=value", arg);
    snprintf(key, sizeof key, "%.*s", (int)(equals - arg < 100 ? equals - arg : 100) - 2, arg + 2);
    row = lt_setting_find(key);
    if (row < 0)
        return fail_unknown(r, &where, key);
    if (!is_utf8(equals + 1))
        return lt_fail(LT_EUSAGE, "--%s: expected UTF-8 text, found other bytes", key);
    if (lt_setting_at((size_t)row)->type == LT_SETTING_SECTION)
        return lt_fail(LT_EUSAGE, "--%s: this is a section, give one of its keys", key);
    err = take(r, row, lt_setting_node(&tree, lt_setting_at((size_t)row), equals + 1));
    lt_yaml_tree_release(&tree);
    return err;
}

static lt_err fail_disagree(const reader *r, int a, int b)
{
    const lt_setting *sa = lt_setting_at((size_t)a), *sb = lt_setting_at((size_t)b);
    lt_buf text = { 0 };
    lt_err err;

    lt_setting_format(&text, sa, &r->given[a]);
    if (r->of[a].rank == LT_FROM_FILE)
        lt_buf_printf(&text, " (%s:%d)", r->config->origins->name, r->of[a].line);
    lt_buf_printf(&text, " and %s: ", sb->key);
    lt_setting_format(&text, sb, &r->given[b]);
    if (r->of[b].rank == LT_FROM_FILE)
        lt_buf_printf(&text, " (%s:%d)", r->config->origins->name, r->of[b].line);
    err = lt_fail(LT_EUSAGE, "%s: %s are one setting and must agree", sa->key, lt_buf_cstr(&text));
    lt_buf_release(&text);
    return err;
}

/* The names of each setting into its one field: the highest rank wins, equals must agree. */
static lt_err fold(reader *r)
{
    int n = (int)lt_setting_count();
    int *winner = lt_new_array0((size_t)n, sizeof *winner); /* row + 1; 0: none */
    lt_err err = LT_OK;

    for (int row = 0; row < n; row++) {
        const lt_setting *s = lt_setting_at((size_t)row);
        int owner = lt_setting_owner(row), best = winner[owner] - 1;

        if (r->of[row].rank < LT_FROM_FILE || s->offset == LT_SETTING_NO_FIELD)
            continue;
        if (best >= 0 && r->of[best].rank == r->of[row].rank &&
            !lt_setting_equal(s, &r->given[best], &r->given[row]))
            LT_TRY(err = fail_disagree(r, best, row));
        if (best < 0 || r->of[row].rank > r->of[best].rank)
            winner[owner] = row + 1;
    }
    for (int owner = 0; owner < n; owner++) {
        int best = winner[owner] - 1;

        if (best < 0)
            continue;
        lt_setting_store(r->config, lt_setting_at((size_t)owner), &r->given[best]);
        r->given[best] = (lt_setting_value){ 0 };
        lt_origin_adopt(&r->of[owner], &r->of[best]);
    }
fail:
    free(winner);
    return err;
}

static lt_config *config_new(const char *name)
{
    lt_config *c = lt_new0(sizeof *c);
    size_t n = lt_setting_count();

    c->origins = lt_new0(sizeof *c->origins);
    c->origins->name = lt_strdup(name);
    c->origins->of = lt_new_array0(n, sizeof *c->origins->of);
    for (size_t i = 0; i < n; i++) {
        const lt_setting *s = lt_setting_at(i);

        c->origins->of[i].by = (int)i;
        if (s->offset == LT_SETTING_NO_FIELD || lt_setting_owner((int)i) != (int)i)
            continue;
        lt_setting_clear(c, s);
        if (s->unless_given) {
            lt_setting_value v = default_of(s);

            lt_setting_store(c, s, &v);
        }
    }
    return c;
}

void lt_config_free(lt_config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < lt_setting_count(); i++) {
        const lt_setting *s = lt_setting_at(i);
        lt_setting_value v = { 0 };

        if (s->offset != LT_SETTING_NO_FIELD && lt_setting_owner((int)i) == (int)i)
            lt_setting_store(c, s, &v); /* frees what the field owned */
        free(c->origins->of[i].why);
        free(c->origins->of[i].text);
    }
    free(c->origins->of);
    free(c->origins->name);
    free(c->origins);
    free(c);
}

bool lt_config_is_option(const char *arg)
{
    const char *equals = strchr(arg, '=');
    size_t n = equals ? (size_t)(equals - arg) : strlen(arg);
    char key[LONGEST_KEY];

    if (strncmp(arg, "--", 2) != 0 || n <= 2 || n >= sizeof key)
        return false;
    snprintf(key, sizeof key, "%.*s", (int)n - 2, arg + 2);
    return strpbrk(key, "._") || lt_setting_find(key) >= 0;
}

int lt_config_take_options(int *argc, char **argv, const char **overrides)
{
    int kept = 1, n = 0;

    for (int i = 1; i < *argc; i++) {
        if (strpbrk(argv[i], "._=") && lt_config_is_option(argv[i]))
            overrides[n++] = argv[i];
        else
            argv[kept++] = argv[i];
    }
    argv[kept] = NULL;
    *argc = kept;
    return n;
}

lt_err lt_config_parse(lt_config **out, const char *text, size_t n, const char *name,
                       int n_overrides, const char *const *overrides)
{
    reader r = { 0 };
    lt_yaml_tree tree = { 0 };
    lt_yaml_node *root;
    lt_err err;

    LT_TRY(err = lt_yaml_parse(&tree, &root, text, n, name));
    r.config = config_new(name);
    r.of = r.config->origins->of;
    r.given = lt_new_array0(lt_setting_count(), sizeof *r.given);
    LT_TRY(err = walk(&r, root, ""));
    for (int i = 0; i < n_overrides; i++)
        LT_TRY(err = take_override(&r, overrides[i]));
    LT_TRY(err = fold(&r));
    LT_TRY(err = lt_config_resolve(r.config));
    *out = r.config;
    r.config = NULL;
fail:
    for (size_t i = 0; r.given && i < lt_setting_count(); i++)
        lt_setting_value_release(&r.given[i]);
    free(r.given);
    lt_yaml_tree_release(&tree);
    lt_config_free(r.config);
    return err;
}

lt_err lt_config_load(lt_config **out, const char *yaml_path, int n_overrides,
                      const char *const *overrides)
{
    const char *name = strcmp(yaml_path, "-") == 0 ? "standard input" : yaml_path;
    lt_config *c = NULL;
    lt_buf text = { 0 };
    lt_err err;

    LT_TRY(err = lt_file_read_all(&text, yaml_path, LT_YAML_MAX_BYTES));
    LT_TRY(err = lt_config_parse(&c, text.data, text.size, name, n_overrides, overrides));
    LT_TRY(err = lt_config_resolve_model(c));
    *out = c;
    c = NULL;
fail:
    lt_config_free(c);
    lt_buf_release(&text);
    return err;
}
