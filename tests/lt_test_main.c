/* lt_test_main.c - runs the registered tests of one program.  Usage: test_x [name...] */
#include "lt_test.h"
#include "base/file.h"
#include "base/log.h"

#include <stdlib.h>
#include <unistd.h>

static char scratch[256];

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
    for (lt_test_case *c = lt_test.first; c; c = c->next) {
        if (!wanted(c->name, argc, argv))
            continue;
        lt_test.failed = false;
        lt_test.skipped = NULL;
        c->run();
        n_failed += lt_test.failed;
        printf("%sok %d - %s%s%s\n", lt_test.failed ? "not " : "", ++n, c->name,
               lt_test.skipped ? " # SKIP " : "", lt_test.skipped ? lt_test.skipped : "");
    }
    printf("1..%d\n", n);
    if (lt_remove_tree(scratch) != LT_OK)
        printf("# %s\n", lt_err_text());
    return n_failed != 0;
}
