/* bench_config.c - a configuration of lt-train on the command line of a subcommand. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

lt_err bench_options_config(const lt_command *command, int argc, char **argv, void *values,
                            lt_config **config)
{
    const char **overrides = lt_new_array0((size_t)argc + 1, sizeof *overrides);
    int n = lt_config_take_options(&argc, argv, overrides);
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
