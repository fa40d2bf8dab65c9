/* chunker.c - inputs into chunks.
 *
 * The chunk's text while one is made:      given out as parts | begin: not yet | size: read so far
 * What is not given out at the end moves to `carry` and starts the next chunk. */
#include "text/chunker.h"
#include "text/byte_source.h"
#include "text/pretoken.h"

#include <stdlib.h>
#include <string.h>

enum { KEEP_FACTOR = 4 }; /* a chunk that grew beyond this times the target gives memory back */

struct lt_chunker {
    const lt_input_list *inputs;
    const char *separator;
    size_t separator_size, target;

    lt_byte_source *source; /* NULL between inputs */
    uint32_t input;         /* index of source, or of the next input */
    uint64_t offset, line;  /* of begin */
    bool in_document;       /* a piece of the document at begin has been given out */
    bool skipping_line;     /* up to the end of a line that is too long */
    uint64_t consumed;      /* by inputs that are closed */

    lt_chunk *chunk;
    size_t begin;
    lt_buf carry;
};

void lt_chunk_release(lt_chunk *c)
{
    lt_buf_release(&c->text);
    free(c->parts);
    *c = (lt_chunk){ 0 };
}

lt_chunker *lt_chunker_new(const lt_input_list *inputs, const char *separator,
                           size_t separator_size, size_t target)
{
    lt_chunker *c = lt_new0(sizeof *c);

    c->inputs = inputs;
    c->separator = separator;
    c->separator_size = separator_size;
    c->target = target;
    return c;
}

void lt_chunker_free(lt_chunker *c)
{
    if (!c)
        return;
    lt_byte_source_close(c->source);
    lt_buf_release(&c->carry);
    free(c);
}

uint64_t lt_chunker_consumed(const lt_chunker *c)
{
    return c->consumed + (c->source ? lt_byte_source_consumed(c->source) : 0);
}

/* Gives out begin..end as a part; begin moves behind it. */
static lt_part *give(lt_chunker *c, lt_part_kind kind, size_t end)
{
    lt_chunk *k = c->chunk;
    lt_part *part;

    lt_array_reserve(&k->parts, &k->capacity, k->n_parts + 1, sizeof *k->parts);
    part = &k->parts[k->n_parts++];
    *part = (lt_part){ .kind = kind,
                       .begin = c->begin,
                       .end = end,
                       .input = c->input,
                       .offset = c->offset,
                       .line = c->line };
    c->offset += end - c->begin;
    c->begin = end;
    return part;
}

static void give_text(lt_chunker *c, size_t end, bool ends_document)
{
    lt_part *part;

    if (end == c->begin && !c->in_document)
        return;
    part = give(c, LT_PART_TEXT, end);
    part->starts_document = !c->in_document;
    part->ends_document = ends_document;
    c->in_document = !ends_document;
}

/* Gives out the documents that are complete and, before the end of the input, as much of the next
 * as can be cut off.  A separator may begin in the last bytes: they wait. */
static void take_text(lt_chunker *c, bool at_end)
{
    const lt_buf *text = &c->chunk->text;
    size_t limit = text->size, cut;

    if (c->separator_size > 0) {
        const char *hit;

        while ((hit = memmem(text->data + c->begin, text->size - c->begin, c->separator,
                             c->separator_size))) {
            give_text(c, (size_t)(hit - text->data), true);
            c->begin += c->separator_size;
            c->offset += c->separator_size;
        }
        limit = text->size - c->begin < c->separator_size ? c->begin
                                                          : text->size - c->separator_size + 1;
    }
    if (at_end) {
        give_text(c, text->size, true);
    } else if (limit > c->begin) {
        cut = lt_pretoken_safe_cut((const uint8_t *)text->data + c->begin, limit - c->begin);
        if (cut > 0)
            give_text(c, c->begin + cut, false);
    }
}

static uint64_t count_lines(const char *s, size_t n)
{
    uint64_t lines = 0;

    for (const char *at = s, *end = s + n; (at = memchr(at, '\n', (size_t)(end - at))); at++)
        lines++;
    return lines;
}

/* Drops the text of a line that is too long, up to and with its end. */
static void skip_line(lt_chunker *c)
{
    lt_buf *text = &c->chunk->text;
    const char *stop = memchr(text->data + c->begin, '\n', text->size - c->begin);
    size_t dropped = (stop ? (size_t)(stop + 1 - text->data) : text->size) - c->begin;

    memmove(text->data + c->begin, text->data + c->begin + dropped,
            text->size - c->begin - dropped);
    text->size -= dropped;
    c->offset += dropped;
    c->skipping_line = !stop;
    c->line += stop != NULL;
}

static void take_lines(lt_chunker *c, bool at_end)
{
    const lt_buf *text = &c->chunk->text;
    const char *start, *stop;
    size_t n;

    if (c->skipping_line)
        skip_line(c);
    start = text->data + c->begin;
    n = text->size - c->begin;
    stop = at_end ? text->data + text->size : memrchr(start, '\n', n);
    if (stop && !at_end)
        stop++;
    if (stop && stop > start) {
        uint64_t lines = count_lines(start, (size_t)(stop - start));

        give(c, LT_PART_LINES, (size_t)(stop - text->data));
        c->line += lines;
    } else if (n > LT_JSONL_LINE_MAX) {
        give(c, LT_PART_LONG_LINE, c->begin);
        skip_line(c);
    }
}

static lt_err open_next(lt_chunker *c)
{
    lt_err err;

    LT_TRY(err = lt_byte_source_open(&c->source, c->inputs->items[c->input].path));
    c->offset = 0;
    c->line = 1;
    c->in_document = c->skipping_line = false;
    c->begin = c->chunk->text.size;
fail:
    return err;
}

static void close_input(lt_chunker *c)
{
    c->consumed += lt_byte_source_consumed(c->source);
    lt_byte_source_close(c->source);
    c->source = NULL;
    c->input++;
    c->begin = c->chunk->text.size;
}

/* Reads until the chunk's text has `want` bytes or the input ends, and gives out what it can. */
static lt_err fill(lt_chunker *c, size_t want)
{
    lt_buf *text = &c->chunk->text;
    size_t missing = want > text->size ? want - text->size : 1, got;
    bool at_end;
    lt_err err;

    lt_buf_reserve(text, missing);
    LT_TRY(err = lt_byte_source_read(c->source, text->data + text->size, missing, &got));
    text->size += got;
    at_end = got < missing;
    if (c->inputs->items[c->input].is_jsonl)
        take_lines(c, at_end);
    else
        take_text(c, at_end);
    if (at_end)
        close_input(c);
fail:
    return err;
}

lt_err lt_chunker_next(lt_chunker *c, lt_chunk *out)
{
    size_t want = c->target;
    lt_err err;

    if (out->text.capacity > KEEP_FACTOR * c->target)
        lt_buf_release(&out->text);
    lt_buf_clear(&out->text);
    out->n_parts = 0;
    c->chunk = out;
    c->begin = 0;
    lt_buf_append(&out->text, c->carry.data, c->carry.size);
    if (want < 2 * c->carry.size)
        want = 2 * c->carry.size;
    while (out->n_parts == 0 || out->text.size < want) {
        if (out->text.size >= want)
            want = 2 * out->text.size; /* one word or line fills the chunk */
        if (!c->source && c->input == c->inputs->n)
            break;
        if (!c->source)
            LT_TRY(err = open_next(c));
        LT_TRY(err = fill(c, want));
    }
    if (c->carry.capacity > KEEP_FACTOR * c->target)
        lt_buf_release(&c->carry);
    lt_buf_clear(&c->carry);
    lt_buf_append(&c->carry, out->text.data + c->begin, out->text.size - c->begin);
    return LT_OK;
fail:
    return err;
}
