/* shard/token_stream.h - the pipe between lt-tokenize and lt-shard (spec: lib/shard/FORMAT.md).
 *
 * A stream carries documents as token ids, and the tokenizer itself: its identity and its
 * tokenizer.json.  Bytes depend on the token sequence alone, never on how it was cut into calls or
 * on who produced it.  Every block is checksummed and an end block with totals closes the stream,
 * so a producer that died is "truncated" at the reader, never a shorter corpus.
 * Writer and reader borrow the descriptor: the caller opens and closes it. */
#ifndef LT_SHARD_TOKEN_STREAM_H
#define LT_SHARD_TOKEN_STREAM_H

#include "base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LT_NO_TOKEN UINT32_MAX

typedef struct lt_token_stream_info {
    uint32_t vocab_size;        /* ids are 0..vocab_size-1; ids take 2 bytes up to 65536, else 4 */
    uint32_t eot_id;            /* closes every document; LT_NO_TOKEN = none */
    uint32_t bos_id;            /* first id of every document; LT_NO_TOKEN = none */
    uint8_t tokenizer_hash[32]; /* identity of the tokenizer (lib/text) */
    const char *tokenizer_json; /* the file itself, need not be NUL-terminated; may be empty */
    size_t tokenizer_json_size;
} lt_token_stream_info;

/* Writes the header.  `name` is for sentences and borrowed until the end, info only for this call;
 * fd stays the caller's. */
typedef struct lt_token_writer lt_token_writer;
LT_MUST_USE lt_err lt_token_writer_open(lt_token_writer **out, int fd, const char *name,
                                        const lt_token_stream_info *info);

/* A document, or pieces of one in order; document_end with the last.  The writer appends eot_id if
 * there is one; a bos_id is part of ids already.  A document without any token (n = 0 and no
 * eot_id) leaves no trace.  An id that is not below vocab_size is LT_EFORMAT. */
LT_MUST_USE lt_err lt_token_writer_piece(lt_token_writer *w, const uint32_t *ids, size_t n,
                                         bool document_end);

/* Writes the end block and frees w, also on failure.  Every document must have been ended. */
LT_MUST_USE lt_err lt_token_writer_finish(lt_token_writer *w);
void lt_token_writer_abort(lt_token_writer *w); /* frees w; what was written stays truncated */

/* Reads and checks the header. */
typedef struct lt_token_reader lt_token_reader;
LT_MUST_USE lt_err lt_token_reader_open(lt_token_reader **out, int fd, const char *name);
const lt_token_stream_info *lt_token_reader_info(const lt_token_reader *r); /* lives as long as r */

/* The next piece of a document: *ids (until the next call), *n >= 1 and whether the document ends
 * with it; huge documents come in several pieces.  *end instead, with *n = 0, behind the last piece
 * once the totals agree and no byte follows. */
LT_MUST_USE lt_err lt_token_reader_next(lt_token_reader *r, const uint32_t **ids, size_t *n,
                                        bool *document_end, bool *end);
void lt_token_reader_close(lt_token_reader *r); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
