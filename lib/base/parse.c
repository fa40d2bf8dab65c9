/* base/parse.c - text -> number, all of it or nothing, and the nearest name.  The sentences have no
 * prefix: the caller knows whether an option or a line of a file is at fault. */
#include "base/mem.h"
#include "base/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What strtoll and strtod would skip or take and we do not: leading blanks, "+", "0x", "inf". */
static bool starts_number(const char *text)
{
    const char *p = text + (*text == '-');

    return isdigit((unsigned char)*p) || (*p == '.' && isdigit((unsigned char)p[1]));
}

lt_err lt_parse_int(const char *text, int64_t *out)
{
    static const struct {
        char letter;
        int64_t factor;
    } suffixes[] = { { 'k', 1000 }, { 'K', 1000 }, { 'M', 1000000 }, { 'G', 1000000000 } };
    int64_t factor = 1;
    long long x;
    char *end = NULL;

    errno = 0;
    if (!starts_number(text) || (x = strtoll(text, &end, 10), end == text))
        return lt_fail(LT_EUSAGE, "expected a whole number, found \"%s\"", text);
    for (size_t i = 0; i < LT_COUNT(suffixes); i++)
        if (*end == suffixes[i].letter && end[1] == '\0') {
            factor = suffixes[i].factor;
            end++;
        }
    if (*end)
        return lt_fail(LT_EUSAGE, "expected a whole number, found \"%s\"", text);
    if (errno == ERANGE || __builtin_mul_overflow(x, factor, out))
        return lt_fail(LT_EUSAGE, "expected a number that fits into 64 bits, found \"%s\"", text);
    return LT_OK;
}

lt_err lt_parse_real(const char *text, double *out)
{
    char *end = NULL;
    double x = 0;
    bool hexadecimal = strpbrk(text, "xX") != NULL;

    if (starts_number(text) && !hexadecimal)
        x = strtod(text, &end);
    if (!end || *end)
        return lt_fail(LT_EUSAGE, "expected a number, found \"%s\"", text);
    if (!isfinite(x))
        return lt_fail(LT_EUSAGE, "expected a number below 1.8e308, found \"%s\"", text);
    *out = x;
    return LT_OK;
}

lt_err lt_parse_size(const char *text, uint64_t *out)
{
    static const struct {
        const char *unit;
        uint64_t bytes;
    } units[] = {
        { "", 1 },
        { "B", 1 },
        { "KB", 1000 },
        { "MB", 1000000 },
        { "GB", 1000000000 },
        { "TB", 1000000000000 },
        { "KiB", 1024 },
        { "MiB", (uint64_t)1 << 20 },
        { "GiB", (uint64_t)1 << 30 },
        { "TiB", (uint64_t)1 << 40 },
    };
    unsigned long long x;
    char *end = NULL;

    errno = 0;
    if (isdigit((unsigned char)*text)) {
        x = strtoull(text, &end, 10);
        while (*end == ' ')
            end++;
        for (size_t i = 0; i < LT_COUNT(units); i++) {
            if (strcmp(end, units[i].unit) != 0)
                continue;
            if (errno == ERANGE || !lt_size_muladd(x, units[i].bytes, 0, out))
                return lt_fail(LT_EUSAGE, "expected a size that fits into 64 bits, found \"%s\"",
                               text);
            return LT_OK;
        }
    }
    return lt_fail(LT_EUSAGE, "expected a size such as 4096, 64KiB or 141GB, found \"%s\"", text);
}

enum { LONGEST_NAME = 64 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Damerau-Levenshtein distance (optimal string alignment): insert, delete, replace and the swap of
 * two neighbours cost 1.  Both words are shorter than LONGEST_NAME. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][LONGEST_NAME + 1]; /* row i of the table is rows[i % 3] */
    size_t na = strlen(a), nb = strlen(b);

    for (size_t j = 0; j <= nb; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *row = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            row[j] = least(least(up[j], row[j - 1]) + 1, up[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], up2[j - 2] + 1);
        }
    }
    return rows[na % 3][nb];
}

const char *lt_nearest(const char *word, const char *const *names)
{
    const char *best = NULL;
    size_t n = strlen(word), bound;

    if (n == 0 || n >= LONGEST_NAME)
        return NULL;
    bound = n / 3 + 1; /* more typing mistakes than that are another word */
    for (; *names; names++) {
        size_t d;

        if (strlen(*names) >= LONGEST_NAME)
            continue;
        d = edit_distance(word, *names);
        if (n >= 3 && strncmp(word, *names, n) == 0)
            d = 1; /* an abbreviation */
        if (d <= bound && d < n) {
            best = *names;
            bound = d ? d - 1 : 0;
        }
        if (d == 0)
            break;
    }
    return best;
}
