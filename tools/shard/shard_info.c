/* shard_info.c - `lt-shard info` and `lt-shard verify`: what is in a data set, and is it sound. */
#include "shard_tool.h"

#include "base/file.h"
#include "base/json.h"
#include "shard/shard_folder.h"
#include "shard/token_stream.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

lt_err shard_open_any(lt_dataset **out, const char *path)
{
    static const char TITLE[] = "lt-manifest";
    char start[sizeof TITLE - 1] = { 0 };
    char *real = lt_shard_folder_resolve(path);
    lt_file f;
    lt_err err;

    LT_TRY(err = lt_file_open_read(&f, real));
    if (f.size >= sizeof start)
        err = lt_file_pread(&f, 0, start, sizeof start);
    lt_file_close(&f);
    LT_TRY(err);
    if (memcmp(start, TITLE, sizeof start) == 0)
        LT_TRY(err = lt_dataset_open(out, path));
    else
        LT_TRY(err = lt_dataset_open_shard(out, real));
fail:
    free(real);
    return err;
}

/* ---- info ---- */

typedef struct info_args {
    bool json, entropy;
} info_args;

static const lt_option info_options[] = {
    { "json", 0, LT_OPT_FLAG, offsetof(info_args, json), NULL, "one JSON object a line", 0, 0 },
    { "entropy", 0, LT_OPT_FLAG, offsetof(info_args, entropy), NULL,
      "also the entropy of the token frequencies (reads everything)", 0, 0 },
    { 0 },
};

static const lt_command info_command = {
    .name = "lt-shard info",
    .synopsis = "[--json] [--entropy] SHARD|MANIFEST...",
    .summary = "print counts, compression and tokenizer of shards or data sets",
    .options = info_options,
};

/* What info prints of one file. */
typedef struct summary {
    const char *path;
    const lt_shard_manifest *manifest;
    uint64_t n_frames, stored_bytes, raw_bytes;
    uint32_t frame_log2;
    const char *dtype;
    double nats; /* below 0: not asked for */
} summary;

static void put_token(const char *key, uint32_t id, bool json)
{
    if (json && id == LT_NO_TOKEN)
        printf(", \"%s\": null", key);
    else if (json)
        printf(", \"%s\": %u", key, id);
    else if (id == LT_NO_TOKEN)
        printf("  %-16s none\n", key);
    else
        printf("  %-16s %u\n", key, id);
}

static void print_json(const summary *s)
{
    const lt_shard_manifest *m = s->manifest;
    char hash[LT_SHA256_HEX];
    lt_buf path = { 0 };

    lt_sha256_hex(m->tokenizer_hash, hash);
    lt_json_quote(&path, s->path, strlen(s->path));
    printf(
        "{\"path\": %s, \"shards\": %zu, \"tokens\": %llu, \"documents\": %llu, \"frames\": %llu, "
        "\"frame_tokens\": %u, \"bytes\": %llu, \"raw_bytes\": %llu, \"dtype\": \"%s\", "
        "\"vocab_size\": %u, \"tokenizer\": \"%s\"",
        path.data, m->n_rows, (ull)m->n_tokens, (ull)m->n_docs, (ull)s->n_frames,
        1u << s->frame_log2, (ull)s->stored_bytes, (ull)s->raw_bytes, s->dtype, m->vocab_size,
        hash);
    put_token("eot_id", m->eot_id, true);
    put_token("bos_id", m->bos_id, true);
    if (s->nats >= 0)
        printf(", \"unigram_entropy_nats\": %.6f", s->nats);
    printf("}\n");
    lt_buf_release(&path);
}

static void print_table(const summary *s)
{
    const lt_shard_manifest *m = s->manifest;
    char hash[LT_SHA256_HEX];

    lt_sha256_hex(m->tokenizer_hash, hash);
    printf("%s\n", s->path);
    printf("  %-16s %zu\n", "shards", m->n_rows);
    printf("  %-16s %llu\n", "tokens", (ull)m->n_tokens);
    printf("  %-16s %llu\n", "documents", (ull)m->n_docs);
    printf("  %-16s %llu of up to %u tokens\n", "frames", (ull)s->n_frames, 1u << s->frame_log2);
    printf("  %-16s %llu (%.2f a token; %s would take %.2f times that)\n", "bytes",
           (ull)s->stored_bytes, m->n_tokens ? (double)s->stored_bytes / (double)m->n_tokens : 0,
           s->dtype, s->stored_bytes ? (double)s->raw_bytes / (double)s->stored_bytes : 0);
    printf("  %-16s %u\n", "vocab_size", m->vocab_size);
    put_token("eot_id", m->eot_id, false);
    put_token("bos_id", m->bos_id, false);
    printf("  %-16s %s\n", "tokenizer", hash);
    if (s->nats >= 0)
        printf("  %-16s %.6f nats (perplexity %.1f)\n", "unigram entropy", s->nats, exp(s->nats));
}

static lt_err print_info(const char *path, const info_args *args)
{
    summary s = { .path = path, .nats = -1 };
    lt_dataset *d = NULL;
    lt_err err;

    LT_TRY(err = shard_open_any(&d, path));
    s.manifest = lt_dataset_manifest(d);
    s.dtype = s.manifest->vocab_size <= 65536 ? "u16" : "u32";
    for (size_t i = 0; i < s.manifest->n_rows; i++) {
        const lt_shard_info *shard = lt_shard_reader_info(lt_dataset_shard(d, i));

        s.n_frames += shard->foot.n_frames;
        s.stored_bytes += shard->file_bytes;
        s.raw_bytes += shard->foot.n_tokens * (uint64_t)lt_shard_id_bytes(&shard->head);
        s.frame_log2 = shard->head.frame_log2;
    }
    if (args->entropy)
        LT_TRY(err = lt_dataset_unigram_entropy(d, &s.nats));
    if (args->json)
        print_json(&s);
    else
        print_table(&s);
fail:
    lt_dataset_close(d);
    return err;
}

lt_err shard_info(int argc, char **argv)
{
    info_args args = { 0 };
    lt_opt_list files = { 0 };
    bool done;
    lt_err err;

    LT_TRY(err = lt_options_parse(&info_command, argc, argv, &args, &files, &done));
    if (!done && files.n == 0)
        err = lt_fail(LT_EUSAGE, "info: expected a shard or a manifest");
    for (size_t i = 0; !done && i < files.n; i++)
        LT_TRY(err = print_info(files.items[i], &args));
fail:
    lt_opt_list_release(&files);
    return err;
}

/* ---- verify ---- */

static const lt_option no_options[] = { { 0 } };

static const lt_command verify_command = {
    .name = "lt-shard verify",
    .synopsis = "SHARD|MANIFEST...",
    .summary = "check every byte of shards or data sets; damage exits with 65",
    .details =
        "Checks the header, the index, every frame's two checksums and its ids, the content "
        "root, the zstd seek table, and for a manifest that its shards are the ones it means. "
        "The message names the shard, the frame and its offset.",
    .options = no_options,
};

lt_err shard_verify(int argc, char **argv)
{
    lt_opt_list files = { 0 };
    bool done;
    lt_err err;

    LT_TRY(err = lt_options_parse(&verify_command, argc, argv, NULL, &files, &done));
    if (!done && files.n == 0)
        err = lt_fail(LT_EUSAGE, "verify: expected a shard or a manifest");
    for (size_t i = 0; !done && i < files.n; i++) {
        const lt_shard_manifest *m;
        lt_dataset *d;

        LT_TRY(err = shard_open_any(&d, files.items[i]));
        err = lt_dataset_verify(d);
        m = lt_dataset_manifest(d);
        if (err == LT_OK)
            printf("%s: ok: %llu tokens, %llu documents, %zu %s\n", files.items[i],
                   (ull)m->n_tokens, (ull)m->n_docs, m->n_rows,
                   m->n_rows == 1 ? "shard" : "shards");
        lt_dataset_close(d);
        LT_TRY(err);
    }
fail:
    lt_opt_list_release(&files);
    return err;
}
