/* encode_rate.c - lt-bench tokenize: how fast text becomes tokens, by threads, and that the tokens
 * are the text.
 *
 * Files are read, cut and made valid UTF-8 as lt-tokenize does, before any clock runs; what is
 * timed is encoding alone, of pieces of about 1 MiB. */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/thread.h"
#include "bench.h"
#include "text/chunk_texts.h"
#include "text/decoder.h"
#include "text/encoder.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 1 << 20, MAX_RUNS = 16 };

typedef struct encode_args {
    const char *tokenizer, *field;
    int64_t threads;
    double seconds;
    bool json;
} encode_args;

static const lt_option options[] = {
    { "tokenizer", 't', LT_OPT_STRING, offsetof(encode_args, tokenizer), "gpt2|PATH",
      "built-in gpt2, a tokenizer.json or its folder (default gpt2)" },
    { "field", 'f', LT_OPT_STRING, offsetof(encode_args, field), "NAME",
      "every input is JSONL and NAME its text (default: text, in .jsonl and .ndjson)" },
    { "threads", 'j', LT_OPT_INT, offsetof(encode_args, threads), "N",
      "only with N threads (default 1, 2, 4, ... and one a CPU)", 1, 4096 },
    { "seconds", 0, LT_OPT_REAL, offsetof(encode_args, seconds), "S",
      "how long each runs, once through the text at least (default 1)", 0, 3600 },
    { "json", 0, LT_OPT_FLAG, offsetof(encode_args, json), NULL,
      "one JSON object on standard output" },
    { 0 },
};

const lt_command bench_tokenize_command = {
    "lt-bench tokenize", "[options] FILE...", "time encoding, by threads",
    "The text is held in memory; reading, unpacking and JSON are not timed.  The best pass counts.\n"
    "wrong: pieces of text that decoding their tokens does not give back; any is exit status 1.",
    options
};

typedef struct text_piece {
    size_t begin, size;
} text_piece;

typedef struct corpus_text {
    lt_text_sink sink; /* first: the callback casts */
    lt_buf text;
    text_piece *pieces;
    size_t n, capacity;
} corpus_text;

typedef struct encode_run {
    int threads;
    double seconds; /* of the best pass */
} encode_run;

typedef struct encode_bench {
    lt_task task; /* first: run() casts */
    const encode_args *args;
    corpus_text corpus;
    lt_tokenizer *tokenizer;
    lt_encoder **encoders; /* one a worker */
    lt_ids *ids;
    uint64_t *n_tokens; /* one a piece */
    encode_run runs[MAX_RUNS];
    int n_runs;
    uint64_t tokens, wrong;
} encode_bench;

/* ---- the text */

static void keep_text(lt_text_sink *sink, const char *text, size_t n, bool starts, bool ends)
{
    corpus_text *c = (corpus_text *)sink;

    (void)starts;
    (void)ends;
    lt_array_reserve(&c->pieces, &c->capacity, c->n + 1, sizeof *c->pieces);
    c->pieces[c->n++] = (text_piece){ c->text.size, n };
    lt_buf_append(&c->text, text, n);
}

static lt_err read_corpus(corpus_text *c, const encode_args *a, const lt_opt_list *files)
{
    lt_input_list inputs;
    lt_text_options o = { .inputs = &inputs, .field = a->field ? a->field : "text" };
    lt_text_scratch scratch = { 0 };
    lt_text_counts counts = { 0 };
    lt_chunker *chunker = NULL;
    lt_chunk chunk = { 0 };
    lt_err err = LT_OK;

    c->sink.text = keep_text;
    lt_input_list_init(&inputs);
    for (size_t i = 0; i < files->n; i++)
        LT_TRY(err = lt_input_list_add(&inputs, files->items[i], a->field != NULL));
    chunker = lt_chunker_new(&inputs, NULL, 0, PIECE_BYTES);
    do {
        LT_TRY(err = lt_chunker_next(chunker, &chunk));
        LT_TRY(err = lt_chunk_texts(&chunk, &o, &scratch, &counts, &c->sink));
    } while (chunk.n_parts > 0);
    if (c->text.size == 0)
        err = lt_fail(LT_ENOENT, "tokenize: there is no text in the inputs");
fail:
    lt_chunker_free(chunker);
    lt_chunk_release(&chunk);
    lt_text_scratch_release(&scratch);
    lt_input_list_release(&inputs);
    return err;
}

/* ---- the clock */

static void encode_piece(lt_task *task, int64_t index, int worker)
{
    encode_bench *b = (encode_bench *)task;
    const text_piece *p = &b->corpus.pieces[index];
    lt_ids *ids = &b->ids[worker];

    ids->size = 0;
    lt_encode(b->encoders[worker], b->corpus.text.data + p->begin, p->size, ids);
    b->n_tokens[index] = ids->size;
}

static void time_threads(encode_bench *b, int threads)
{
    encode_run *r = &b->runs[b->n_runs++];
    lt_pool *pool = lt_pool_new(threads);
    double spent = 0;

    *r = (encode_run){ .threads = threads, .seconds = 1e30 };
    b->encoders = lt_new_array0((size_t)threads, sizeof(lt_encoder *));
    b->ids = lt_new_array0((size_t)threads, sizeof *b->ids);
    for (int i = 0; i < threads; i++)
        b->encoders[i] = lt_encoder_new(b->tokenizer);
    b->task.run = encode_piece;
    while (spent == 0 || spent < b->args->seconds) {
        double start = lt_now(), s;

        lt_pool_run(pool, &b->task, (int64_t)b->corpus.n);
        s = lt_now() - start;
        r->seconds = s < r->seconds ? s : r->seconds;
        spent += s;
    }
    for (int i = 0; i < threads; i++) {
        lt_encoder_free(b->encoders[i]);
        lt_ids_release(&b->ids[i]);
    }
    free(b->encoders);
    free(b->ids);
    lt_pool_free(pool);
}

/* ---- right? */

static lt_err check_pieces(encode_bench *b)
{
    lt_encoder *encoder = lt_encoder_new(b->tokenizer);
    lt_decoder decoder;
    lt_ids ids = { 0 };
    lt_buf text = { 0 };
    lt_err err = LT_OK;

    lt_decoder_init(&decoder, b->tokenizer);
    for (size_t i = 0; i < b->corpus.n; i++) {
        const text_piece *p = &b->corpus.pieces[i];

        ids.size = 0;
        lt_buf_clear(&text);
        lt_encode(encoder, b->corpus.text.data + p->begin, p->size, &ids);
        for (size_t j = 0; j < ids.size; j++)
            LT_TRY(err = lt_decoder_push(&decoder, ids.data[j], &text));
        lt_decoder_finish(&decoder, &text);
        b->tokens += ids.size;
        b->wrong +=
            text.size != p->size || ids.size != b->n_tokens[i] ||
            (p->size > 0 && memcmp(text.data, b->corpus.text.data + p->begin, p->size) != 0);
    }
fail:
    lt_encoder_free(encoder);
    lt_ids_release(&ids);
    lt_buf_release(&text);
    return err;
}

/* ---- the report */

static void report_json(const encode_bench *b)
{
    lt_buf out = { 0 };

    lt_buf_printf(&out, "{\"tokenizer\": ");
    lt_json_quote(&out, b->args->tokenizer, strlen(b->args->tokenizer));
    lt_buf_printf(&out,
                  ", \"bytes\": %zu, \"tokens\": %llu, \"pieces\": %zu, \"wrong\": %llu, "
                  "\"peak_rss_bytes\": %llu, \"runs\": [",
                  b->corpus.text.size, (unsigned long long)b->tokens, b->corpus.n,
                  (unsigned long long)b->wrong, (unsigned long long)lt_peak_rss());
    for (int i = 0; i < b->n_runs; i++)
        lt_buf_printf(&out,
                      "%s{\"threads\": %d, \"seconds\": %.6g, \"bytes_per_s\": %.6g, "
                      "\"tokens_per_s\": %.6g}",
                      i ? ", " : "", b->runs[i].threads, b->runs[i].seconds,
                      (double)b->corpus.text.size / b->runs[i].seconds,
                      (double)b->tokens / b->runs[i].seconds);
    printf("%s]}\n", lt_buf_cstr(&out));
    lt_buf_release(&out);
}

static void report_table(const encode_bench *b)
{
    double bytes = (double)b->corpus.text.size;

    printf("%s  %.3f MB of text, %llu tokens, %.3f bytes a token\n", b->args->tokenizer,
           bytes * 1e-6, (unsigned long long)b->tokens, bytes / (double)b->tokens);
    printf("%8s %10s %10s %12s %10s\n", "threads", "ms", "MB/s", "Mtokens/s", "per thread");
    for (int i = 0; i < b->n_runs; i++) {
        const encode_run *r = &b->runs[i];

        printf("%8d %10.2f %10.1f %12.2f %10.1f\n", r->threads, r->seconds * 1e3,
               bytes / r->seconds * 1e-6, (double)b->tokens / r->seconds * 1e-6,
               bytes / r->seconds * 1e-6 / r->threads);
    }
    printf("wrong %llu of %zu pieces; peak memory %.1f MiB, the text included\n",
           (unsigned long long)b->wrong, b->corpus.n, (double)lt_peak_rss() / (1 << 20));
}

static lt_err run(encode_bench *b, const lt_opt_list *files)
{
    int most = (int)b->args->threads ? (int)b->args->threads : lt_cpu_count();
    lt_err err;

    LT_TRY(err = lt_tokenizer_open(&b->tokenizer, b->args->tokenizer));
    LT_TRY(err = read_corpus(&b->corpus, b->args, files));
    b->n_tokens = lt_new_array0(b->corpus.n, sizeof *b->n_tokens);
    for (int n = b->args->threads ? most : 1; n < most && b->n_runs < MAX_RUNS - 1; n *= 2)
        time_threads(b, n);
    time_threads(b, most);
    LT_TRY(err = check_pieces(b));
    if (b->args->json)
        report_json(b);
    else
        report_table(b);
    if (b->wrong > 0)
        err = lt_fail(LT_EMISMATCH, "tokenize: %llu pieces do not decode to what they were",
                      (unsigned long long)b->wrong);
fail:
    return err;
}

lt_err bench_tokenize(int argc, char **argv)
{
    encode_args args = { .tokenizer = "gpt2", .seconds = 1 };
    encode_bench b = { .args = &args };
    lt_opt_list files = { 0 };
    bool done = false;
    lt_err err;

    LT_TRY(err = lt_options_parse(&bench_tokenize_command, argc, argv, &args, &files, &done));
    if (done)
        goto fail;
    err = files.n > 0 ? run(&b, &files) : lt_fail(LT_EUSAGE, "tokenize: no file given");
fail:
    lt_tokenizer_free(b.tokenizer);
    lt_buf_release(&b.corpus.text);
    free(b.corpus.pieces);
    free(b.n_tokens);
    lt_opt_list_release(&files);
    return err;
}
