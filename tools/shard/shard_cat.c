/* shard_cat.c - `lt-shard cat`: tokens back out of shards, as ids, raw integers or text. */
#include "shard_tool.h"

#include "base/file.h"
#include "shard/shard_bytes.h"
#include "text/decoder.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct cat_args {
    const char *tokens;
    int64_t document;
    bool ids, text, raw;
} cat_args;

static const lt_option options[] = {
    { "tokens", 0, LT_OPT_STRING, offsetof(cat_args, tokens), "A:B",
      "tokens A to B-1; either may be left out (default: all)", 0, 0 },
    { "document", 0, LT_OPT_INT, offsetof(cat_args, document), "N", "document N, counted from 0", 0,
      1e15 },
    { "ids", 0, LT_OPT_FLAG, offsetof(cat_args, ids), NULL,
      "ids in decimal, one document a line (default)", 0, 0 },
    { "text", 0, LT_OPT_FLAG, offsetof(cat_args, text), NULL,
      "text, by the tokenizer.json beside the file", 0, 0 },
    { "raw", 0, LT_OPT_FLAG, offsetof(cat_args, raw), NULL,
      "little-endian integers, 2 or 4 bytes each, as zstd -dc prints a shard", 0, 0 },
    { 0 },
};

static const lt_command command = {
    .name = "lt-shard cat",
    .synopsis = "[--tokens A:B | --document N] [--ids | --text | --raw] SHARD|MANIFEST",
    .summary = "print tokens of a shard or a data set",
    .options = options,
};

static lt_err parse_range(const char *text, uint64_t n, uint64_t *first, uint64_t *count)
{
    char *a = lt_strdup(text), *colon = strchr(a, ':');
    int64_t from = 0, to = (int64_t)n;
    lt_err err = LT_OK;

    if (!colon) {
        err = lt_fail(LT_EUSAGE, "--tokens=%s: expected A:B", text);
        goto fail;
    }
    *colon = '\0';
    if (*a)
        LT_TRY(err = lt_parse_int(a, &from));
    if (colon[1])
        LT_TRY(err = lt_parse_int(colon + 1, &to));
    if (from < 0 || from > to || (uint64_t)to > n) {
        err = lt_fail(LT_EUSAGE, "--tokens=%s: expected 0 <= A <= B <= %llu", text, (ull)n);
        goto fail;
    }
    *first = (uint64_t)from;
    *count = (uint64_t)(to - from);
fail:
    free(a);
    return err;
}

static lt_err choose(const lt_dataset *d, const cat_args *args, uint64_t *first, uint64_t *n)
{
    uint64_t n_docs = lt_dataset_manifest(d)->n_docs;

    *first = 0;
    *n = lt_dataset_tokens(d);
    if (args->document >= 0 && args->tokens)
        return lt_fail(LT_EUSAGE, "--tokens and --document exclude each other");
    if (args->tokens)
        return parse_range(args->tokens, *n, first, n);
    if (args->document < 0)
        return LT_OK;
    if ((uint64_t)args->document >= n_docs)
        return lt_fail(LT_EUSAGE, "--document=%lld: %s holds %llu documents, counted from 0",
                       (long long)args->document, lt_dataset_path(d), (ull)n_docs);
    lt_dataset_document(d, (uint64_t)args->document, first, n);
    return LT_OK;
}

/* The tokenizer of the data set, which must be the one its shards were made with. */
static lt_err open_tokenizer(const lt_dataset *d, lt_tokenizer **out)
{
    char *path = lt_dataset_tokenizer_path(d);
    lt_err err;

    LT_TRY(err = lt_tokenizer_open(out, path));
    if (memcmp(lt_tokenizer_hash(*out), lt_dataset_manifest(d)->tokenizer_hash, 32) != 0)
        err = lt_fail(LT_EMISMATCH, "%s: not the tokenizer that %s was made with", path,
                      lt_dataset_path(d));
fail:
    free(path);
    return err;
}

static void put_ids(lt_buf *out, const lt_dataset *d, const uint32_t *ids, uint64_t first, size_t n)
{
    uint64_t end = lt_dataset_next_end(d, first, NULL);

    for (size_t i = 0; i < n; i++) {
        bool last = first + i == end;

        lt_buf_printf(out, "%u%c", ids[i], last ? '\n' : ' ');
        if (last)
            end = lt_dataset_next_end(d, end + 1, NULL);
    }
}

static void put_raw(lt_buf *out, const lt_dataset *d, const uint32_t *ids, size_t n)
{
    bool narrow = lt_dataset_manifest(d)->vocab_size <= 65536;

    for (size_t i = 0; i < n; i++) {
        uint8_t bytes[4];

        lt_put_u32(bytes, ids[i]);
        lt_buf_append(out, bytes, narrow ? 2 : 4);
    }
}

static lt_err print_tokens(lt_dataset *d, const cat_args *args, uint64_t first, uint64_t n)
{
    enum { STEP = 1 << 14 };
    uint32_t *ids = lt_new_array0(STEP, sizeof *ids);
    lt_tokenizer *tokenizer = NULL;
    lt_decoder decoder = { 0 };
    lt_buf out = { 0 };
    lt_err err;

    if (args->text) {
        LT_TRY(err = open_tokenizer(d, &tokenizer));
        lt_decoder_init(&decoder, tokenizer);
    }
    for (uint64_t at = first; at < first + n; at += STEP) {
        size_t take = first + n - at < STEP ? (size_t)(first + n - at) : STEP;

        LT_TRY(err = lt_dataset_read(d, at, ids, take));
        lt_buf_clear(&out);
        for (size_t i = 0; args->text && i < take; i++)
            LT_TRY(err = lt_decoder_push(&decoder, ids[i], &out));
        if (args->raw)
            put_raw(&out, d, ids, take);
        else if (!args->text)
            put_ids(&out, d, ids, at, take);
        LT_TRY(err = lt_fd_write(STDOUT_FILENO, out.data, out.size, "standard output"));
    }
    lt_buf_clear(&out);
    if (args->text)
        lt_decoder_finish(&decoder, &out);
    else if (!args->raw && n > 0 && lt_dataset_next_end(d, first + n - 1, NULL) != first + n - 1)
        lt_buf_append(&out, "\n", 1);
    err = lt_fd_write(STDOUT_FILENO, lt_buf_cstr(&out), out.size, "standard output");
fail:
    lt_tokenizer_free(tokenizer);
    lt_buf_release(&out);
    free(ids);
    return err;
}

lt_err shard_cat(int argc, char **argv)
{
    cat_args args = { .document = -1 };
    lt_opt_list files = { 0 };
    lt_dataset *d = NULL;
    uint64_t first, n;
    bool done;
    lt_err err;

    LT_TRY(err = lt_options_parse(&command, argc, argv, &args, &files, &done));
    if (done)
        goto fail;
    if (files.n != 1 || args.ids + args.text + args.raw > 1) {
        err = lt_fail(LT_EUSAGE, files.n != 1 ? "cat: expected one shard or manifest"
                                              : "cat: --ids, --text and --raw exclude each other");
        goto fail;
    }
    LT_TRY(err = shard_open_any(&d, files.items[0]));
    LT_TRY(err = choose(d, &args, &first, &n));
    LT_TRY(err = print_tokens(d, &args, first, n));
fail:
    lt_dataset_close(d);
    lt_opt_list_release(&files);
    return err;
}
