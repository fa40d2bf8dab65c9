/* lt_test.c - what every program of tests shares: its cases, and the verdict on the one that runs.
 * Its main is in lt_test_main.c, or in lt_ranks.c. */
#include "lt_test.h"

#include <stdarg.h>
#include <stdlib.h>

lt_test_run lt_test = { .who = "" };
static lt_test_case **last = &lt_test.first;

void lt_test_register(lt_test_case *c)
{
    *last = c;
    last = &c->next;
}

void lt_test_fail(const char *file, int line, const char *fmt, ...)
{
    char text[4096];
    va_list ap;

    lt_test.failed = true;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    printf("# %s%s:%d: %s\n", lt_test.who, file, line, text);
    fflush(stdout);
}

void lt_test_skip(const char *why)
{
    lt_test.skipped = why;
}

const char *lt_test_data(const char *name)
{
    static char path[512];
    const char *root = getenv("LT_TEST_DATA");

    snprintf(path, sizeof path, "%s/%s", root ? root : "tests/data", name);
    return path;
}
