/* generate_cli.c - lt-train generate: text from a checkpoint or a Hugging Face folder. */
#include "base/file.h"
#include "base/options.h"
#include "ckpt/checkpoint_dir.h"
#include "generate_cli.h"
#include "train/generate.h"
#include "train/snapshot.h"
#include "train/weights.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct generate_args {
    const char *checkpoint, *model, *tokenizer, *device, *precision;
    lt_opt_list prompts;
    double temperature, top_p;
    int64_t top_k, max_tokens, seed, threads;
} generate_args;

static const lt_option options[] = {
    { "checkpoint", 0, LT_OPT_STRING, offsetof(generate_args, checkpoint), "DIR",
      "a checkpoint of lt-train, or a directory of them (the newest)" },
    { "model", 0, LT_OPT_STRING, offsetof(generate_args, model), "DIR",
      "instead: a Hugging Face folder" },
    { "prompt", 'p', LT_OPT_LIST, offsetof(generate_args, prompts), "TEXT",
      "text to continue; may be given more than once (default: none)" },
    { "max-tokens", 'n', LT_OPT_INT, offsetof(generate_args, max_tokens), "N",
      "most tokens to add (default 128)", 1, 1 << 24 },
    { "temperature", 't', LT_OPT_REAL, offsetof(generate_args, temperature), "X",
      "0 takes the most likely token (default 0.8)", 0, 100 },
    { "top-k", 0, LT_OPT_INT, offsetof(generate_args, top_k), "K",
      "sample among the K most likely; 0: all (default 0)", 0, 1 << 24 },
    { "top-p", 0, LT_OPT_REAL, offsetof(generate_args, top_p), "P",
      "sample among the most likely that reach P together (default 1)", 1e-9, 1 },
    { "seed", 's', LT_OPT_INT, offsetof(generate_args, seed), "N",
      "same seed, same text (default 1)" },
    { "tokenizer", 0, LT_OPT_STRING, offsetof(generate_args, tokenizer), "gpt2|PATH",
      "default: the one kept with the model" },
    { "device", 0, LT_OPT_STRING, offsetof(generate_args, device), "NAME",
      "auto, cpu or cuda (default auto)" },
    { "precision", 0, LT_OPT_STRING, offsetof(generate_args, precision), "TYPE",
      "fp32 or bf16 (default fp32)" },
    { "threads", 0, LT_OPT_INT, offsetof(generate_args, threads), "N", "CPU threads (default all)",
      1, 4096 },
    { 0 },
};

static const lt_command command = {
    "lt-train generate",
    "--checkpoint DIR [--prompt TEXT]... [options]",
    "write text with a trained model",
    "Text goes to standard output as it is made, prompt included, one text a prompt.",
    options,
};

typedef struct stdout_sink {
    lt_generate_sink sink;
} stdout_sink;

static lt_err put_stdout(lt_generate_sink *sink, const char *text, size_t n)
{
    (void)sink;
    if (fwrite(text, 1, n, stdout) != n || fflush(stdout) != 0)
        return lt_fail(LT_EIO, "standard output: %s", strerror(errno));
    return LT_OK;
}

static lt_err open_engine(const generate_args *a, lt_engine **engine, lt_model_config *config,
                          const char *folder)
{
    char *path = lt_path_join(folder, "config.json");
    lt_engine_options o = { .config = config,
                            .device = a->device,
                            .dev = { .n_threads = (int)a->threads } };
    double dropout;
    lt_err err;

    LT_TRY(err = lt_model_config_from_hf(config, &dropout, path));
    o.shape.act = strcmp(a->precision, "bf16") == 0 ? LT_BF16 : LT_F32;
    o.shape.uses[LT_USE_GENERATE] = true;
    o.shape.generate_batch = 1;
    o.shape.generate_total = config->n_positions;
    o.shape.generate_prompt = config->n_positions < 256 ? config->n_positions : 256;
    LT_TRY(err = lt_engine_open(engine, &o));
    if (a->checkpoint)
        err = lt_snapshot_load_weights(*engine, folder);
    else
        err = lt_engine_load_hf(*engine, folder);
fail:
    free(path);
    return err;
}

static lt_err open_tokenizer(const generate_args *a, lt_tokenizer **t, const char *folder)
{
    char *path = lt_path_join(folder, "tokenizer.json");
    lt_err err = LT_OK;

    if (a->tokenizer)
        err = lt_setup_open_tokenizer(t, a->tokenizer);
    else if (lt_path_exists(path) || !a->model)
        err = lt_setup_open_tokenizer(t, path);
    else
        err = lt_setup_open_tokenizer(t, folder); /* vocab.json and merges.txt */
    free(path);
    return err;
}

static lt_err write_texts(const generate_args *a, lt_engine *engine, const lt_model_config *config,
                          const lt_tokenizer *t)
{
    static const char *none[] = { "" };
    const char **prompts = a->prompts.n ? a->prompts.items : none;
    size_t n = a->prompts.n ? a->prompts.n : 1;
    lt_sampling sampling = { a->temperature, a->top_k, a->top_p, (uint64_t)a->seed };
    stdout_sink sink = { { put_stdout } };
    lt_err err = LT_OK;

    for (size_t i = 0; i < n && err == LT_OK; i++) {
        LT_TRY(err = put_stdout(&sink.sink, prompts[i], strlen(prompts[i])));
        LT_TRY(
            err = lt_generate(engine, config, t, prompts[i], a->max_tokens, &sampling, &sink.sink));
        LT_TRY(err = put_stdout(&sink.sink, "\n", 1));
    }
fail:
    return err;
}

static lt_err check_args(const generate_args *a, const lt_opt_list *rest)
{
    if (rest->n)
        return lt_fail(LT_EUSAGE, "generate: unexpected argument \"%s\"", rest->items[0]);
    if (!a->checkpoint == !a->model)
        return lt_fail(LT_EUSAGE, "generate: expected --checkpoint DIR or --model DIR%s",
                       a->model ? ", found both" : "");
    if (strcmp(a->precision, "fp32") != 0 && strcmp(a->precision, "bf16") != 0)
        return lt_fail(LT_EUSAGE, "--precision: expected fp32 or bf16, found \"%s\"", a->precision);
    return LT_OK;
}

lt_err generate_main(int argc, char **argv)
{
    generate_args a = { .device = "auto",
                        .precision = "fp32",
                        .temperature = 0.8,
                        .top_p = 1,
                        .max_tokens = 128,
                        .seed = 1 };
    lt_opt_list rest = { 0 };
    lt_model_config config;
    lt_engine *engine = NULL;
    lt_tokenizer *tokenizer = NULL;
    char *step = NULL;
    const char *folder;
    bool done = false, chosen;
    lt_err err;

    LT_TRY(err = lt_options_parse(&command, argc, argv, &a, &rest, &done));
    if (done)
        goto fail;
    LT_TRY(err = check_args(&a, &rest));
    if (a.checkpoint)
        LT_TRY(err = lt_ckpt_resolve(a.checkpoint, &step, &chosen));
    folder = a.checkpoint ? step : a.model;
    LT_TRY(err = open_tokenizer(&a, &tokenizer, folder));
    LT_TRY(err = open_engine(&a, &engine, &config, folder));
    LT_TRY(err = write_texts(&a, engine, &config, tokenizer));
fail:
    lt_engine_close(engine);
    lt_tokenizer_free(tokenizer);
    free(step);
    lt_opt_list_release(&a.prompts);
    lt_opt_list_release(&rest);
    return err;
}
