/* config/yaml_tree.c - libyaml events to nodes.
 *
 * The depth is checked at each event, before libyaml reads on: its own handling of deep nesting is
 * quadratic in the version that distributions ship. */
#include "config/yaml_tree.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

typedef struct parser {
    yaml_parser_t yaml;
    yaml_event_t event;
    bool has_event;
    lt_yaml_tree *tree;
    const char *name;
} parser;

static int line_of(yaml_mark_t mark)
{
    return (int)mark.line + 1;
}

static int column_of(yaml_mark_t mark)
{
    return (int)mark.column + 1;
}

lt_yaml_node *lt_yaml_node_new(lt_yaml_tree *tree, lt_yaml_kind kind, const char *text)
{
    lt_yaml_node *node = lt_new0(sizeof *node);

    node->kind = kind;
    node->text = text ? lt_strdup(text) : NULL;
    node->older = tree->newest;
    tree->newest = node;
    tree->n_nodes++;
    return node;
}

void lt_yaml_tree_release(lt_yaml_tree *tree)
{
    while (tree->newest) {
        lt_yaml_node *node = tree->newest;

        tree->newest = node->older;
        free(node->key);
        free(node->text);
        free(node);
    }
    tree->n_nodes = 0;
}

void lt_yaml_quote_found(lt_buf *out, const char *text)
{
    size_t n = strlen(text), shown = n;

    if (n > 60) {
        shown = 56;
        while (shown > 0 && ((unsigned char)text[shown] & 0xc0) == 0x80)
            shown--; /* not inside a UTF-8 sequence */
    }
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)text[i];

        lt_buf_append(out, c < 0x20 || c == 0x7f ? "?" : text + i, 1);
    }
    if (shown < n)
        lt_buf_append(out, "...", 3);
}

static lt_err fail_at(const parser *p, yaml_mark_t mark, const char *what)
{
    return lt_fail(LT_EUSAGE, "%s:%d:%d: %s", p->name, line_of(mark), column_of(mark), what);
}

static lt_err next_event(parser *p)
{
    if (p->has_event)
        yaml_event_delete(&p->event);
    p->has_event = yaml_parser_parse(&p->yaml, &p->event) != 0;
    if (p->has_event)
        return LT_OK;
    if (p->yaml.error == YAML_READER_ERROR)
        return lt_fail(LT_EUSAGE, "%s: byte %zu: %s", p->name, p->yaml.problem_offset,
                       p->yaml.problem);
    return lt_fail(LT_EUSAGE, "%s:%d:%d: not valid YAML: %s", p->name,
                   line_of(p->yaml.problem_mark), column_of(p->yaml.problem_mark),
                   p->yaml.problem ? p->yaml.problem : "out of memory");
}

static bool is_null(const char *text)
{
    static const char *const words[] = { "", "~", "null", "Null", "NULL" };

    for (size_t i = 0; i < LT_COUNT(words); i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return false;
}

/* The scalar of the current event in *node's text. */
static lt_err read_scalar(parser *p, lt_yaml_node *node)
{
    const char *text = (const char *)p->event.data.scalar.value;

    if (strlen(text) != p->event.data.scalar.length)
        return fail_at(p, p->event.start_mark, "a NUL character is not accepted");
    node->text = lt_strdup(text);
    if (p->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        node->kind = LT_YAML_QUOTED;
    else
        node->kind = is_null(text) ? LT_YAML_NULL : LT_YAML_PLAIN;
    return LT_OK;
}

static lt_err refuse_reference(const parser *p)
{
    const yaml_event_t *e = &p->event;
    const void *anchor = NULL, *tag = NULL;

    if (e->type == YAML_ALIAS_EVENT)
        return fail_at(p, e->start_mark, "aliases (*name) are not accepted, write the value");
    if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
    }
    if (anchor)
        return fail_at(p, e->start_mark, "anchors (&name) are not accepted, write the value");
    if (tag)
        return fail_at(p, e->start_mark, "tags (!name) are not accepted");
    return LT_OK;
}

static lt_err read_node(parser *p, lt_yaml_node **out, int depth);

/* Reads a key of `map` into *key and its mark; the event is a scalar. */
static lt_err read_key(parser *p, const lt_yaml_node *map, char **key, yaml_mark_t *mark)
{
    lt_yaml_node scratch = { 0 };
    lt_err err;

    *mark = p->event.start_mark;
    LT_TRY(err = refuse_reference(p));
    if (p->event.type != YAML_SCALAR_EVENT)
        return fail_at(p, *mark, "expected a key, found a list or a mapping");
    LT_TRY(err = read_scalar(p, &scratch));
    for (const lt_yaml_node *c = map->child; c; c = c->next)
        if (strcmp(c->key, scratch.text) == 0) {
            lt_buf shown = { 0 };

            lt_yaml_quote_found(&shown, scratch.text);
            err = lt_fail(LT_EUSAGE, "%s:%d:%d: the key \"%s\" stands twice, first on line %d",
                          p->name, line_of(*mark), column_of(*mark), lt_buf_cstr(&shown),
                          c->key_line);
            lt_buf_release(&shown);
            goto fail;
        }
    *key = scratch.text;
    return LT_OK;
fail:
    free(scratch.text);
    return err;
}

/* The children of a mapping or sequence whose start is the current event, up to its end event. */
static lt_err read_children(parser *p, lt_yaml_node *parent, int depth)
{
    lt_yaml_node **tail = &parent->child;
    yaml_event_type_t end =
        parent->kind == LT_YAML_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    char *key = NULL;
    lt_err err;

    for (;;) {
        yaml_mark_t mark = { 0 };

        LT_TRY(err = next_event(p));
        if (p->event.type == end)
            return LT_OK;
        if (parent->kind == LT_YAML_MAP) {
            LT_TRY(err = read_key(p, parent, &key, &mark));
            LT_TRY(err = next_event(p));
        }
        LT_TRY(err = read_node(p, tail, depth));
        (*tail)->key = key;
        (*tail)->key_line = line_of(mark);
        (*tail)->key_column = column_of(mark);
        key = NULL;
        tail = &(*tail)->next;
    }
fail:
    free(key);
    return err;
}

/* The node that begins with the current event; *out is set on success only. */
static lt_err read_node(parser *p, lt_yaml_node **out, int depth)
{
    yaml_mark_t mark = p->event.start_mark;
    lt_yaml_node *node;
    lt_err err;

    LT_TRY(err = refuse_reference(p));
    if (depth > LT_YAML_MAX_DEPTH)
        return lt_fail(LT_EUSAGE, "%s:%d:%d: nested more than %d levels deep", p->name,
                       line_of(mark), column_of(mark), LT_YAML_MAX_DEPTH);
    if (p->tree->n_nodes >= LT_YAML_MAX_NODES)
        return lt_fail(LT_EUSAGE, "%s:%d:%d: more than %d values", p->name, line_of(mark),
                       column_of(mark), LT_YAML_MAX_NODES);
    node = lt_yaml_node_new(p->tree, LT_YAML_NULL, NULL);
    node->line = line_of(mark);
    node->column = column_of(mark);
    if (p->event.type == YAML_SCALAR_EVENT) {
        LT_TRY(err = read_scalar(p, node));
    } else {
        node->kind = p->event.type == YAML_MAPPING_START_EVENT ? LT_YAML_MAP : LT_YAML_LIST;
        LT_TRY(err = read_children(p, node, depth + 1));
    }
    *out = node;
    return LT_OK;
fail:
    return err;
}

/* One document whose root is a mapping. */
static lt_err read_document(parser *p, lt_yaml_node **root)
{
    lt_err err;

    LT_TRY(err = next_event(p)); /* the start of the stream */
    LT_TRY(err = next_event(p));
    if (p->event.type == YAML_STREAM_END_EVENT) {
        *root = lt_yaml_node_new(p->tree, LT_YAML_MAP, NULL);
        return LT_OK;
    }
    LT_TRY(err = next_event(p));
    LT_TRY(err = read_node(p, root, 1));
    if ((*root)->kind == LT_YAML_NULL)
        (*root)->kind = LT_YAML_MAP;
    if ((*root)->kind != LT_YAML_MAP)
        return lt_fail(LT_EUSAGE, "%s:%d:%d: expected sections such as \"training:\", found %s",
                       p->name, (*root)->line, (*root)->column,
                       (*root)->kind == LT_YAML_LIST ? "a list" : "one value");
    LT_TRY(err = next_event(p)); /* the end of the document */
    LT_TRY(err = next_event(p));
    if (p->event.type != YAML_STREAM_END_EVENT)
        return fail_at(p, p->event.start_mark, "expected one document, found a second one");
    return LT_OK;
fail:
    return err;
}

lt_err lt_yaml_parse(lt_yaml_tree *tree, lt_yaml_node **root, const char *text, size_t n,
                     const char *name)
{
    parser p = { .tree = tree, .name = name };
    lt_err err;

    if (n > LT_YAML_MAX_BYTES)
        return lt_fail(LT_EUSAGE, "%s: %zu bytes, expected at most %d", name, n, LT_YAML_MAX_BYTES);
    if (!yaml_parser_initialize(&p.yaml))
        return lt_fail(LT_ENOMEM, "%s: out of memory", name);
    yaml_parser_set_encoding(&p.yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&p.yaml, (const unsigned char *)text, n);
    err = read_document(&p, root);
    if (p.has_event)
        yaml_event_delete(&p.event);
    yaml_parser_delete(&p.yaml);
    return err;
}
