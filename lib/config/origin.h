/* config/origin.h - where each setting's value came from.
 *
 * One origin a row, by index.  A row that owns a field tells where the effective value came from,
 * whichever of its names gave it (`by`); a second name tells whether it was itself given. */
#ifndef LT_CONFIG_ORIGIN_H
#define LT_CONFIG_ORIGIN_H

#include "config/setting_value.h"

typedef enum lt_origin_rank {
    LT_FROM_DEFAULT,
    LT_FROM_DERIVED, /* from other settings; `why` tells how */
    LT_FROM_FILE,
    LT_FROM_ARGV,
} lt_origin_rank;

typedef struct lt_origin {
    lt_origin_rank rank;
    int line, column; /* in the file */
    int by;           /* the row that gave it */
    char *why;        /* owned; for LT_FROM_DERIVED */
    char *text;       /* owned; what was given to a row without a field, as YAML */
} lt_origin;

struct lt_config_origins {
    char *name; /* of the file */
    lt_origin *of;
};

lt_origin *lt_origin_of(const lt_config *c, const char *key); /* a bug if there is no such row */
void lt_origin_adopt(lt_origin *to, const lt_origin *given);  /* it was given there */
bool lt_origin_section_given(const lt_config *c, const char *prefix); /* any row under "prefix" */

/* A sentence about `key`: "c.yaml:3:15: model.precision: ..." or "--model.precision: ..." */
lt_err lt_setting_fail(const lt_config *c, lt_err code, const char *key, const char *fmt, ...)
    LT_PRINTF(4, 5);

/* Sets a field and says why. */
void lt_derive_int(lt_config *c, const char *key, int64_t x, const char *why);
void lt_derive_real(lt_config *c, const char *key, double x, const char *why);
void lt_derive_text(lt_config *c, const char *key, const char *text, const char *why);
void lt_derive_parsed(lt_config *c, const char *key, const char *text, const char *why);

/* Makes it as if `key` had never been given: overruled by another key. */
void lt_setting_forget(lt_config *c, const char *key);

#endif
