/* base/json.h - JSON files, read whole and bounded, through jansson.
 *
 * Refuses duplicate keys, NUL in strings, nesting beyond jansson's 2048 and files over the given
 * size; an error names file:line:column.  Getters fail with the path of the key, e.g.
 * "config.json: n_embd: expected an integer, found a string". */
#ifndef LT_BASE_JSON_H
#define LT_BASE_JSON_H

#include "base/mem.h"
#include <jansson.h>

LT_MUST_USE lt_err lt_json_load(json_t **out, const char *path,
                                uint64_t max_bytes); /* json_decref */
LT_MUST_USE lt_err lt_json_parse(json_t **out, const char *text, size_t n, const char *name);

/* Required members of `object`; `name` is the file for the sentence. */
LT_MUST_USE lt_err lt_json_int(const json_t *object, const char *key, int64_t min, int64_t max,
                               int64_t *out, const char *name);
LT_MUST_USE lt_err lt_json_string(const json_t *object, const char *key, const char **out,
                                  const char *name); /* borrowed from object */

/* Optional members: *out keeps its value when the key is absent or null. */
LT_MUST_USE lt_err lt_json_opt_int(const json_t *object, const char *key, int64_t min, int64_t max,
                                   int64_t *out, const char *name);
LT_MUST_USE lt_err lt_json_opt_real(const json_t *object, const char *key, double *out,
                                    const char *name);
LT_MUST_USE lt_err lt_json_opt_bool(const json_t *object, const char *key, bool *out,
                                    const char *name);

void lt_json_quote(lt_buf *b, const char *s, size_t n); /* appends "s" with JSON escapes */

#endif
