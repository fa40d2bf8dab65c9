/* bench_config.c - a configuration of lt-train on the command line of a subcommand. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

/* Takes --section.key=value out of argv, which stays NULL-terminated; returns how many. */
static int split_overrides(int *argc, char **argv, const char **overrides)
{
    int kept = 1, n = 0;

    for (int i = 1; i < *argc; i++) {
        if (strpbrk(argv[i], ".=") && lt_config_is_option(argv[i]))
            overrides[n++] = argv[i];
        else
            argv[kept++] = argv[i];
    }
    argv[kept] = NULL;
    *argc = kept;
    return n;
}

lt_err bench_options_config(const lt_command *command, int argc, char **argv, void *values,
                            lt_config **config)
{
    const char **overrides = lt_new_array0((size_t)argc + 1, sizeof *overrides);
    int n = split_overrides(&argc, argv, overrides);
    lt_opt_list rest = { 0 };
    bool done = false;
    lt_err err;

    LT_TRY(err = lt_options_parse(command, argc, argv, values, &rest, &done));
    if (done)
        goto fail;
    if (rest.n != 1)
        err = lt_fail(LT_EUSAGE, "%s: expected one CONFIG.yaml, found %zu arguments", argv[0],
                      rest.n);
    else
        err = lt_config_load(config, rest.items[0], n, overrides);
fail:
    lt_opt_list_release(&rest);
    free(overrides);
    return err;
}
