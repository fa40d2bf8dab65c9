/* shard_split.c - parsing of --split, and dealing out. */
#include "shard_split.h"

#include "base/hash.h"
#include "base/options.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct shard_splitter {
    shard_split_spec spec;
    lt_shard_series *series[SPLIT_MAX];
    uint32_t *held; /* start of a document (or a block) whose split is not known yet */
    size_t n_held, capacity;
    int current;      /* split of the document's last tokens; -1: none yet */
    uint64_t n_dealt; /* documents (or blocks) with tokens */
};

/* ---- --split, --split-by ---- */

static bool valid_name(const char *s, size_t n)
{
    if (n == 0 || n >= SPLIT_NAME_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!(s[i] >= 'a' && s[i] <= 'z') &&
            !(i > 0 && ((s[i] >= '0' && s[i] <= '9') || s[i] == '_')))
            return false;
    return true;
}

/* One "name=fraction" of n bytes; a fraction of 0 asks for no such split. */
static lt_err parse_part(shard_split_spec *spec, const char *part, size_t n)
{
    const char *equals = memchr(part, '=', n);
    size_t name = equals ? (size_t)(equals - part) : 0;
    char *number = NULL;
    double x;
    lt_err err = LT_OK;

    if (!equals || !valid_name(part, name))
        return lt_fail(LT_EUSAGE,
                       "--split: expected name=fraction with a name of a-z, 0-9 and _, "
                       "found \"%.*s\"",
                       (int)n, part);
    number = lt_asprintf("%.*s", (int)(n - name - 1), equals + 1);
    LT_TRY(err = lt_parse_real(number, &x));
    if (!(x >= 0 && x <= 1)) {
        err = lt_fail(LT_EUSAGE, "--split: %.*s: expected a fraction from 0 to 1", (int)n, part);
        goto fail;
    }
    for (int i = 0; i < spec->n; i++)
        if (strlen(spec->name[i]) == name && memcmp(spec->name[i], part, name) == 0)
            err = lt_fail(LT_EUSAGE, "--split: %s is named twice", spec->name[i]);
    if (err == LT_OK && x > 0 && spec->n == SPLIT_MAX)
        err = lt_fail(LT_EUSAGE, "--split: more than %d splits", SPLIT_MAX);
    if (err == LT_OK && x > 0) {
        memcpy(spec->name[spec->n], part, name);
        spec->fraction[spec->n++] = x;
    }
fail:
    free(number);
    return err;
}

lt_err shard_split_parse(shard_split_spec *spec, const char *split, const char *by)
{
    static const char TOKENS[] = "tokens:";
    double sum = 0;
    int64_t n = 0;
    lt_err err;

    for (const char *part = split;; part++) {
        size_t k = strcspn(part, ",");

        LT_TRY(err = parse_part(spec, part, k));
        part += k;
        if (!*part)
            break;
    }
    for (int i = 0; i < spec->n; i++)
        sum += spec->fraction[i];
    if (fabs(sum - 1) > 1e-9)
        return lt_fail(LT_EUSAGE, "--split: the fractions of %s add up to %g, expected 1", split,
                       sum);
    if (strcmp(by, "document") == 0)
        return LT_OK;
    if (strncmp(by, TOKENS, strlen(TOKENS)) != 0 ||
        lt_parse_int(by + strlen(TOKENS), &n) != LT_OK || n < 1 || n > SPLIT_BLOCK_MAX)
        return lt_fail(LT_EUSAGE,
                       "--split-by: expected document or tokens:N with N in 1..%d, "
                       "found \"%s\"",
                       SPLIT_BLOCK_MAX, by);
    spec->block_tokens = (uint64_t)n;
    return LT_OK;
fail:
    return err;
}

/* ---- dealing out ---- */

shard_splitter *shard_splitter_new(const char *dir, const shard_split_spec *spec,
                                   uint64_t shard_tokens, const lt_shard_writer_options *options)
{
    shard_splitter *s = lt_new0(sizeof *s);

    s->spec = *spec;
    s->capacity = spec->block_tokens ? spec->block_tokens : SPLIT_HASHED;
    s->held = lt_new_array0(s->capacity, sizeof *s->held);
    s->current = -1;
    for (int i = 0; i < spec->n; i++)
        s->series[i] = lt_shard_series_new(dir, spec->name[i], shard_tokens, options);
    return s;
}

static int pick(const shard_splitter *s)
{
    uint64_t h = lt_xxh64(s->held, s->n_held * sizeof *s->held, s->spec.seed);
    double u = (double)(h >> 11) * 0x1p-53, sum = 0;

    for (int i = 0; i + 1 < s->spec.n; i++) {
        sum += s->spec.fraction[i];
        if (u < sum)
            return i;
    }
    return s->spec.n - 1;
}

static lt_err deal_held(shard_splitter *s)
{
    int split = pick(s);
    size_t n = s->n_held;

    if (s->current >= 0 && s->current != split)
        lt_shard_series_end_document(s->series[s->current]);
    s->current = split;
    s->n_held = 0;
    s->n_dealt++;
    return lt_shard_series_append(s->series[split], s->held, n);
}

lt_err shard_splitter_piece(shard_splitter *s, const uint32_t *ids, size_t n, bool document_end)
{
    lt_err err = LT_OK;

    while (n > 0) {
        size_t room = s->capacity - s->n_held, take = n < room ? n : room;

        if (s->current >= 0 && s->spec.block_tokens == 0) { /* the document's split is known */
            LT_TRY(err = lt_shard_series_append(s->series[s->current], ids, n));
            break;
        }
        memcpy(s->held + s->n_held, ids, take * sizeof *ids);
        s->n_held += take;
        ids += take;
        n -= take;
        if (s->n_held == s->capacity)
            LT_TRY(err = deal_held(s));
    }
    if (document_end) {
        if (s->n_held > 0)
            LT_TRY(err = deal_held(s));
        lt_shard_series_end_document(s->series[s->current]);
        s->current = -1;
    }
fail:
    return err;
}

lt_err shard_splitter_finish(shard_splitter *s)
{
    lt_err err = LT_OK;

    if (s->n_dealt == 0)
        return lt_fail(LT_EUSAGE, "the input holds no tokens");
    for (int i = 0; i < s->spec.n; i++) {
        LT_TRY(err = lt_shard_series_finish(s->series[i]));
        if (lt_shard_series_manifest(s->series[i])->n_tokens == 0)
            return lt_fail(LT_EUSAGE,
                           "%s=%g received none of the %llu %s%s: ask for a larger share, split by "
                           "blocks of tokens (--split-by tokens:%s), or make one split (--split "
                           "train=1)",
                           s->spec.name[i], s->spec.fraction[i], (unsigned long long)s->n_dealt,
                           s->spec.block_tokens ? "block" : "document", s->n_dealt == 1 ? "" : "s",
                           s->spec.block_tokens ? "N with a smaller N" : "4096");
    }
fail:
    return err;
}

const lt_shard_manifest *shard_splitter_manifest(const shard_splitter *s, int split)
{
    return lt_shard_series_manifest(s->series[split]);
}

void shard_splitter_free(shard_splitter *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->spec.n; i++)
        lt_shard_series_free(s->series[i]);
    free(s->held);
    free(s);
}
