/* bench_parse.c - words that several subcommands of lt-bench take. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

lt_err bench_parse_precision(lt_dtype *out, const char *word)
{
    if (lt_dtype_from_name(out, word) && (*out == LT_F32 || *out == LT_BF16 || *out == LT_F16))
        return LT_OK;
    return lt_fail(LT_EUSAGE, "--precision: expected fp32, bf16 or fp16, found \"%s\"", word);
}

lt_err bench_parse_recompute(lt_recompute *out, const char *word)
{
    static const char *const names[] = { "none", "selective", "block" };

    for (int i = 0; i < 3; i++)
        if (strcmp(word, names[i]) == 0) {
            *out = (lt_recompute)i;
            return LT_OK;
        }
    return lt_fail(LT_EUSAGE, "--recompute: expected none, selective or block, found \"%s\"", word);
}

lt_err bench_parse_list(int64_t *out, int *n, int most, const char *option, const char *word,
                        int64_t bottom, int64_t top)
{
    const char *at = word;

    for (*n = 0; *n < most; at++) {
        size_t length = strcspn(at, ",");
        char *part = lt_asprintf("%.*s", (int)length, at);
        bool ok = lt_parse_int(part, &out[*n]) == LT_OK && out[*n] >= bottom && out[*n] <= top;

        free(part);
        if (!ok)
            break;
        ++*n;
        at += length;
        if (!*at)
            return LT_OK;
    }
    return lt_fail(LT_EUSAGE,
                   "--%s: expected up to %d numbers of %lld to %lld with commas between, found "
                   "\"%s\"",
                   option, most, (long long)bottom, (long long)top, word);
}

lt_err bench_fail_model(const char *word)
{
    return lt_fail(LT_EUSAGE,
                   "--model: expected gpt2, gpt2-medium, gpt2-large or gpt2-xl, found \"%s\"",
                   word);
}

lt_err bench_no_arguments(const char *subcommand, const lt_opt_list *rest)
{
    return rest->n == 0
               ? LT_OK
               : lt_fail(LT_EUSAGE, "%s: unexpected argument \"%s\"", subcommand, rest->items[0]);
}
