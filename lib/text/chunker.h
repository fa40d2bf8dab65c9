/* text/chunker.h - a list of inputs as a sequence of chunks that threads can encode on their own.
 *
 * A chunk holds parts: a document, a piece of one, or whole lines of JSONL.  Where a document is
 * longer than a chunk it is cut where no token can span (pretoken.h), so the chunks' tokens joined
 * are the document's tokens.  Chunks depend on the inputs alone, never on who asks.  Memory: one
 * chunk, usually `target` bytes; a single word or line may make it LT_PRETOKEN_MAX or
 * LT_JSONL_LINE_MAX. */
#ifndef LT_TEXT_CHUNKER_H
#define LT_TEXT_CHUNKER_H

#include "base/mem.h"
#include "text/input_list.h"

enum { LT_JSONL_LINE_MAX = 32 << 20 }; /* a longer line is malformed */

typedef enum lt_part_kind {
    LT_PART_TEXT,      /* text of one document */
    LT_PART_LINES,     /* whole lines of JSONL, each a document */
    LT_PART_LONG_LINE, /* a line beyond LT_JSONL_LINE_MAX stood here; no bytes */
} lt_part_kind;

typedef struct lt_part {
    lt_part_kind kind;
    size_t begin, end;                   /* in lt_chunk.text */
    uint32_t input;                      /* index into the input list */
    uint64_t offset;                     /* of begin in the (inflated) input */
    uint64_t line;                       /* LINES, LONG_LINE: number of the first line, from 1 */
    bool starts_document, ends_document; /* TEXT */
} lt_part;

typedef struct lt_chunk {
    lt_buf text;
    lt_part *parts;
    size_t n_parts, capacity;
} lt_chunk;
void lt_chunk_release(lt_chunk *c);

typedef struct lt_chunker lt_chunker;

/* Documents of text inputs are separated by `separator` (bytes, not kept; n = 0: a file is one
 * document); an empty stretch between two separators is none.  All arguments are borrowed. */
lt_chunker *lt_chunker_new(const lt_input_list *inputs, const char *separator,
                           size_t separator_size, size_t target);
void lt_chunker_free(lt_chunker *c); /* NULL is fine */

/* The next chunk in *out (reused); no parts: the inputs have ended. */
LT_MUST_USE lt_err lt_chunker_next(lt_chunker *c, lt_chunk *out);

uint64_t lt_chunker_consumed(const lt_chunker *c); /* bytes of the input files so far */

#endif
