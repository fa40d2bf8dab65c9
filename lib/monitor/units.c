/* units.c - compact figures for the progress line, the curve and the run header. */
#include "monitor/units.h"

#include <math.h>
#include <stdio.h>

/* Three significant digits without an exponent for 1 <= |x| < 1000. */
static int decimals(double x)
{
    double a = fabs(x);

    return a < 9.995 ? 2 : a < 99.95 ? 1 : 0;
}

char *lt_unit_count(char out[LT_UNIT_TEXT_BYTES], double n)
{
    static const char suffix[] = { 0, 'k', 'M', 'G', 'T', 'P', 'E' };
    double x = n;
    unsigned i = 0;

    while (fabs(x) >= 999.5 && i + 1 < sizeof suffix) {
        x /= 1000;
        i++;
    }
    if (!isfinite(n))
        snprintf(out, LT_UNIT_TEXT_BYTES, "%f", n);
    else if (i == 0)
        snprintf(out, LT_UNIT_TEXT_BYTES, "%.3g", n);
    else
        snprintf(out, LT_UNIT_TEXT_BYTES, "%.*f%c", decimals(x), x, suffix[i]);
    return out;
}

char *lt_unit_bytes(char out[LT_UNIT_TEXT_BYTES], uint64_t bytes)
{
    static const char *const suffix[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double x = (double)bytes;
    unsigned i = 0;

    while (x >= 999.5 && i < 6) {
        x /= 1024;
        i++;
    }
    snprintf(out, LT_UNIT_TEXT_BYTES, "%.*f %s", i ? decimals(x) : 0, x, suffix[i]);
    return out;
}

char *lt_unit_seconds(char out[LT_UNIT_TEXT_BYTES], double s)
{
    if (!(s >= 0) || s > 1e9) { /* unknown, or too far away to mean anything */
        snprintf(out, LT_UNIT_TEXT_BYTES, "-");
        return out;
    }
    unsigned long t = (unsigned long)(s + 0.5);

    if (t < 60)
        snprintf(out, LT_UNIT_TEXT_BYTES, "%lus", t);
    else if (t < 3600)
        snprintf(out, LT_UNIT_TEXT_BYTES, "%lum%02lus", t / 60, t % 60);
    else if (t < 86400)
        snprintf(out, LT_UNIT_TEXT_BYTES, "%luh%02lum", t / 3600, t % 3600 / 60);
    else
        snprintf(out, LT_UNIT_TEXT_BYTES, "%lud%02luh", t / 86400, t % 86400 / 3600);
    return out;
}
