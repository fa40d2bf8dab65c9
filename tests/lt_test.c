/* lt_test.c - runs the registered tests of one binary.  Usage: test_x [name...] */
#include "lt_test.h"
#include "base/file.h"
#include "base/log.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

static lt_test_case *first, **last = &first;
static bool failed;
static const char *skipped;
static char scratch[256];

void lt_test_register(lt_test_case *c)
{
    *last = c;
    last = &c->next;
}

void lt_test_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    failed = true;
    printf("# %s:%d: ", file, line);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

void lt_test_skip(const char *why)
{
    skipped = why;
}

const char *lt_test_data(const char *name)
{
    static char path[512];
    const char *root = getenv("LT_TEST_DATA");

    snprintf(path, sizeof path, "%s/%s", root ? root : "tests/data", name);
    return path;
}

const char *lt_test_tmp(const char *name)
{
    static char path[4][512];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", scratch, name);
    return path[turn];
}

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strstr(name, argv[i]))
            return true;
    return argc < 2;
}

int main(int argc, char **argv)
{
    int n = 0, n_failed = 0;
    const char *tmp = getenv("TMPDIR");

    setvbuf(stdout, NULL, _IOLBF, 0);
    lt_log_init("test", LT_LOG_ERROR);
    snprintf(scratch, sizeof scratch, "%s/lt-test-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(scratch))
        return 1;
    for (lt_test_case *c = first; c; c = c->next) {
        if (!wanted(c->name, argc, argv))
            continue;
        failed = false;
        skipped = NULL;
        c->run();
        n_failed += failed;
        printf("%sok %d - %s%s%s\n", failed ? "not " : "", ++n, c->name, skipped ? " # SKIP " : "",
               skipped ? skipped : "");
    }
    printf("1..%d\n", n);
    if (lt_remove_tree(scratch) != LT_OK)
        printf("# %s\n", lt_err_text());
    return n_failed != 0;
}
