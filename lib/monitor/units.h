/* monitor/units.h - numbers as people read them: 12.3k tok/s, 1.4 GiB, 2h03m.
 *
 * Each call fills the caller's small array and returns it, so it can stand in a printf argument.
 * Figures have three significant digits; NaN and infinity read "nan" and "inf". */
#ifndef LT_MONITOR_UNITS_H
#define LT_MONITOR_UNITS_H

#include <stdint.h>

enum { LT_UNIT_TEXT_BYTES = 24 };

char *lt_unit_count(char out[LT_UNIT_TEXT_BYTES], double n);       /* 950, 12.3k, 1.46M, 3.12T */
char *lt_unit_bytes(char out[LT_UNIT_TEXT_BYTES], uint64_t bytes); /* 512 B, 1.40 GiB */
char *lt_unit_seconds(char out[LT_UNIT_TEXT_BYTES], double s); /* 41s, 2m09s, 3h12m, 5d02h, "-" */

#endif
