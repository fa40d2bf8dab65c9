/* tokenize_decode.c - a token stream, or lines of ids, back to text.
 *
 * A stream brings its tokenizer, so it is read without --tokenizer; lines of ids need one.  Between
 * two documents stands the separator (a newline unless --separator says otherwise).  The ids that
 * the stream added to a document, its begin and end tokens, are not written. */
#include "base/file.h"
#include "shard/token_stream.h"
#include "text/byte_source.h"
#include "text/decoder.h"
#include "tokenize_output.h"
#include "tokenize_pipeline.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WRITE_AT = 1 << 18, READ_BYTES = 1 << 16 };

typedef struct decode_job {
    const lt_buf *separator;
    tokenize_output output;
    lt_decoder decoder;
    lt_buf text;
    uint64_t n_documents;
} decode_job;

static lt_err flush(decode_job *job, size_t at_least)
{
    lt_err err = LT_OK;

    if (job->text.size >= at_least) {
        err = lt_fd_write(job->output.fd, job->text.data, job->text.size, job->output.name);
        lt_buf_clear(&job->text);
    }
    return err;
}

static void start_document(decode_job *job)
{
    if (job->n_documents++ > 0)
        lt_buf_append(&job->text, job->separator->data, job->separator->size);
}

/* Lines of ids as a state machine, so that a line may be of any length. */
typedef struct id_lines {
    uint64_t line;
    uint64_t id;
    bool in_number, in_document;
} id_lines;

static lt_err take_byte(decode_job *job, id_lines *s, uint8_t c, const char *name)
{
    lt_err err = LT_OK;

    if (c >= '0' && c <= '9') {
        if (!s->in_document)
            start_document(job);
        s->id = s->in_number ? s->id * 10 + (uint64_t)(c - '0') : (uint64_t)(c - '0');
        s->in_number = s->in_document = true;
        if (s->id > UINT32_MAX)
            return lt_fail(LT_EFORMAT, "%s:%llu: a token id is larger than 32 bits", name,
                           (unsigned long long)s->line);
        return LT_OK;
    }
    if (s->in_number &&
        (err = lt_decoder_push(&job->decoder, (uint32_t)s->id, &job->text)) != LT_OK)
        return lt_fail_in("%s:%llu", name, (unsigned long long)s->line);
    s->in_number = false;
    if (c == '\n') {
        if (!s->in_document)
            start_document(job);
        lt_decoder_finish(&job->decoder, &job->text);
        s->in_document = false;
        s->line++;
        return LT_OK;
    }
    if (c == ' ' || c == '\t' || c == '\r')
        return LT_OK;
    return lt_fail(LT_EFORMAT,
                   "%s:%llu: expected token ids with spaces between, found byte 0x%02x (a token "
                   "stream is decoded without --tokenizer)",
                   name, (unsigned long long)s->line, c);
}

static lt_err decode_lines(decode_job *job, const lt_input *input)
{
    lt_byte_source *source = NULL;
    uint8_t *bytes = lt_new0(READ_BYTES);
    id_lines state = { .line = 1 };
    size_t got = READ_BYTES;
    lt_err err;

    LT_TRY(err = lt_byte_source_open(&source, input->path));
    while (got == READ_BYTES) {
        LT_TRY(err = lt_byte_source_read(source, bytes, READ_BYTES, &got));
        for (size_t i = 0; i < got; i++)
            LT_TRY(err = take_byte(job, &state, bytes[i], lt_input_name(input)));
        LT_TRY(err = flush(job, WRITE_AT));
    }
    if (state.in_document) /* the last line need not end in a newline */
        err = take_byte(job, &state, '\n', lt_input_name(input));
fail:
    lt_byte_source_close(source);
    free(bytes);
    return err;
}

/* The tokenizer that the stream carries, checked against the identity it claims. */
static lt_err open_carried(lt_tokenizer **out, const lt_token_stream_info *info, const char *name)
{
    lt_tokenizer *t = NULL;
    char *where = lt_asprintf("%s: its tokenizer.json", name);
    lt_err err;

    LT_TRY(err = lt_tokenizer_parse(&t, info->tokenizer_json, info->tokenizer_json_size, where));
    if (memcmp(lt_tokenizer_hash(t), info->tokenizer_hash, sizeof info->tokenizer_hash) != 0) {
        err = lt_fail(LT_EMISMATCH, "%s does not have the hash that the stream names", where);
        goto fail;
    }
    *out = t;
    t = NULL;
fail:
    free(where);
    lt_tokenizer_free(t);
    return err;
}

static lt_err decode_pieces(decode_job *job, lt_token_reader *reader, const char *name)
{
    const lt_token_stream_info *info = lt_token_reader_info(reader);
    bool starts = true, ends, end;
    const uint32_t *ids;
    size_t n;
    lt_err err;

    for (;;) {
        LT_TRY(err = lt_token_reader_next(reader, &ids, &n, &ends, &end));
        if (end)
            break;
        if (starts)
            start_document(job);
        for (size_t i = 0; i < n; i++) {
            bool added = (starts && i == 0 && ids[i] == info->bos_id) ||
                         (ends && i + 1 == n && ids[i] == info->eot_id);

            if (!added && lt_decoder_push(&job->decoder, ids[i], &job->text) != LT_OK)
                return lt_fail_in("%s", name);
        }
        if (ends)
            lt_decoder_finish(&job->decoder, &job->text);
        starts = ends;
        LT_TRY(err = flush(job, WRITE_AT));
    }
fail:
    return err;
}

static lt_err decode_stream(decode_job *job, const lt_input *input)
{
    const char *name = lt_input_name(input);
    bool is_stdin = strcmp(input->path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(input->path, O_RDONLY | O_CLOEXEC);
    lt_token_reader *reader = NULL;
    lt_tokenizer *tokenizer = NULL;
    lt_err err;

    if (fd < 0)
        return lt_fail(LT_EIO, "%s: %s", name, strerror(errno));
    LT_TRY(err = lt_token_reader_open(&reader, fd, name));
    LT_TRY(err = open_carried(&tokenizer, lt_token_reader_info(reader), name));
    lt_decoder_init(&job->decoder, tokenizer);
    err = decode_pieces(job, reader, name);
fail:
    lt_token_reader_close(reader);
    lt_tokenizer_free(tokenizer);
    if (!is_stdin)
        close(fd);
    return err;
}

lt_err tokenize_decode(const tokenize_args *args)
{
    decode_job job = { .output = { .fd = -1 } };
    lt_tokenizer *tokenizer = NULL;
    corpus c;
    lt_err err;

    LT_TRY(err = corpus_open(&c, args));
    if (!args->separator)
        lt_buf_append(&c.separator, "\n", 1);
    job.separator = &c.separator;
    if (args->tokenizer)
        LT_TRY(err = lt_tokenizer_open(&tokenizer, args->tokenizer));
    lt_decoder_init(&job.decoder, tokenizer);
    LT_TRY(err = tokenize_output_open(&job.output, args->out, false));
    for (size_t i = 0; i < c.inputs.n; i++)
        LT_TRY(err = tokenizer ? decode_lines(&job, &c.inputs.items[i])
                               : decode_stream(&job, &c.inputs.items[i]));
    LT_TRY(err = flush(&job, 1));
    err = tokenize_output_commit(&job.output);
fail:
    tokenize_output_abort(&job.output);
    lt_buf_release(&job.text);
    lt_tokenizer_free(tokenizer);
    corpus_release(&c);
    return err;
}
