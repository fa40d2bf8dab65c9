/* fuzz_yaml.c - a configuration from hostile YAML; what is accepted must print and load the same.
 *
 * Bytes after a line "--" are command line overrides, one a line. */
#include "config/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MOST_OVERRIDES = 8 };

static size_t split_overrides(char *text, const char **out)
{
    size_t n = 0;

    for (char *line = text; *line && n < MOST_OVERRIDES;) {
        char *end = line + strcspn(line, "\n");

        out[n++] = line;
        line = *end ? end + 1 : end;
        *end = '\0';
    }
    return n;
}

static void check_round_trip(const lt_config *c)
{
    lt_config *again = NULL;
    lt_buf a = { 0 }, b = { 0 };

    lt_config_digest_text(c, &a);
    if (lt_config_parse(&again, lt_buf_cstr(&a), a.size, "again", 0, NULL) != LT_OK)
        abort();
    lt_config_digest_text(again, &b);
    if (strcmp(lt_buf_cstr(&a), lt_buf_cstr(&b)) != 0)
        abort();
    lt_config_free(again);
    lt_buf_release(&a);
    lt_buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *overrides[MOST_OVERRIDES];
    char *text = lt_new0(n + 1), *rest;
    size_t n_yaml = n, n_overrides = 0;
    lt_config *c = NULL;

    memcpy(text, data, n);
    rest = memmem(text, n, "\n--\n", 4);
    if (rest) {
        n_yaml = (size_t)(rest - text) + 1;
        n_overrides = split_overrides(rest + 4, overrides);
    }
    if (lt_config_parse(&c, text, n_yaml, "fuzz", (int)n_overrides, overrides) == LT_OK) {
        check_round_trip(c);
        if (lt_config_resolve_batch(c, 2) == LT_OK)
            check_round_trip(c);
        if (lt_config_check_runnable(c) == LT_OK && c->training.lr < 0)
            abort();
    }
    lt_config_free(c);
    free(text);
    return 0;
}
