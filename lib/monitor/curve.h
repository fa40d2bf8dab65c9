/* monitor/curve.h - the loss curve of a run as a standalone SVG file. */
#ifndef LT_MONITOR_CURVE_H
#define LT_MONITOR_CURVE_H

#include "base/err.h"

/* Draws training loss (every logged step, faint, and its moving average) and validation loss over
 * the steps in a metrics.jsonl.  The SVG appears whole or not at all; it needs no script and no
 * font of ours.  A log without a finite loss is LT_EFORMAT. */
LT_MUST_USE lt_err lt_curve_svg(const char *metrics_path, const char *svg_path);

#endif
