/* shard_build.c - `lt-shard --out DIR STREAM...`: token streams into a data set folder. */
#include "shard_tool.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "shard/shard_folder.h"
#include "shard/token_stream.h"
#include "shard_split.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct build_args {
    const char *out, *split, *split_by;
    int64_t seed, shard_tokens, level, threads, frame_log2;
    bool force, json;
} build_args;

static const lt_option options[] = {
    { "out", 'o', LT_OPT_STRING, offsetof(build_args, out), "DIR",
      "folder of the data set; it appears there whole at the end of the run", 0, 0 },
    { "force", 'f', LT_OPT_FLAG, offsetof(build_args, force), NULL,
      "replace the data set in DIR; it stays intact until the new one is complete", 0, 0 },
    { "split", 0, LT_OPT_STRING, offsetof(build_args, split), "NAME=SHARE,...",
      "splits and their shares (default train=0.99,val=0.01)", 0, 0 },
    { "split-by", 0, LT_OPT_STRING, offsetof(build_args, split_by), "WHAT",
      "what is dealt out to the splits: document (default), or tokens:N for blocks of N tokens "
      "when the corpus is a few huge documents",
      0, 0 },
    { "seed", 0, LT_OPT_INT, offsetof(build_args, seed), "N", "of the split (default 0)", 0, 1e15 },
    { "shard-tokens", 0, LT_OPT_INT, offsetof(build_args, shard_tokens), "N",
      "tokens of a shard (default 268435456)", 1, (double)LT_SHARD_MAX_TOKENS },
    { "frame-tokens-log2", 0, LT_OPT_INT, offsetof(build_args, frame_log2), "N",
      "2^N tokens are compressed together and read together (default 14)", LT_SHARD_MIN_LOG2,
      LT_SHARD_MAX_LOG2 },
    { "level", 0, LT_OPT_INT, offsetof(build_args, level), "N", "zstd level (default 3)", 1, 19 },
    { "threads", 'j', LT_OPT_INT, offsetof(build_args, threads), "N",
      "compressing threads (default 0: one a CPU); the output is the same for any number", 0,
      1024 },
    { "json", 0, LT_OPT_FLAG, offsetof(build_args, json), NULL,
      "print what was written as one JSON object on stdout", 0, 0 },
    { 0 },
};

static const lt_command command = {
    .name = "lt-shard",
    .synopsis = "--out DIR [options] [STREAM...]",
    .summary = "turn token streams of lt-tokenize into a data set of compressed shards",
    .details =
        "Reads STREAMs (default, and -: standard input) and writes DIR/train-00000.lts.zst, ..., "
        "DIR/val-00000.lts.zst, ..., DIR/train.manifest, DIR/val.manifest and DIR/tokenizer.json.\n\n"
        "Every shard is a valid .zst file. A document goes to a split by a hash of its tokens, so "
        "the same document always lands on the same side.\n\n"
        "Other commands, each with --help: lt-shard info | verify | cat | repair | manifest.",
    .options = options,
};

/* A run from the first stream to the commit. */
typedef struct build {
    const build_args *args;
    shard_split_spec spec;
    lt_pool *pool;
    lt_shard_folder *folder;
    shard_splitter *splitter;
    lt_token_stream_info info; /* of the first stream, without its text */
    const char *first_name;
    uint64_t n_tokens;
    double started;
} build;

static lt_err save_tokenizer(const build *b, const lt_token_stream_info *info)
{
    char *path = lt_path_join(lt_shard_folder_unfinished(b->folder), "tokenizer.json");
    lt_err err = LT_OK;

    if (info->tokenizer_json_size > 0)
        err = lt_file_write_atomic(path, info->tokenizer_json, info->tokenizer_json_size);
    else
        lt_log_warn("%s carries no tokenizer.json, so the data set has none", b->first_name);
    free(path);
    return err;
}

/* The first stream decides vocabulary and tokenizer; the others must agree. */
static lt_err meet_stream(build *b, const lt_token_stream_info *info, const char *name)
{
    lt_shard_writer_options o = { .vocab_size = info->vocab_size,
                                  .eot_id = info->eot_id,
                                  .bos_id = info->bos_id,
                                  .seed = b->spec.seed,
                                  .frame_log2 = (int)b->args->frame_log2,
                                  .level = (int)b->args->level,
                                  .pool = b->pool,
                                  .documents = true };

    if (b->splitter) {
        if (memcmp(info->tokenizer_hash, b->info.tokenizer_hash, 32) != 0 ||
            info->vocab_size != b->info.vocab_size || info->eot_id != b->info.eot_id ||
            info->bos_id != b->info.bos_id)
            return lt_fail(LT_EMISMATCH, "%s: made with another tokenizer than %s", name,
                           b->first_name);
        return LT_OK;
    }
    memcpy(o.tokenizer_hash, info->tokenizer_hash, 32);
    b->info = *info;
    b->first_name = name;
    b->splitter = shard_splitter_new(lt_shard_folder_unfinished(b->folder), &b->spec,
                                     (uint64_t)b->args->shard_tokens, &o);
    return save_tokenizer(b, info);
}

static void show_progress(build *b, size_t n)
{
    enum { EVERY = 1 << 23 };
    uint64_t before = b->n_tokens / EVERY;

    b->n_tokens += n;
    if (b->n_tokens / EVERY != before)
        lt_log_progress("%.1f M tokens, %.1f M/s", (double)b->n_tokens * 1e-6,
                        (double)b->n_tokens * 1e-6 / (lt_now() - b->started));
}

static lt_err read_stream(build *b, const char *path)
{
    bool from_stdin = strcmp(path, "-") == 0, document_end, end = false;
    const char *name = from_stdin ? "standard input" : path;
    int fd = from_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    lt_token_reader *r = NULL;
    const uint32_t *ids;
    size_t n;
    lt_err err;

    if (fd < 0)
        return lt_fail(errno == ENOENT ? LT_ENOENT : LT_EIO, "%s: %s", path, strerror(errno));
    LT_TRY(err = lt_token_reader_open(&r, fd, name));
    LT_TRY(err = meet_stream(b, lt_token_reader_info(r), name));
    for (;;) {
        LT_TRY(err = lt_token_reader_next(r, &ids, &n, &document_end, &end));
        if (end)
            break;
        LT_TRY(err = shard_splitter_piece(b->splitter, ids, n, document_end));
        show_progress(b, n);
    }
fail:
    lt_token_reader_close(r);
    if (!from_stdin)
        close(fd);
    return err;
}

static void report(const build *b)
{
    double seconds = lt_now() - b->started;

    lt_log_progress_end();
    for (int i = 0; i < b->spec.n; i++) {
        const lt_shard_manifest *m = shard_splitter_manifest(b->splitter, i);

        lt_log_info("%s: %llu tokens, %llu documents, %zu %s", b->spec.name[i], (ull)m->n_tokens,
                    (ull)m->n_docs, m->n_rows, m->n_rows == 1 ? "shard" : "shards");
    }
    if (!b->args->json)
        return;
    printf("{\"tokens\": %llu, \"seconds\": %.3f, \"splits\": {", (ull)b->n_tokens, seconds);
    for (int i = 0; i < b->spec.n; i++) {
        const lt_shard_manifest *m = shard_splitter_manifest(b->splitter, i);
        char id[LT_SHA256_HEX];

        lt_sha256_hex(m->id, id);
        printf("%s\"%s\": {\"tokens\": %llu, \"documents\": %llu, \"shards\": %zu, \"id\": \"%s\"}",
               i ? ", " : "", b->spec.name[i], (ull)m->n_tokens, (ull)m->n_docs, m->n_rows, id);
    }
    printf("}}\n");
}

static lt_err run(build *b, const lt_opt_list *streams)
{
    lt_err err;

    LT_TRY(err = lt_shard_folder_open(&b->folder, b->args->out, b->args->force));
    for (size_t i = 0; i < streams->n; i++)
        LT_TRY(err = read_stream(b, streams->items[i]));
    LT_TRY(err = shard_splitter_finish(b->splitter));
    err = lt_shard_folder_commit(b->folder);
    b->folder = NULL;
    LT_TRY(err);
    report(b);
fail:
    return err;
}

lt_err shard_build(int argc, char **argv)
{
    build_args args = { .split = "train=0.99,val=0.01",
                        .split_by = "document",
                        .shard_tokens = 1 << 28,
                        .level = 3,
                        .frame_log2 = LT_SHARD_DEFAULT_LOG2 };
    build b = { .args = &args, .started = lt_now() };
    lt_opt_list streams = { 0 };
    bool done;
    lt_err err;

    LT_TRY(err = lt_options_parse(&command, argc, argv, &args, &streams, &done));
    if (done)
        goto fail;
    if (!args.out) {
        err = lt_fail(LT_EUSAGE, "--out DIR is missing; lt-shard --help tells more");
        goto fail;
    }
    LT_TRY(err = shard_split_parse(&b.spec, args.split, args.split_by));
    b.spec.seed = (uint64_t)args.seed;
    if (streams.n == 0)
        lt_opt_list_add(&streams, "-");
    if (isatty(STDIN_FILENO) && strcmp(streams.items[0], "-") == 0) {
        err = lt_fail(LT_EUSAGE, "standard input is a terminal; pipe lt-tokenize into lt-shard");
        goto fail;
    }
    b.pool = lt_pool_new((int)args.threads);
    err = run(&b, &streams);
fail:
    shard_splitter_free(b.splitter);
    lt_shard_folder_abort(b.folder);
    lt_pool_free(b.pool);
    lt_opt_list_release(&streams);
    return err;
}
