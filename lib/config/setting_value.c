/* config/setting_value.c - typed and ranged values of settings: from text, in and out of the
 * struct.  Back to text is setting_format.c. */
#include "config/setting_value.h"
#include "base/options.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

_Static_assert(sizeof(lt_dtype) == sizeof(int) && sizeof(lt_act) == sizeof(int),
               "the field of a WORD row is stored as an int");

void lt_setting_value_release(lt_setting_value *v)
{
    free(v->text);
    for (size_t i = 0; i < v->list.n; i++)
        free(v->list.items[i]);
    free(v->list.items);
    *v = (lt_setting_value){ 0 };
}

/* "one", "one or two", "one, two or three": the words that are supported. */
static void list_words(lt_buf *out, const lt_setting_word *words)
{
    size_t n = 0, left;

    for (size_t i = 0; words[i].name; i++)
        n += words[i].value >= 0;
    left = n;
    for (size_t i = 0; words[i].name; i++) {
        if (words[i].value < 0)
            continue;
        lt_buf_printf(out, "%s%s", left == n ? "" : left == 1 ? " or " : ", ", words[i].name);
        left--;
    }
}

static void expected(lt_buf *out, const lt_setting *s)
{
    switch (s->type) {
    case LT_SETTING_BOOL:
        lt_buf_printf(out, "true or false");
        break;
    case LT_SETTING_ONOFF:
        lt_buf_printf(out, "true, false or a section");
        break;
    case LT_SETTING_INT:
        lt_buf_printf(out, "an integer");
        break;
    case LT_SETTING_REAL:
        lt_buf_printf(out, "a number");
        break;
    case LT_SETTING_TIME:
        lt_buf_printf(out, "seconds or [D-]HH:MM:SS");
        break;
    case LT_SETTING_WORD:
        list_words(out, s->words);
        break;
    case LT_SETTING_TEXT:
        lt_buf_printf(out, "text");
        break;
    case LT_SETTING_PAIR:
        lt_buf_printf(out, "a list of two numbers");
        break;
    case LT_SETTING_TEXTS:
        lt_buf_printf(out, "a list of texts");
        break;
    case LT_SETTING_SECTION:
        lt_buf_printf(out, "a section (keys and values)");
        break;
    }
}

static lt_err fail_type(const lt_setting *s, const lt_yaml_node *found)
{
    lt_buf b = { 0 };
    lt_err err;

    expected(&b, s);
    if (found->kind == LT_YAML_LIST) {
        lt_buf_printf(&b, ", found a list");
    } else if (found->kind == LT_YAML_MAP) {
        lt_buf_printf(&b, ", found a section");
    } else {
        lt_buf_printf(&b, ", found %s\"", found->kind == LT_YAML_QUOTED ? "the text " : "");
        lt_yaml_quote_found(&b, found->text ? found->text : "");
        lt_buf_printf(&b, "\"%s", found->kind == LT_YAML_QUOTED ? " in quotes" : "");
    }
    err = lt_fail(LT_EUSAGE, "expected %s", lt_buf_cstr(&b));
    lt_buf_release(&b);
    return err;
}

/* Exact where min and max are: the bounds of the table are powers of two or small. */
static lt_err check_range(const lt_setting *s, double x, const char *text)
{
    if (s->max <= s->min || (x >= s->min && x <= s->max))
        return LT_OK;
    if (x < s->min && s->max >= 1e15)
        return lt_fail(LT_EUSAGE, "expected %.15g or more, found %.60s", s->min, text);
    return lt_fail(LT_EUSAGE, "expected %.15g to %.15g, found %.60s", s->min, s->max, text);
}

static lt_err parse_int(lt_setting_value *out, const lt_setting *s, const lt_yaml_node *node)
{
    double x;

    /* Sizes are often written 5e8: a real that is an integer, and exact. */
    if (lt_parse_int(node->text, &out->i) != LT_OK) {
        if (lt_parse_real(node->text, &x) != LT_OK || x < -0x1p53 || x > 0x1p53 ||
            x != (double)(int64_t)x)
            return fail_type(s, node);
        out->i = (int64_t)x;
    }
    return check_range(s, (double)out->i, node->text);
}

static lt_err parse_real(double *out, const lt_setting *s, const lt_yaml_node *node)
{
    if (node->kind != LT_YAML_PLAIN || lt_parse_real(node->text, out) != LT_OK)
        return fail_type(s, node);
    return check_range(s, *out, node->text);
}

/* Digits at *p, at most `most`; moves *p behind them. */
static bool parse_part(const char **p, int64_t most, int64_t *out)
{
    size_t n = strspn(*p, "0123456789");
    char digits[8];

    if (n == 0 || n >= sizeof digits)
        return false;
    memcpy(digits, *p, n);
    digits[n] = '\0';
    *p += n;
    return lt_parse_int(digits, out) == LT_OK && *out <= most;
}

static bool parse_clock(const char *p, double *seconds)
{
    int64_t days = 0, hours, minutes, rest;
    bool has_days = strchr(p, '-') != NULL;

    if (has_days && (!parse_part(&p, INT64_MAX, &days) || *p++ != '-'))
        return false;
    if (!parse_part(&p, has_days ? 23 : INT64_MAX, &hours) || *p++ != ':' ||
        !parse_part(&p, 59, &minutes) || *p++ != ':' || !parse_part(&p, 59, &rest) || *p)
        return false;
    *seconds = (double)(((days * 24 + hours) * 60 + minutes) * 60 + rest);
    return true;
}

static lt_err parse_time(double *out, const lt_setting *s, const lt_yaml_node *node)
{
    if (!strchr(node->text, ':'))
        return parse_real(out, s, node);
    return parse_clock(node->text, out) ? check_range(s, *out, node->text) : fail_type(s, node);
}

bool lt_is_bool_text(const char *text, bool *out)
{
    static const char *const words[] = { "false", "False", "FALSE", "true", "True", "TRUE" };

    for (size_t i = 0; i < LT_COUNT(words); i++)
        if (strcmp(text, words[i]) == 0) {
            *out = i >= 3;
            return true;
        }
    return false;
}

static lt_err parse_bool(lt_setting_value *out, const lt_setting *s, const lt_yaml_node *node)
{
    bool b;

    if (node->kind != LT_YAML_PLAIN || !lt_is_bool_text(node->text, &b))
        return fail_type(s, node);
    out->i = b;
    if (s->type == LT_SETTING_ONOFF)
        out->i = b ? LT_OFFLOAD_CPU : LT_OFFLOAD_NONE;
    return LT_OK;
}

/* As DeepSpeed does, words are compared without regard to case. */
static lt_err parse_word(lt_setting_value *out, const lt_setting *s, const lt_yaml_node *node)
{
    for (const lt_setting_word *w = s->words; w->name; w++) {
        if (strcasecmp(w->name, node->text) != 0)
            continue;
        if (w->value < 0)
            return lt_fail(LT_EUSAGE, "\"%s\" is known, not supported yet", w->name);
        out->i = w->value;
        return LT_OK;
    }
    return fail_type(s, node);
}

/* An empty text is mostly a variable that a shell did not know, --checkpoint.dir=$DIR; in DeepSpeed
 * it is how a key says "not given". */
static lt_err parse_text(lt_setting_value *out, const lt_setting *s, const lt_yaml_node *node)
{
    bool b;

    if (!*node->text && s->status == LT_SETTING_OURS)
        return lt_fail(LT_EUSAGE, "expected text, found nothing; null means \"not given\"");
    if (node->kind == LT_YAML_PLAIN && lt_is_bool_text(node->text, &b))
        return fail_type(s, node);
    out->text = lt_strdup(node->text);
    return LT_OK;
}

static lt_err parse_list(lt_setting_value *out, const lt_setting *s, const lt_yaml_node *node)
{
    lt_setting_value v = { 0 };
    size_t n = 0;
    lt_err err;

    if (node->kind != LT_YAML_LIST)
        return fail_type(s, node);
    for (const lt_yaml_node *c = node->child; c; c = c->next, n++)
        if (!c->text || (s->type == LT_SETTING_TEXTS && c->kind == LT_YAML_NULL && !*c->text))
            return fail_type(s, c);
    if (s->type == LT_SETTING_PAIR) {
        if (n != 2)
            return lt_fail(LT_EUSAGE, "expected a list of two numbers, found %zu", n);
        LT_TRY(err = parse_real(&out->r[0], s, node->child));
        LT_TRY(err = parse_real(&out->r[1], s, node->child->next));
        return LT_OK;
    }
    v.list.items = lt_new_array0(n, sizeof *v.list.items);
    for (const lt_yaml_node *c = node->child; c; c = c->next)
        v.list.items[v.list.n++] = lt_strdup(c->text);
    *out = v;
    return LT_OK;
fail:
    return err;
}

lt_err lt_setting_parse(lt_setting_value *out, const lt_setting *s, const lt_yaml_node *node)
{
    *out = (lt_setting_value){ 0 };
    if (s->type == LT_SETTING_PAIR || s->type == LT_SETTING_TEXTS)
        return parse_list(out, s, node);
    if (node->kind == LT_YAML_LIST || node->kind == LT_YAML_MAP || !node->text)
        return fail_type(s, node);
    switch (s->type) {
    case LT_SETTING_BOOL:
    case LT_SETTING_ONOFF:
        return parse_bool(out, s, node);
    case LT_SETTING_INT:
        return node->kind == LT_YAML_PLAIN ? parse_int(out, s, node) : fail_type(s, node);
    case LT_SETTING_REAL:
        return parse_real(&out->r[0], s, node);
    case LT_SETTING_TIME:
        return parse_time(&out->r[0], s, node);
    case LT_SETTING_WORD:
        return parse_word(out, s, node);
    case LT_SETTING_TEXT:
        return parse_text(out, s, node);
    default:
        return fail_type(s, node);
    }
}

/* The pieces of a comma-separated text as children of `list`. */
static void split(lt_yaml_tree *tree, lt_yaml_node *list, const char *text)
{
    lt_yaml_node **tail = &list->child;
    lt_buf piece = { 0 };

    for (const char *p = text;; p++) {
        if (*p == '\\' && p[1] == ',') {
            lt_buf_append(&piece, ++p, 1);
        } else if (*p == ',' || *p == '\0') {
            *tail = lt_yaml_node_new(tree, LT_YAML_PLAIN, lt_buf_cstr(&piece));
            tail = &(*tail)->next;
            lt_buf_clear(&piece);
            if (*p == '\0')
                break;
        } else {
            lt_buf_append(&piece, p, 1);
        }
    }
    lt_buf_release(&piece);
}

lt_yaml_node *lt_setting_node(lt_yaml_tree *tree, const lt_setting *s, const char *text)
{
    bool is_list = s->type == LT_SETTING_PAIR || s->type == LT_SETTING_TEXTS;
    bool no_texts = s->type == LT_SETTING_TEXTS && !*text;
    lt_yaml_kind kind = strcmp(text, "null") == 0 || no_texts ? LT_YAML_NULL
                        : is_list                             ? LT_YAML_LIST
                                                              : LT_YAML_PLAIN;
    lt_yaml_node *node = lt_yaml_node_new(tree, kind, text);

    if (kind == LT_YAML_LIST)
        split(tree, node, text);
    return node;
}

lt_err lt_setting_parse_text(lt_setting_value *out, const lt_setting *s, const char *text)
{
    lt_yaml_tree tree = { 0 };
    lt_err err = lt_setting_parse(out, s, lt_setting_node(&tree, s, text));

    lt_yaml_tree_release(&tree);
    return err;
}

bool lt_setting_equal(const lt_setting *s, const lt_setting_value *a, const lt_setting_value *b)
{
    if (s->type == LT_SETTING_TEXT)
        return strcmp(a->text, b->text) == 0;
    if (s->type == LT_SETTING_TEXTS) {
        for (size_t i = 0; i < a->list.n && i < b->list.n; i++)
            if (strcmp(a->list.items[i], b->list.items[i]) != 0)
                return false;
        return a->list.n == b->list.n;
    }
    return a->i == b->i && a->r[0] == b->r[0] && a->r[1] == b->r[1];
}

lt_setting_value lt_setting_fetch(const lt_config *c, const lt_setting *s)
{
    const void *field = (const char *)c + s->offset;
    lt_setting_value v = { 0 };
    int word;

    LT_BUG_ON(s->offset == LT_SETTING_NO_FIELD);
    switch (s->type) {
    case LT_SETTING_BOOL:
        v.i = *(const bool *)field;
        break;
    case LT_SETTING_INT:
        v.i = *(const int64_t *)field;
        break;
    case LT_SETTING_REAL:
    case LT_SETTING_TIME:
        v.r[0] = *(const double *)field;
        break;
    case LT_SETTING_PAIR:
        memcpy(v.r, field, sizeof v.r);
        break;
    case LT_SETTING_WORD:
    case LT_SETTING_ONOFF:
        memcpy(&word, field, sizeof word); /* whichever enum it is */
        v.i = word;
        break;
    case LT_SETTING_TEXT:
        v.text = *(char *const *)field;
        break;
    case LT_SETTING_TEXTS:
        v.list = *(const lt_config_strings *)field;
        break;
    case LT_SETTING_SECTION:
        break;
    }
    return v;
}

void lt_setting_store(lt_config *c, const lt_setting *s, lt_setting_value *v)
{
    lt_setting_value old = lt_setting_fetch(c, s);
    void *field = (char *)c + s->offset;
    int word = (int)v->i;

    switch (s->type) {
    case LT_SETTING_BOOL:
        *(bool *)field = v->i != 0;
        break;
    case LT_SETTING_INT:
        *(int64_t *)field = v->i;
        break;
    case LT_SETTING_REAL:
    case LT_SETTING_TIME:
        *(double *)field = v->r[0];
        break;
    case LT_SETTING_PAIR:
        memcpy(field, v->r, sizeof v->r);
        break;
    case LT_SETTING_WORD:
    case LT_SETTING_ONOFF:
        memcpy(field, &word, sizeof word);
        break;
    case LT_SETTING_TEXT:
        *(char **)field = v->text;
        break;
    case LT_SETTING_TEXTS:
        *(lt_config_strings *)field = v->list;
        break;
    case LT_SETTING_SECTION:
        break;
    }
    *v = (lt_setting_value){ 0 };
    lt_setting_value_release(&old);
}

void lt_setting_clear(lt_config *c, const lt_setting *s)
{
    lt_setting_value v = { 0 };

    if (s->type == LT_SETTING_TEXT)
        v.text = lt_strdup("");
    lt_setting_store(c, s, &v);
}
