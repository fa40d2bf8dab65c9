/* text/vocab.h - the tokens: id -> bytes and kind, and bytes -> id.
 *
 * Ids may have holes.  Two ids never hold the same bytes. */
#ifndef LT_TEXT_VOCAB_H
#define LT_TEXT_VOCAB_H

#include "base/mem.h"
#include "text/merge_table.h" /* LT_TOKEN_ID_LIMIT */

typedef enum lt_token_kind {
    LT_TOKEN_HOLE,    /* no token has this id */
    LT_TOKEN_PLAIN,   /* a byte or the result of a merge */
    LT_TOKEN_SPECIAL, /* <|endoftext|> and the like: never the result of encoding text */
} lt_token_kind;

typedef struct lt_token {
    size_t offset; /* in lt_vocab.bytes */
    uint32_t length;
    lt_token_kind kind;
} lt_token;

typedef struct lt_vocab {
    lt_token *tokens; /* by id */
    uint32_t n_ids;   /* the largest id, plus one */
    size_t capacity;
    lt_buf bytes;
    uint32_t *slots; /* ids by hash of their bytes */
    size_t n_slots, n_used;
} lt_vocab;

/* Adds a token.  LT_EFORMAT when the id is too large, or the id or the bytes are taken. */
LT_MUST_USE lt_err lt_vocab_add(lt_vocab *v, int64_t id, const void *bytes, size_t n,
                                lt_token_kind kind);
#define LT_NO_ID UINT32_MAX
uint32_t lt_vocab_find(const lt_vocab *v, const void *bytes, size_t n); /* LT_NO_ID: not there */
const uint8_t *lt_vocab_bytes(const lt_vocab *v, uint32_t id, size_t *n);
void lt_vocab_release(lt_vocab *v); /* {0} is an empty vocabulary */

#endif
