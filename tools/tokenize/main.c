/* lt-tokenize - text to tokens, tokens to text, and learning a vocabulary. */
#include "base/log.h"
#include "tokenize.h"

#include <stddef.h>
#include <string.h>

#define AT(member) offsetof(tokenize_args, member)

static const lt_option options[] = {
    { NULL, 0, LT_OPT_HEADING, 0, NULL, "What to do", 0, 0 },
    { "tokenizer", 't', LT_OPT_STRING, AT(tokenizer), "gpt2|PATH",
      "built-in gpt2, a tokenizer.json, or a folder with it or vocab.json and merges.txt", 0, 0 },
    { "ids", 0, LT_OPT_FLAG, AT(ids), NULL, "write ids as text, one document a line", 0, 0 },
    { "count", 0, LT_OPT_FLAG, AT(count), NULL, "only count documents, bytes and tokens", 0, 0 },
    { "decode", 0, LT_OPT_FLAG, AT(decode), NULL,
      "write the text of a token stream, or with --tokenizer of lines of ids", 0, 0 },
    { "train", 0, LT_OPT_FLAG, AT(train), NULL, "learn a vocabulary, write its tokenizer.json", 0,
      0 },
    { NULL, 0, LT_OPT_HEADING, 0, NULL, "Input and output", 0, 0 },
    { "field", 'f', LT_OPT_STRING, AT(field), "NAME",
      "every input is JSONL and NAME its text (default: text, in .jsonl and .ndjson)", 0, 0 },
    { "separator", 's', LT_OPT_STRING, AT(separator), "STR",
      "what stands between documents of a text file; \\n \\t \\xHH are understood", 0, 0 },
    { "invalid", 0, LT_OPT_STRING, AT(invalid), "replace|error",
      "invalid UTF-8 becomes U+FFFD (default), or is an error", 0, 0 },
    { "strict", 0, LT_OPT_FLAG, AT(strict), NULL, "a bad line of JSONL is an error", 0, 0 },
    { "out", 'o', LT_OPT_STRING, AT(out), "FILE", "write here; - is stdout (default)", 0, 0 },
    { "json", 0, LT_OPT_FLAG, AT(json), NULL, "print the summary as JSON on stdout", 0, 0 },
    { "quiet", 'q', LT_OPT_FLAG, AT(quiet), NULL, "no progress and no summary on stderr", 0, 0 },
    { "threads", 'j', LT_OPT_INT, AT(threads), "N", "threads (default: one a CPU)", 0, 1024 },
    { NULL, 0, LT_OPT_HEADING, 0, NULL, "Training", 0, 0 },
    { "vocab-size", 0, LT_OPT_INT, AT(vocab_size), "N", "ids to learn, special ones included", 0,
      1e15 },
    { "special", 0, LT_OPT_LIST, AT(specials), "TOKEN",
      "a special token, may be repeated (default: <|endoftext|>)", 0, 0 },
    { "min-frequency", 0, LT_OPT_INT, AT(min_frequency), "N",
      "do not merge pairs that occur less often (default: 2)", 1, 1e15 },
    { 0 },
};

static const lt_command command = {
    .name = "lt-tokenize",
    .synopsis = "--tokenizer gpt2|PATH [options] INPUT... [-o FILE]",
    .summary = "turns text into tokens for lt-shard, and back",
    .details =
        "Inputs are text files, JSONL, folders of them, or - for stdin; gzip and zstd are\n"
        "recognised. A text file is one document, or many with --separator; a line of JSONL is one.\n"
        "The output, the same for any number of threads, is a token stream for lt-shard; it carries\n"
        "the tokenizer. Special tokens spelled in a text stay text.\n"
        "\n"
        "  lt-tokenize --tokenizer gpt2 corpus/ | lt-shard --out data\n"
        "  lt-tokenize --train --vocab-size 32000 corpus/ -o tokenizer.json",
    .options = options,
};

static lt_err check_mode(const tokenize_args *a)
{
    if (a->ids + a->count + a->decode + a->train > 1)
        return lt_fail(LT_EUSAGE, "--ids, --count, --decode and --train exclude each other");
    if (a->train && a->tokenizer)
        return lt_fail(LT_EUSAGE, "--train makes a tokenizer: --tokenizer does not go with it");
    if (a->train && a->vocab_size == 0)
        return lt_fail(LT_EUSAGE, "--train needs --vocab-size");
    if (!a->train && (a->vocab_size != 0 || a->specials.n > 0 || a->min_frequency != 0))
        return lt_fail(LT_EUSAGE, "--vocab-size, --special and --min-frequency go with --train");
    if (!a->train && !a->decode && !a->tokenizer)
        return lt_fail(LT_EUSAGE, "--tokenizer is missing: gpt2, a tokenizer.json or its folder");
    return LT_OK;
}

static lt_err check_args(const tokenize_args *a)
{
    bool to_stdout = !a->out || strcmp(a->out, "-") == 0;
    lt_err err;

    LT_TRY(err = check_mode(a));
    if (a->inputs.n == 0)
        return lt_fail(LT_EUSAGE, "no input: name files or folders, or - for standard input");
    if (strcmp(a->invalid, "replace") != 0 && strcmp(a->invalid, "error") != 0)
        return lt_fail(LT_EUSAGE, "--invalid=%s: expected replace or error", a->invalid);
    if (a->field && a->separator)
        return lt_fail(LT_EUSAGE, "--separator is for text: with --field every line is a document");
    if (a->decode && (a->field || a->strict || a->json))
        return lt_fail(LT_EUSAGE, "--field, --strict and --json do not go with --decode");
    if (a->count && a->out)
        return lt_fail(LT_EUSAGE, "--count writes no data: -o does not go with it");
    if (a->json && !a->count && to_stdout)
        return lt_fail(LT_EUSAGE, "--json: standard output carries the data, give -o FILE");
fail:
    return err;
}

static lt_err run(int argc, char **argv)
{
    tokenize_args args = { .invalid = "replace" };
    bool done;
    lt_err err;

    LT_TRY(err = lt_options_parse(&command, argc, argv, &args, &args.inputs, &done));
    if (done)
        goto fail;
    LT_TRY(err = check_args(&args));
    if (args.quiet)
        lt_log_init("lt-tokenize", LT_LOG_WARN);
    if (args.decode)
        err = tokenize_decode(&args);
    else if (args.train)
        err = tokenize_train(&args);
    else
        err = tokenize_encode(&args);
fail:
    lt_opt_list_release(&args.specials);
    lt_opt_list_release(&args.inputs);
    return err;
}

int main(int argc, char **argv)
{
    lt_log_init("lt-tokenize", LT_LOG_INFO);
    return lt_log_exit(run(argc, argv));
}
