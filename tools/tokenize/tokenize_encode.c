/* tokenize_encode.c - text to a token stream, to lines of ids, or to counts alone. */
#include "base/file.h"
#include "base/log.h"
#include "shard/token_stream.h"
#include "text/encoder.h"
#include "text/pretoken.h"
#include "tokenize_output.h"
#include "tokenize_pipeline.h"

#include <stdlib.h>
#include <string.h>

/* What one worker thread needs; the sink collects into the result at hand. */
typedef struct encode_worker {
    lt_text_sink sink;
    lt_text_scratch scratch;
    lt_encoder *encoder;
    chunk_result *result;
    bool as_lines, count_only;
} encode_worker;

typedef struct encode_job {
    pipeline_job job;
    const lt_text_options *options;
    encode_worker *workers;
    tokenize_output output;
    lt_token_writer *stream; /* NULL for --ids and --count */
    uint32_t bos_id;
} encode_job;

static void append_number(lt_buf *out, uint32_t x)
{
    char digits[10];
    int n = 0;

    do
        digits[n++] = (char)('0' + x % 10);
    while (x /= 10);
    while (n > 0)
        out->data[out->size++] = digits[--n];
}

/* " 1 2 3": every id has its space in front, except the first of a document. */
static void append_line(lt_buf *out, const uint32_t *ids, const piece *p)
{
    lt_buf_reserve(out, 11 * p->n_ids + 1);
    for (size_t i = 0; i < p->n_ids; i++) {
        if (i > 0 || !p->starts)
            out->data[out->size++] = ' ';
        append_number(out, ids[i]);
    }
    if (p->ends)
        lt_buf_append(out, "\n", 1);
}

static void encode_text(lt_text_sink *sink, const char *text, size_t n, bool starts, bool ends)
{
    encode_worker *w = (encode_worker *)sink;
    chunk_result *r = w->result;
    size_t before = r->ids.size;
    piece *p;

    lt_encode(w->encoder, text, n, &r->ids);
    lt_array_reserve(&r->pieces, &r->pieces_capacity, r->n_pieces + 1, sizeof *r->pieces);
    p = &r->pieces[r->n_pieces++];
    *p = (piece){ r->ids.size - before, starts, ends };
    r->n_tokens += p->n_ids;
    if (w->as_lines)
        append_line(&r->lines, r->ids.data + before, p);
    if (w->as_lines || w->count_only)
        r->ids.size = before;
}

static lt_err encode_chunk(pipeline_job *base, const lt_chunk *chunk, chunk_result *result,
                           int worker)
{
    encode_job *job = (encode_job *)base;
    encode_worker *w = &job->workers[worker];

    w->result = result;
    return lt_chunk_texts(chunk, job->options, &w->scratch, &result->counts, &w->sink);
}

static lt_err write_stream(pipeline_job *base, const chunk_result *r)
{
    encode_job *job = (encode_job *)base;
    const uint32_t *ids = r->ids.data;
    lt_err err;

    for (size_t i = 0; i < r->n_pieces; i++) {
        const piece *p = &r->pieces[i];

        if (p->starts && job->bos_id != LT_NO_TOKEN)
            LT_TRY(err = lt_token_writer_piece(job->stream, &job->bos_id, 1, false));
        LT_TRY(err = lt_token_writer_piece(job->stream, ids, p->n_ids, p->ends));
        ids += p->n_ids;
    }
    return LT_OK;
fail:
    return err;
}

static lt_err write_lines(pipeline_job *base, const chunk_result *r)
{
    encode_job *job = (encode_job *)base;

    return lt_fd_write(job->output.fd, r->lines.data, r->lines.size, job->output.name);
}

static lt_err write_nothing(pipeline_job *base, const chunk_result *r)
{
    (void)base;
    (void)r;
    return LT_OK;
}

static lt_err open_stream(encode_job *job, const lt_tokenizer *t)
{
    lt_buf json = { 0 };
    lt_token_stream_info info = {
        .vocab_size = lt_tokenizer_vocab_size(t),
        .eot_id = lt_tokenizer_eot_id(t),
        .bos_id = lt_tokenizer_bos_id(t),
    };
    lt_err err;

    lt_tokenizer_to_json(t, &json);
    info.tokenizer_json = json.data;
    info.tokenizer_json_size = json.size;
    memcpy(info.tokenizer_hash, lt_tokenizer_hash(t), sizeof info.tokenizer_hash);
    job->bos_id = info.bos_id;
    err = lt_token_writer_open(&job->stream, job->output.fd, job->output.name, &info);
    lt_buf_release(&json);
    return err;
}

static lt_err open_output(encode_job *job, const tokenize_args *args, const lt_tokenizer *t)
{
    bool is_stream = !args->ids && !args->count;
    lt_err err = LT_OK;

    job->job.write = args->count ? write_nothing : args->ids ? write_lines : write_stream;
    if (args->count)
        return LT_OK;
    LT_TRY(err = tokenize_output_open(&job->output, args->out, is_stream));
    if (is_stream)
        LT_TRY(err = open_stream(job, t));
fail:
    return err;
}

static void warn_of_cuts(const encode_job *job, int n_threads)
{
    uint64_t n_cut = 0;

    for (int i = 0; i < n_threads; i++)
        n_cut += lt_encoder_n_cut(job->workers[i].encoder);
    if (n_cut > 0)
        lt_log_warn(
            "%llu pieces of single words were cut at %d MiB: tokens at a cut may differ from "
            "those of the whole word",
            (unsigned long long)n_cut, LT_PRETOKEN_MAX >> 20);
}

static lt_err finish(encode_job *job)
{
    lt_token_writer *stream = job->stream;
    lt_err err;

    job->stream = NULL;
    if (stream)
        LT_TRY(err = lt_token_writer_finish(stream));
    err = tokenize_output_commit(&job->output);
fail:
    return err;
}

static void print_summary(const tokenize_args *args, const pipeline_totals *t, const corpus *c)
{
    lt_buf out = { 0 };

    pipeline_summary(t, c);
    if (args->json) {
        pipeline_summary_json(t, c, &out);
        printf("%s}\n", lt_buf_cstr(&out));
    } else if (args->count) {
        printf("documents %llu\nbytes %llu\ntokens %llu\n", (unsigned long long)t->counts.documents,
               (unsigned long long)t->counts.bytes, (unsigned long long)t->n_tokens);
    }
    lt_buf_release(&out);
}

lt_err tokenize_encode(const tokenize_args *args)
{
    int n_threads = pipeline_threads(args);
    encode_job job = { .job = { .work = encode_chunk }, .output = { .fd = -1 } };
    lt_tokenizer *tokenizer = NULL;
    pipeline_totals totals;
    corpus c;
    lt_err err;

    LT_TRY(err = corpus_open(&c, args));
    job.options = &c.options;
    job.workers = lt_new_array0((size_t)n_threads, sizeof *job.workers);
    LT_TRY(err = lt_tokenizer_open(&tokenizer, args->tokenizer));
    for (int i = 0; i < n_threads; i++) {
        job.workers[i].sink.text = encode_text;
        job.workers[i].encoder = lt_encoder_new(tokenizer);
        job.workers[i].as_lines = args->ids;
        job.workers[i].count_only = args->count;
    }
    LT_TRY(err = open_output(&job, args, tokenizer));
    LT_TRY(err = pipeline_run(&job.job, &c, n_threads, &totals));
    LT_TRY(err = finish(&job));
    warn_of_cuts(&job, n_threads);
    print_summary(args, &totals, &c);
fail:
    lt_token_writer_abort(job.stream);
    tokenize_output_abort(&job.output);
    for (int i = 0; job.workers && i < n_threads; i++) {
        lt_encoder_free(job.workers[i].encoder);
        lt_text_scratch_release(&job.workers[i].scratch);
    }
    free(job.workers);
    lt_tokenizer_free(tokenizer);
    corpus_release(&c);
    return err;
}
