/* config/yaml_tree.h - the small, strict part of YAML that a configuration needs, as a tree.
 *
 * Owns the nodes and their text.  Mappings, sequences and scalars, one document; anchors, aliases
 * and tags are refused, so nothing expands; at most 1 MiB, 32 levels and 4096 values.  Scalars keep
 * their text: what they mean is decided by the setting that takes them (setting_value.h). */
#ifndef LT_CONFIG_YAML_TREE_H
#define LT_CONFIG_YAML_TREE_H

#include "base/mem.h"

enum { LT_YAML_MAX_BYTES = 1 << 20, LT_YAML_MAX_DEPTH = 32, LT_YAML_MAX_NODES = 4096 };

typedef enum lt_yaml_kind {
    LT_YAML_NULL,   /* nothing, ~ or null */
    LT_YAML_PLAIN,  /* a scalar without quotes */
    LT_YAML_QUOTED, /* 'x', "x", and the block scalars | and > */
    LT_YAML_LIST,
    LT_YAML_MAP,
} lt_yaml_kind;

typedef struct lt_yaml_node lt_yaml_node;
struct lt_yaml_node {
    lt_yaml_kind kind;
    char *key; /* in a mapping, else NULL */
    int key_line, key_column;
    char *text; /* of a scalar, else NULL */
    int line, column;
    lt_yaml_node *child, *next; /* first child; next of the same parent */
    lt_yaml_node *older;        /* every node of the tree, for freeing */
};

typedef struct lt_yaml_tree {
    lt_yaml_node *newest;
    int n_nodes;
} lt_yaml_tree;

/* Parses all of text; *root is an empty mapping for an empty document.  `name` is the file. */
LT_MUST_USE lt_err lt_yaml_parse(lt_yaml_tree *tree, lt_yaml_node **root, const char *text,
                                 size_t n, const char *name);
/* A node of the tree made by hand (argv); text may be NULL. */
lt_yaml_node *lt_yaml_node_new(lt_yaml_tree *tree, lt_yaml_kind kind, const char *text);
void lt_yaml_tree_release(lt_yaml_tree *tree); /* {0} is fine */

/* Appends text for a sentence: at most 60 bytes, control characters as '?'. */
void lt_yaml_quote_found(lt_buf *out, const char *text);

#endif
