/* ckpt/manifest_check.h - the rules a parsed MANIFEST must meet,
 * and the tables that look-ups use. */
#ifndef LT_CKPT_MANIFEST_CHECK_H
#define LT_CKPT_MANIFEST_CHECK_H

#include "ckpt/manifest.h"

/* Checks every table and fills by_name and pieces; LT_EFORMAT names the tensor or file. */
LT_MUST_USE lt_err lt_manifest_check(lt_manifest *m, const char *name);

bool lt_ckpt_dtype_ok(lt_dtype t); /* F32, BF16 or F16 */

#endif
