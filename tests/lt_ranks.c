/* lt_ranks.c - runs the registered tests of one program on all ranks.  Usage: ranks_x [name...]
 *
 * Tests named on_purpose_* end badly and run only when asked for by their whole name. */
#include "lt_ranks.h"
#include "base/log.h"

#include <stdlib.h>

static lt_group *group;
static lt_dev *dev;

lt_group *lt_ranks_group(void)
{
    return group;
}

lt_dev *lt_ranks_device(void)
{
    return dev;
}

/* "on_purpose_" tests run only by their own name. */
static bool wanted(const char *name, int argc, char **argv)
{
    bool on_purpose = strncmp(name, "on_purpose_", 11) == 0;

    for (int i = 1; i < argc; i++)
        if (on_purpose ? strcmp(name, argv[i]) == 0 : strstr(name, argv[i]) != NULL)
            return true;
    return argc < 2 && !on_purpose;
}

static lt_err open_device(void)
{
    const char *name = getenv("LT_DEVICE");
    lt_dev_options options = { .n_threads = 1,
                               .ordinal = group->local_rank,
                               .deterministic = true };

    return lt_group_agree(group, lt_dev_open(&dev, name ? name : "cpu", &options));
}

/* Failed anywhere? */
static lt_err share_verdict(bool *any)
{
    bool *all = calloc((size_t)group->world, sizeof *all);
    lt_err err = lt_group_all_gather(group, all, &lt_test.failed, sizeof *all);

    *any = false;
    for (int r = 0; err == LT_OK && r < group->world; r++)
        *any |= all[r];
    free(all);
    return err;
}

static lt_err run_all(int argc, char **argv, int *n_failed)
{
    int n = 0;
    lt_err err = LT_OK;

    for (lt_test_case *c = lt_test.first; c; c = c->next) {
        bool any;

        if (!wanted(c->name, argc, argv))
            continue;
        lt_test.failed = false;
        lt_test.skipped = NULL;
        c->run();
        LT_TRY(err = share_verdict(&any));
        *n_failed += any;
        n++;
        if (group->rank == 0)
            printf("%sok %d - %d rank%s: %s%s%s\n", any ? "not " : "", n, group->world,
                   group->world > 1 ? "s" : "", c->name, lt_test.skipped ? " # SKIP " : "",
                   lt_test.skipped ? lt_test.skipped : "");
    }
    if (group->rank == 0)
        printf("1..%d\n", n);
fail:
    return err;
}

int main(int argc, char **argv)
{
    int n_failed = 0;
    lt_err err;

    setvbuf(stdout, NULL, _IOLBF, 0);
    lt_log_init(argv[0], LT_LOG_ERROR);
    LT_TRY(err = lt_group_open(&group));
    snprintf(lt_test.who, sizeof lt_test.who, "rank %d: ", group->rank);
    LT_TRY(err = open_device());
    LT_TRY(err = run_all(argc, argv, &n_failed));
fail:
    if (err != LT_OK)
        fprintf(stderr, "not ok - %s: %s\n", argv[0], lt_err_text());
    lt_dev_close(dev);
    lt_group_close(group);
    return err != LT_OK || n_failed > 0;
}
