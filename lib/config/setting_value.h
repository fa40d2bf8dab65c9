/* config/setting_value.h - one value of a setting: from text, into the struct, back to text.
 *
 * A value owns its text and list until it is stored.  Sentences carry no prefix: the caller knows
 * the key and the place. */
#ifndef LT_CONFIG_SETTING_VALUE_H
#define LT_CONFIG_SETTING_VALUE_H

#include "config/config.h"
#include "config/setting.h"
#include "config/yaml_tree.h"

typedef struct lt_setting_value {
    int64_t i;   /* BOOL, INT, WORD, ONOFF */
    double r[2]; /* REAL, TIME, PAIR */
    char *text;
    lt_config_strings list;
} lt_setting_value;

LT_MUST_USE lt_err lt_setting_parse(lt_setting_value *out, const lt_setting *s,
                                    const lt_yaml_node *node);
/* A text as on the command line to a node: a list is comma-separated, "\\," is a comma in it. */
lt_yaml_node *lt_setting_node(lt_yaml_tree *tree, const lt_setting *s, const char *text);
LT_MUST_USE lt_err lt_setting_parse_text(lt_setting_value *out, const lt_setting *s,
                                         const char *text);
void lt_setting_value_release(lt_setting_value *v);
bool lt_setting_equal(const lt_setting *s, const lt_setting_value *a, const lt_setting_value *b);

/* The row has a field.  store takes text and list out of *v and frees what the field owned. */
void lt_setting_store(lt_config *c, const lt_setting *s, lt_setting_value *v);
lt_setting_value lt_setting_fetch(const lt_config *c,
                                  const lt_setting *s);   /* borrowed text, list */
void lt_setting_clear(lt_config *c, const lt_setting *s); /* to zero, or an empty text */

/* Appends the value as YAML that reads back the same. */
void lt_setting_format(lt_buf *out, const lt_setting *s, const lt_setting_value *v);
/* Is it one of the words that YAML takes for true or false? */
bool lt_is_bool_text(const char *text, bool *out);
/* Appends x in the fewest digits that read back the same. */
void lt_real_format(lt_buf *out, double x);

#endif
