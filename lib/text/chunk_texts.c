/* chunk_texts.c - the texts of a chunk. */
#include "text/chunk_texts.h"
#include "text/jsonl.h"
#include "text/utf8.h"

#include <string.h>

typedef struct walk {
    const lt_text_options *options;
    lt_text_scratch *scratch;
    lt_text_counts *counts;
    lt_text_sink *sink;
} walk;

void lt_text_scratch_release(lt_text_scratch *s)
{
    lt_buf_release(&s->line);
    lt_buf_release(&s->repaired);
}

void lt_text_counts_add(lt_text_counts *sum, const lt_text_counts *later)
{
    sum->documents += later->documents;
    sum->bytes += later->bytes;
    sum->replaced += later->replaced;
    for (uint64_t i = 0; i < later->bad_lines && i < LT_BAD_LINES_KEPT; i++)
        if (sum->bad_lines + i < LT_BAD_LINES_KEPT)
            sum->bad[sum->bad_lines + i] = later->bad[i];
    sum->bad_lines += later->bad_lines;
}

/* Hands one text on.  `line` is its line of JSONL, 0 for a part of a text input. */
static lt_err give_text(walk *w, const lt_part *part, uint64_t line, const char *text, size_t n,
                        bool starts, bool ends)
{
    const uint8_t *s = (const uint8_t *)text;
    size_t valid = lt_utf8_valid_prefix(s, n);
    const char *name = lt_input_name(&w->options->inputs->items[part->input]);

    if (valid < n && w->options->refuse_invalid) {
        if (line > 0)
            return lt_fail(LT_EFORMAT, "%s:%llu: byte %zu of the text (0x%02x) is no valid UTF-8",
                           name, (unsigned long long)line, valid, s[valid]);
        return lt_fail(LT_EFORMAT, "%s: byte %llu (0x%02x) is no valid UTF-8", name,
                       (unsigned long long)(part->offset + valid), s[valid]);
    }
    if (valid < n) {
        lt_buf_clear(&w->scratch->repaired);
        w->counts->replaced += lt_utf8_repair(&w->scratch->repaired, s, n);
        text = w->scratch->repaired.data;
        n = w->scratch->repaired.size;
    }
    w->counts->bytes += n;
    w->counts->documents += ends;
    w->sink->text(w->sink, text, n, starts, ends);
    return LT_OK;
}

static lt_err bad_line(walk *w, const lt_part *part, uint64_t line, const char *why)
{
    lt_text_counts *c = w->counts;

    if (w->options->refuse_bad_lines)
        return lt_fail(LT_EFORMAT, "%s:%llu: no text in \"%s\": %s",
                       lt_input_name(&w->options->inputs->items[part->input]),
                       (unsigned long long)line, w->options->field, why);
    if (c->bad_lines < LT_BAD_LINES_KEPT)
        c->bad[c->bad_lines] = (lt_bad_line){ part->input, line, why };
    c->bad_lines++;
    return LT_OK;
}

static bool is_blank(const char *s, size_t n)
{
    while (n > 0 && strchr(" \t\r", s[n - 1]) && s[n - 1])
        n--;
    return n == 0;
}

static lt_err give_lines(walk *w, const lt_part *part, const char *text)
{
    const char *at = text + part->begin, *end = text + part->end;
    uint64_t line = part->line;
    lt_err err = LT_OK;

    for (; at < end && err == LT_OK; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at)), *why;
        size_t n = (size_t)((stop ? stop : end) - at);

        if (!is_blank(at, n)) {
            lt_buf *out = &w->scratch->line;

            lt_buf_clear(out);
            why = n > LT_JSONL_LINE_MAX
                      ? "the line is longer than 32 MiB"
                      : lt_jsonl_field(at, n, w->options->field, out, &w->counts->replaced);
            err = why ? bad_line(w, part, line, why)
                      : give_text(w, part, line, lt_buf_cstr(out), out->size, true, true);
        }
        at += n + 1;
    }
    return err;
}

lt_err lt_chunk_texts(const lt_chunk *chunk, const lt_text_options *options,
                      lt_text_scratch *scratch, lt_text_counts *counts, lt_text_sink *sink)
{
    walk w = { options, scratch, counts, sink };
    lt_err err;

    for (size_t i = 0; i < chunk->n_parts; i++) {
        const lt_part *p = &chunk->parts[i];

        if (p->kind == LT_PART_TEXT)
            LT_TRY(err = give_text(&w, p, 0, chunk->text.data + p->begin, p->end - p->begin,
                                   p->starts_document, p->ends_document));
        else if (p->kind == LT_PART_LINES)
            LT_TRY(err = give_lines(&w, p, chunk->text.data));
        else
            LT_TRY(err = bad_line(&w, p, p->line, "the line is longer than 32 MiB"));
    }
    return LT_OK;
fail:
    return err;
}
