/* config_case.h - configurations written in place, for the tests of config/. */
#ifndef LT_TESTS_CONFIG_CONFIG_CASE_H
#define LT_TESTS_CONFIG_CONFIG_CASE_H

#include "config/config.h"
#include "lt_test.h"

/* Parses `yaml` as c.yaml with up to three overrides (NULL: none). */
static inline lt_err parse_with(lt_config **out, const char *yaml, const char *a, const char *b,
                                const char *c)
{
    const char *overrides[] = { a, b, c };
    int n = a ? b ? c ? 3 : 2 : 1 : 0;

    return lt_config_parse(out, yaml, strlen(yaml), "c.yaml", n, overrides);
}

static inline lt_err parse(lt_config **out, const char *yaml)
{
    return parse_with(out, yaml, NULL, NULL, NULL);
}

#endif
