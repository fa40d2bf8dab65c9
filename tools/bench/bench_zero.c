/* bench_zero.c - words about ZeRO and offload. */
#include "bench_zero.h"

#include <string.h>

static lt_err parse_offload(lt_zero_offload *out, const char *option, const char *word)
{
    *out = (lt_zero_offload){ .pinned = true, .n_buffers = 4, .ratio = 1 };
    if (!word || strcmp(word, "none") == 0)
        return LT_OK;
    if (strcmp(word, "cpu") == 0) {
        out->kind = LT_TIER_HOST;
        return LT_OK;
    }
    if (strncmp(word, "nvme:", 5) == 0 && word[5]) {
        out->kind = LT_TIER_FILE;
        out->path = word + 5;
        return LT_OK;
    }
    return lt_fail(LT_EUSAGE, "--%s: expected none, cpu or nvme:DIR, found \"%s\"", option, word);
}

lt_err bench_zero_settings(lt_zero_settings *out, const bench_zero *b)
{
    lt_err err;

    *out = (lt_zero_settings){ .stage = (int)b->stage,
                               .overlap = !b->no_overlap,
                               .persistence_threshold = 100000,
                               .model_persistence_threshold = INT64_MAX,
                               .prefetch = 50000000,
                               .max_live = 1000000000 };
    LT_TRY(err = parse_offload(&out->optimizer, "offload-optimizer", b->offload_optimizer));
    err = parse_offload(&out->param, "offload-param", b->offload_param);
fail:
    return err;
}
