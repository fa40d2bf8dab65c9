/* lt-ckpt-merge - a checkpoint of any rank count into one Hugging Face folder; looks at and
 * verifies checkpoints.  The work is in lib/ckpt; this file has the options and picks the call. */
#include "ckpt_tool.h"
#include "base/log.h"
#include "base/options.h"
#include "ckpt/checkpoint_dir.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct arguments {
    const char *out, *dtype;
    uint64_t max_shard_bytes;
    bool force, allow_nonfinite, info, verify, json, quiet;
} arguments;

static const lt_option options[] = {
    { "out", 'o', LT_OPT_STRING, offsetof(arguments, out), "DIR",
      "write the Hugging Face folder DIR; it appears when it is complete", 0, 0 },
    { "dtype", 0, LT_OPT_STRING, offsetof(arguments, dtype), "TYPE",
      "fp32, bf16 or fp16 (default fp32)", 0, 0 },
    { "max-shard-size", 0, LT_OPT_SIZE, offsetof(arguments, max_shard_bytes), "BYTES",
      "start a new file when one would grow beyond this (default 5GB)", 0, 0 },
    { "force", 'f', LT_OPT_FLAG, offsetof(arguments, force), NULL,
      "replace DIR if it is a model folder", 0, 0 },
    { "allow-nonfinite", 0, LT_OPT_FLAG, offsetof(arguments, allow_nonfinite), NULL,
      "let NaN and infinity pass", 0, 0 },
    { "info", 'i', LT_OPT_FLAG, offsetof(arguments, info), NULL, "print what the checkpoint holds",
      0, 0 },
    { "verify", 0, LT_OPT_FLAG, offsetof(arguments, verify), NULL,
      "read everything and name every damaged place", 0, 0 },
    { "json", 0, LT_OPT_FLAG, offsetof(arguments, json), NULL,
      "with --info: one JSON object on stdout", 0, 0 },
    { "quiet", 'q', LT_OPT_FLAG, offsetof(arguments, quiet), NULL, "say nothing but errors", 0, 0 },
    { 0 },
};

static const lt_command command = {
    .name = "lt-ckpt-merge",
    .synopsis = "CHECKPOINT -o DIR [options] | --info [--json] CHECKPOINT | --verify CHECKPOINT",
    .summary = "turn a checkpoint of lt-train into a Hugging Face folder",
    .details =
        "CHECKPOINT is a step folder (step-00000100) or the directory that holds such folders; "
        "then the newest complete one is taken and named.  Any number of ranks may have written "
        "it.  Every block that is read is checked against its sum; damage ends the work with code "
        "65 and leaves no folder behind.\n\n"
        "DIR gets config.json, generation_config.json, the tokenizer and model.safetensors (or "
        "model-00001-of-0000N.safetensors with an index), with tensors as transformers names and "
        "stores them.  Memory stays below 128 MB whatever the size of the model.",
    .options = options,
};

static lt_err check_arguments(const arguments *a, const lt_opt_list *rest, lt_dtype *dtype)
{
    static const char *const names[] = { "fp32", "bf16", "fp16", NULL };
    static const lt_dtype types[] = { LT_F32, LT_BF16, LT_F16 };
    const char *near;

    if (rest->n != 1)
        return lt_fail(LT_EUSAGE, "expected one CHECKPOINT, found %zu; see --help", rest->n);
    if ((a->out != NULL) + a->info + a->verify != 1)
        return lt_fail(LT_EUSAGE, "expected one of -o DIR, --info and --verify; see --help");
    if (a->json && !a->info)
        return lt_fail(LT_EUSAGE, "--json goes with --info");
    if (a->out && a->out[0] == '\0')
        return lt_fail(LT_EUSAGE, "-o: the name of the folder is empty");
    if (!a->out && (a->dtype || a->force || a->allow_nonfinite))
        return lt_fail(LT_EUSAGE, "--dtype, --force and --allow-nonfinite go with -o DIR");
    for (int i = 0; names[i]; i++)
        if (strcmp(a->dtype ? a->dtype : names[0], names[i]) == 0) {
            *dtype = types[i];
            return LT_OK;
        }
    near = lt_nearest(a->dtype, names);
    return lt_fail(LT_EUSAGE, "--dtype: expected fp32, bf16 or fp16, found \"%s\"%s%s", a->dtype,
                   near ? "; did you mean " : "", near ? near : "");
}

static lt_err run(const arguments *a, const char *where, lt_dtype dtype)
{
    const lt_hf_export_options export = { .dtype = dtype,
                                          .max_shard_bytes = a->max_shard_bytes,
                                          .force = a->force,
                                          .allow_nonfinite = a->allow_nonfinite };
    lt_ckpt *c = NULL;
    char *path = NULL;
    bool chosen = false;
    lt_err err;

    LT_TRY(err = lt_ckpt_resolve(where, &path, &chosen));
    if (chosen)
        lt_log_info("taking %s, the newest complete checkpoint of %s", path, where);
    LT_TRY(err = lt_ckpt_open(&c, path));
    if (a->info)
        err = tool_info(c, a->json);
    else if (a->verify)
        err = tool_verify(c);
    else
        err = tool_merge(c, a->out, &export);
fail:
    lt_ckpt_close(c);
    free(path);
    return err;
}

int main(int argc, char **argv)
{
    arguments a = { .max_shard_bytes = 5000000000u };
    lt_opt_list rest = { 0 };
    lt_dtype dtype = LT_F32;
    bool done = false;
    lt_err err;

    lt_log_init("lt-ckpt-merge", LT_LOG_INFO);
    LT_TRY(err = lt_options_parse(&command, argc, argv, &a, &rest, &done));
    if (done)
        goto fail;
    LT_TRY(err = check_arguments(&a, &rest, &dtype));
    if (a.quiet)
        lt_log_init("lt-ckpt-merge", LT_LOG_ERROR);
    LT_TRY(err = run(&a, rest.items[0], dtype));
fail:
    lt_opt_list_release(&rest);
    return lt_log_exit(err);
}
