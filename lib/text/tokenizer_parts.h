/* text/tokenizer_parts.h - the inside of lt_tokenizer, for those who fill one: the built-in, the
 * readers of files, the trainer.
 *
 * A reader adds tokens and merges to a zeroed struct and calls lt_tokenizer_seal, which checks and
 * indexes them.  The hash is SHA-256 of these bytes, integers little endian:
 *
 *     "lt tokenizer identity 1\n" "bpe\n" pattern "\n" "normalizer none\n" "unicode 16.0.0\n"
 *     u32 number of ids; for each id: u8 kind (lt_token_kind), u32 length, bytes
 *     u32 number of merges; for each by rank: u32 left id, u32 right id, u32 merged id */
#ifndef LT_TEXT_TOKENIZER_PARTS_H
#define LT_TEXT_TOKENIZER_PARTS_H

#include "base/hash.h"
#include "text/merge_table.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

struct lt_tokenizer {
    lt_vocab vocab;
    lt_merge_table table;
    uint32_t byte_id[256];
    uint32_t eot_id, bos_id;
    uint8_t hash[LT_SHA256_BYTES];
    lt_buf source; /* the tokenizer.json that was parsed; empty for other origins */
};

/* Merges on their way into a tokenizer. */
typedef struct lt_merge_list {
    lt_merge *merges;
    size_t n, capacity;
} lt_merge_list;

/* Appends the merge of two tokens, all three known to the vocabulary; LT_EFORMAT if one is not. */
LT_MUST_USE lt_err lt_merge_list_add(lt_merge_list *list, const lt_vocab *v, const lt_buf *left,
                                     const lt_buf *right);

/* Checks that every byte has a token, takes over the merges (empties *list, also on failure), finds
 * end of text, computes the hash. */
LT_MUST_USE lt_err lt_tokenizer_seal(lt_tokenizer *t, lt_merge_list *list);

/* Adds a token spelled as in vocab.json: in the printable alphabet, else as it stands. */
LT_MUST_USE lt_err lt_vocab_add_spelled(lt_vocab *v, int64_t id, const char *spelling, size_t n);

/* A folder's vocab.json and merges.txt. */
LT_MUST_USE lt_err lt_tokenizer_read_folder(lt_tokenizer **out, const char *folder);

/* The built-in GPT-2. */
LT_MUST_USE lt_err lt_tokenizer_open_gpt2(lt_tokenizer **out);

/* Appends a new tokenizer.json, whatever `source` holds. */
void lt_tokenizer_write_json(const lt_tokenizer *t, lt_buf *out);

#endif
