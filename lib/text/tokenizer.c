/* tokenizer.c - opening and asking a tokenizer. */
#include "base/file.h"
#include "text/byte_alphabet.h"
#include "text/pretoken.h"
#include "text/tokenizer_parts.h"
#include "text/unicode_class.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_JSON_BYTES = 64 << 20 };

lt_err lt_vocab_add_spelled(lt_vocab *v, int64_t id, const char *spelling, size_t n)
{
    lt_buf bytes = { 0 };
    lt_err err;

    if (!lt_alphabet_read(&bytes, spelling, n))
        lt_buf_append(&bytes, spelling, n);
    err = lt_vocab_add(v, id, bytes.data, bytes.size, LT_TOKEN_PLAIN);
    lt_buf_release(&bytes);
    return err;
}

lt_err lt_merge_list_add(lt_merge_list *list, const lt_vocab *v, const lt_buf *left,
                         const lt_buf *right)
{
    lt_merge m = { lt_vocab_find(v, left->data, left->size),
                   lt_vocab_find(v, right->data, right->size), LT_NO_ID };
    lt_buf both = { 0 };

    lt_buf_append(&both, left->data, left->size);
    lt_buf_append(&both, right->data, right->size);
    m.result = lt_vocab_find(v, both.data, both.size);
    lt_buf_release(&both);
    if (m.left == LT_NO_ID || m.right == LT_NO_ID || m.result == LT_NO_ID)
        return lt_fail(LT_EFORMAT, "%s no token of the vocabulary",
                       m.left == LT_NO_ID    ? "its left part is"
                       : m.right == LT_NO_ID ? "its right part is"
                                             : "the two together are");
    if (list->n + 1 >= LT_TOKEN_ID_LIMIT)
        return lt_fail(LT_EFORMAT, "more than %d merges", LT_TOKEN_ID_LIMIT - 1);
    lt_array_reserve(&list->merges, &list->capacity, list->n + 1, sizeof *list->merges);
    list->merges[list->n++] = m;
    return LT_OK;
}

static void hash_u32(lt_sha256 *sha, uint32_t x)
{
    uint8_t le[4] = { (uint8_t)x, (uint8_t)(x >> 8), (uint8_t)(x >> 16), (uint8_t)(x >> 24) };

    lt_sha256_update(sha, le, sizeof le);
}

static void compute_hash(lt_tokenizer *t)
{
    static const char head[] = "lt tokenizer identity 1\nbpe\n" LT_GPT2_PATTERN
                               "\nnormalizer none\nunicode " LT_UNICODE_VERSION "\n";
    lt_sha256 sha;

    lt_sha256_init(&sha);
    lt_sha256_update(&sha, head, sizeof head - 1);
    hash_u32(&sha, t->vocab.n_ids);
    for (uint32_t id = 0; id < t->vocab.n_ids; id++) {
        const lt_token *token = &t->vocab.tokens[id];
        uint8_t kind = (uint8_t)token->kind;

        lt_sha256_update(&sha, &kind, 1);
        hash_u32(&sha, token->length);
        lt_sha256_update(&sha, t->vocab.bytes.data + token->offset, token->length);
    }
    hash_u32(&sha, (uint32_t)t->table.n);
    for (size_t r = 0; r < t->table.n; r++) {
        hash_u32(&sha, t->table.merges[r].left);
        hash_u32(&sha, t->table.merges[r].right);
        hash_u32(&sha, t->table.merges[r].result);
    }
    lt_sha256_final(&sha, t->hash);
}

static uint32_t find_special(const lt_vocab *v, const char *spelling)
{
    uint32_t id = lt_vocab_find(v, spelling, strlen(spelling));

    return id != LT_NO_ID && v->tokens[id].kind == LT_TOKEN_SPECIAL ? id : LT_NO_ID;
}

lt_err lt_tokenizer_seal(lt_tokenizer *t, lt_merge_list *list)
{
    uint32_t *length = lt_new_array0(t->vocab.n_ids, sizeof *length);

    for (uint32_t id = 0; id < t->vocab.n_ids; id++)
        length[id] = t->vocab.tokens[id].length;
    lt_merge_table_init(&t->table, list->merges, list->n, length, t->vocab.n_ids);
    *list = (lt_merge_list){ 0 };
    for (int b = 0; b < 256; b++) {
        uint8_t byte = (uint8_t)b;

        t->byte_id[b] = lt_vocab_find(&t->vocab, &byte, 1);
        if (t->byte_id[b] == LT_NO_ID)
            return lt_fail(LT_EFORMAT, "byte 0x%02x has no token: this is no byte-level vocabulary",
                           (unsigned)b);
    }
    t->eot_id = find_special(&t->vocab, "<|endoftext|>");
    if (t->eot_id == LT_NO_ID)
        t->eot_id = find_special(&t->vocab, "</s>");
    compute_hash(t);
    return LT_OK;
}

static lt_err open_json(lt_tokenizer **out, const char *path)
{
    lt_buf text = { 0 };
    lt_err err;

    LT_TRY(err = lt_file_read_all(&text, path, MAX_JSON_BYTES));
    LT_TRY(err = lt_tokenizer_parse(out, text.data, text.size, path));
fail:
    lt_buf_release(&text);
    return err;
}

lt_err lt_tokenizer_open(lt_tokenizer **out, const char *name)
{
    char *path;
    lt_err err;

    if (strcmp(name, "gpt2") == 0)
        return lt_tokenizer_open_gpt2(out);
    if (!lt_path_exists(name))
        return lt_fail(
            LT_ENOENT,
            "tokenizer \"%s\": no such file or folder, and the only built-in one is gpt2", name);
    if (!lt_is_dir(name))
        return open_json(out, name);
    path = lt_path_join(name, "tokenizer.json");
    err = lt_path_exists(path) ? open_json(out, path) : lt_tokenizer_read_folder(out, name);
    free(path);
    return err;
}

void lt_tokenizer_free(lt_tokenizer *t)
{
    if (!t)
        return;
    lt_vocab_release(&t->vocab);
    lt_merge_table_release(&t->table);
    lt_buf_release(&t->source);
    free(t);
}

uint32_t lt_tokenizer_vocab_size(const lt_tokenizer *t)
{
    return t->vocab.n_ids;
}

uint32_t lt_tokenizer_eot_id(const lt_tokenizer *t)
{
    return t->eot_id;
}

uint32_t lt_tokenizer_bos_id(const lt_tokenizer *t)
{
    return t->bos_id;
}

const uint8_t *lt_tokenizer_hash(const lt_tokenizer *t)
{
    return t->hash;
}

const uint8_t *lt_tokenizer_token(const lt_tokenizer *t, uint32_t id, size_t *n)
{
    return lt_vocab_bytes(&t->vocab, id, n);
}

void lt_tokenizer_to_json(const lt_tokenizer *t, lt_buf *out)
{
    if (t->source.size > 0)
        lt_buf_append(out, t->source.data, t->source.size);
    else
        lt_tokenizer_write_json(t, out);
}
