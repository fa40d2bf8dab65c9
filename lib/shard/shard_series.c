/* shard/shard_series.c - rolls from shard to shard.  A full shard is closed when the next token
 * arrives, so that the end of its last document still reaches it and the last shard is known. */
#include "shard/shard_series.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

struct lt_shard_series {
    char *dir, *split;
    uint64_t shard_tokens;
    lt_shard_writer_options options;
    lt_shard_writer *open; /* NULL before the first token */
    char *name;            /* of the open shard, inside dir */
    lt_shard_manifest manifest;
};

lt_shard_series *lt_shard_series_new(const char *dir, const char *split, uint64_t shard_tokens,
                                     const lt_shard_writer_options *options)
{
    lt_shard_series *s = lt_new0(sizeof *s);

    LT_BUG_ON(shard_tokens == 0 || shard_tokens > LT_SHARD_MAX_TOKENS);
    s->dir = lt_strdup(dir);
    s->split = lt_strdup(split);
    s->shard_tokens = shard_tokens;
    s->options = *options;
    s->manifest.vocab_size = options->vocab_size;
    s->manifest.eot_id = options->eot_id;
    s->manifest.bos_id = options->bos_id;
    memcpy(s->manifest.tokenizer_hash, options->tokenizer_hash, 32);
    return s;
}

static lt_err close_shard(lt_shard_series *s, bool last)
{
    lt_shard_foot foot;
    lt_err err;

    LT_TRY(err = lt_shard_writer_finish(s->open, last, &foot));
    lt_shard_manifest_add(&s->manifest, s->name, &foot);
fail:
    s->open = NULL;
    free(s->name);
    s->name = NULL;
    return err;
}

static lt_err open_shard(lt_shard_series *s)
{
    char *path;
    lt_err err;

    s->name = lt_asprintf("%s-%05zu.lts.zst", s->split, s->manifest.n_rows);
    path = lt_path_join(s->dir, s->name);
    err = lt_shard_writer_open(&s->open, path, &s->options);
    free(path);
    return err;
}

lt_err lt_shard_series_append(lt_shard_series *s, const uint32_t *ids, size_t n)
{
    lt_err err = LT_OK;

    while (n > 0) {
        uint64_t room = s->open ? s->shard_tokens - lt_shard_writer_tokens(s->open) : 0;
        size_t take = n < room ? n : (size_t)room;

        if (s->open && lt_shard_writer_documents(s->open) == LT_SHARD_MAX_DOCS)
            take = 0;
        if (take == 0) {
            if (s->open)
                LT_TRY(err = close_shard(s, false));
            LT_TRY(err = open_shard(s));
            continue;
        }
        LT_TRY(err = lt_shard_writer_append(s->open, ids, take));
        ids += take;
        n -= take;
    }
fail:
    return err;
}

void lt_shard_series_end_document(lt_shard_series *s)
{
    if (s->open)
        lt_shard_writer_end_document(s->open);
}

lt_err lt_shard_series_finish(lt_shard_series *s)
{
    char *name, *path;
    lt_err err;

    if (!s->open)
        return LT_OK;
    name = lt_asprintf("%s.manifest", s->split);
    path = lt_path_join(s->dir, name);
    LT_TRY(err = close_shard(s, true));
    LT_TRY(err = lt_shard_manifest_save(&s->manifest, path));
fail:
    free(name);
    free(path);
    return err;
}

const lt_shard_manifest *lt_shard_series_manifest(const lt_shard_series *s)
{
    return &s->manifest;
}

void lt_shard_series_free(lt_shard_series *s)
{
    if (!s)
        return;
    lt_shard_writer_abort(s->open);
    lt_shard_manifest_release(&s->manifest);
    free(s->name);
    free(s->dir);
    free(s->split);
    free(s);
}
