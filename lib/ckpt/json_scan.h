/* ckpt/json_scan.h - a pull scanner over JSON text in memory.
 *
 * The headers this room reads come from strangers and may be 100 MB.  A tree of nodes would cost
 * many times the text ("{}," is three bytes and a hash table); here nothing is allocated: the
 * caller walks the text and takes what it expects.  Every fault is LT_EFORMAT "NAME: byte N: ...".
 *
 *     LT_TRY(err = lt_json_scan_open(s, '{', &at));
 *     for (;;) {
 *         LT_TRY(err = lt_json_scan_next(s, &at, &more));
 *         if (!more)
 *             break;
 *         LT_TRY(err = lt_json_scan_key(s, key, sizeof key));
 *         ... exactly one value ...
 *     } */
#ifndef LT_CKPT_JSON_SCAN_H
#define LT_CKPT_JSON_SCAN_H

#include "base/mem.h"

enum { LT_JSON_SCAN_DEPTH = 64 };

typedef struct lt_json_scan {
    const char *text; /* borrowed; need not end in NUL */
    size_t size, at;
    const char *name; /* for the sentence */
    uint64_t base;    /* offset of text[0] in the file, for the sentence */
} lt_json_scan;

/* A container being walked. */
typedef struct lt_json_scan_in {
    char close;
    uint64_t n; /* members so far */
} lt_json_scan_in;

LT_MUST_USE lt_err lt_json_scan_open(lt_json_scan *s, char bracket, lt_json_scan_in *in);
LT_MUST_USE lt_err lt_json_scan_next(lt_json_scan *s, lt_json_scan_in *in, bool *more);

/* A string, unescaped, valid UTF-8 without NUL, of fewer than `capacity` bytes. */
LT_MUST_USE lt_err lt_json_scan_string(lt_json_scan *s, char *dst, size_t capacity);
LT_MUST_USE lt_err lt_json_scan_key(lt_json_scan *s, char *dst, size_t capacity);

/* A key out of keys[n]: its index, or -1 for any other.  A second time is a fault (*seen: bits). */
LT_MUST_USE lt_err lt_json_scan_known_key(lt_json_scan *s, const char *const *keys, int n,
                                          uint32_t *seen, int *index);

LT_MUST_USE lt_err lt_json_scan_u64(lt_json_scan *s, uint64_t *out); /* digits only */
LT_MUST_USE lt_err lt_json_scan_bool(lt_json_scan *s, bool *out);
LT_MUST_USE lt_err lt_json_scan_skip(lt_json_scan *s); /* any value */
LT_MUST_USE lt_err lt_json_scan_end(lt_json_scan *s);  /* nothing but white space is left */

/* LT_EFORMAT at the present position. */
lt_err lt_json_scan_fail(const lt_json_scan *s, const char *fmt, ...) LT_PRINTF(2, 3);

#endif
