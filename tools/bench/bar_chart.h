/* tools/bench/bar_chart.h - horizontal bars in groups, as SVG in light and dark. */
#ifndef LT_TOOLS_BAR_CHART_H
#define LT_TOOLS_BAR_CHART_H

#include "base/err.h"

typedef struct chart_bar {
    const char *group, *label; /* a heading stands where the group changes */
    double value;              /* > 0; else "failed" stands there */
    int colour;                /* 0 to 3 */
} chart_bar;

/* Values are written behind their bars with `unit` in the second line of the title. */
LT_MUST_USE lt_err bar_chart_write(const char *path, const char *title, const char *unit,
                                   const chart_bar *bars, size_t n);

#endif
