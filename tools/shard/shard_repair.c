/* shard_repair.c - `lt-shard repair` and `lt-shard manifest`: what to do when a file is lost. */
#include "shard_tool.h"

#include "base/file.h"
#include "base/log.h"
#include "shard/shard_verify.h"

#include <stdlib.h>
#include <string.h>

typedef struct output_args {
    const char *out;
} output_args;

/* ---- repair ---- */

static const lt_option repair_options[] = {
    { "out", 'o', LT_OPT_STRING, offsetof(output_args, out), "FILE", "write the sound shard here",
      0, 0 },
    { 0 },
};

static const lt_command repair_command = {
    .name = "lt-shard repair",
    .synopsis = "SHARD -o FILE",
    .summary = "save the sound frames of a shard that lost its end",
    .details =
        "Walks the frames from the start of the file to the first that is damaged or cut, and "
        "writes them with a new index. Document ends are rebuilt from end-of-text tokens. "
        "When tokens were lost the manifest does not fit any more: lt-shard manifest writes a "
        "new one.",
    .options = repair_options,
};

lt_err shard_repair(int argc, char **argv)
{
    output_args args = { 0 };
    lt_opt_list files = { 0 };
    lt_shard_repair saved;
    bool done;
    lt_err err;

    LT_TRY(err = lt_options_parse(&repair_command, argc, argv, &args, &files, &done));
    if (done)
        goto fail;
    if (files.n != 1 || !args.out) {
        err = lt_fail(LT_EUSAGE, "repair: expected one shard and -o FILE");
        goto fail;
    }
    LT_TRY(err = lt_shard_repair_file(files.items[0], args.out, &saved));
    lt_log_info("%s: %llu tokens in %llu frames, %llu documents", args.out, (ull)saved.n_tokens,
                (ull)saved.n_frames, (ull)saved.n_docs);
    if (saved.lost_bytes > 0)
        lt_log_warn("%s: %llu bytes from byte %llu on are lost", files.items[0],
                    (ull)saved.lost_bytes, (ull)saved.end_offset);
    if (!saved.docs_rebuilt)
        lt_log_warn("%s: document ends are lost: the tokenizer has no end-of-text token",
                    files.items[0]);
fail:
    lt_opt_list_release(&files);
    return err;
}

/* ---- manifest ---- */

static const lt_option manifest_options[] = {
    { "out", 'o', LT_OPT_STRING, offsetof(output_args, out), "FILE",
      "the manifest; the shards lie in its folder or below", 0, 0 },
    { 0 },
};

static const lt_command manifest_command = {
    .name = "lt-shard manifest",
    .synopsis = "SHARD... -o FILE",
    .summary = "write a manifest that joins shards in the given order",
    .options = manifest_options,
};

/* Adds the shard at `path`, named relative to the first `dir` bytes, which all shards share. */
static lt_err add_shard(lt_shard_manifest *m, const char *path, const char *manifest, size_t dir)
{
    const lt_shard_head *head;
    lt_shard_reader *r = NULL;
    lt_err err;

    if (strncmp(path, manifest, dir) != 0)
        return lt_fail(LT_EUSAGE, "%s: not in the folder of %s", path, manifest);
    LT_TRY(err = lt_shard_reader_open(&r, path));
    head = &lt_shard_reader_info(r)->head;
    if (m->n_rows == 0)
        lt_shard_manifest_describe(m, head);
    if (memcmp(m->tokenizer_hash, head->tokenizer_hash, 32) != 0 ||
        m->vocab_size != head->vocab_size) {
        err =
            lt_fail(LT_EMISMATCH, "%s: made with another tokenizer than %s", path, m->rows[0].path);
        goto fail;
    }
    lt_shard_manifest_add(m, path + dir, &lt_shard_reader_info(r)->foot);
fail:
    lt_shard_reader_close(r);
    return err;
}

lt_err shard_manifest(int argc, char **argv)
{
    output_args args = { 0 };
    lt_opt_list files = { 0 };
    lt_shard_manifest m = { 0 }, check = { 0 };
    lt_buf text = { 0 };
    bool done;
    lt_err err;

    LT_TRY(err = lt_options_parse(&manifest_command, argc, argv, &args, &files, &done));
    if (done)
        goto fail;
    if (files.n == 0 || !args.out) {
        err = lt_fail(LT_EUSAGE, "manifest: expected shards and -o FILE");
        goto fail;
    }
    for (size_t i = 0; i < files.n; i++)
        LT_TRY(err = add_shard(&m, files.items[i], args.out,
                               (size_t)(lt_path_base(args.out) - args.out)));
    lt_shard_manifest_format(&m, &text);
    LT_TRY(err = lt_shard_manifest_parse(&check, text.data, text.size, args.out)); /* paths */
    LT_TRY(err = lt_file_write_atomic(args.out, text.data, text.size));
fail:
    lt_shard_manifest_release(&m);
    lt_shard_manifest_release(&check);
    lt_buf_release(&text);
    lt_opt_list_release(&files);
    return err;
}
