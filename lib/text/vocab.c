/* vocab.c - the tokens of a vocabulary. */
#include "text/vocab.h"
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

static size_t slot_of(const lt_vocab *v, const void *bytes, size_t n)
{
    size_t i = lt_xxh64(bytes, n, 0) & (v->n_slots - 1);

    for (; v->slots[i] != LT_NO_ID; i = (i + 1) & (v->n_slots - 1)) {
        const lt_token *t = &v->tokens[v->slots[i]];

        if (t->length == n && memcmp(v->bytes.data + t->offset, bytes, n) == 0)
            break;
    }
    return i;
}

static void grow_index(lt_vocab *v)
{
    if (2 * (v->n_used + 1) <= v->n_slots)
        return;
    free(v->slots);
    v->n_slots = v->n_slots ? 4 * v->n_slots : 1024;
    v->slots = lt_new_array0(v->n_slots, sizeof *v->slots);
    memset(v->slots, 0xff, v->n_slots * sizeof *v->slots);
    for (uint32_t id = 0; id < v->n_ids; id++) {
        const lt_token *t = &v->tokens[id];

        if (t->kind != LT_TOKEN_HOLE)
            v->slots[slot_of(v, v->bytes.data + t->offset, t->length)] = id;
    }
}

lt_err lt_vocab_add(lt_vocab *v, int64_t id, const void *bytes, size_t n, lt_token_kind kind)
{
    size_t slot;

    if (id < 0 || id >= LT_TOKEN_ID_LIMIT)
        return lt_fail(LT_EFORMAT, "token id %lld is outside 0..%d", (long long)id,
                       LT_TOKEN_ID_LIMIT - 1);
    if (id < v->n_ids && v->tokens[id].kind != LT_TOKEN_HOLE)
        return lt_fail(LT_EFORMAT, "token id %lld is given twice", (long long)id);
    if (n == 0 || n > UINT32_MAX)
        return lt_fail(LT_EFORMAT, "token %lld has no bytes", (long long)id);
    grow_index(v);
    slot = slot_of(v, bytes, n);
    if (v->slots[slot] != LT_NO_ID)
        return lt_fail(LT_EFORMAT, "tokens %u and %lld have the same bytes", v->slots[slot],
                       (long long)id);
    lt_array_reserve(&v->tokens, &v->capacity, (size_t)id + 1, sizeof *v->tokens);
    for (; v->n_ids <= id; v->n_ids++)
        v->tokens[v->n_ids] = (lt_token){ 0 };
    v->tokens[id] = (lt_token){ v->bytes.size, (uint32_t)n, kind };
    lt_buf_append(&v->bytes, bytes, n);
    v->slots[slot] = (uint32_t)id;
    v->n_used++;
    return LT_OK;
}

uint32_t lt_vocab_find(const lt_vocab *v, const void *bytes, size_t n)
{
    return v->n_slots ? v->slots[slot_of(v, bytes, n)] : LT_NO_ID;
}

const uint8_t *lt_vocab_bytes(const lt_vocab *v, uint32_t id, size_t *n)
{
    if (id >= v->n_ids || v->tokens[id].kind == LT_TOKEN_HOLE) {
        *n = 0;
        return NULL;
    }
    *n = v->tokens[id].length;
    return (const uint8_t *)v->bytes.data + v->tokens[id].offset;
}

void lt_vocab_release(lt_vocab *v)
{
    free(v->tokens);
    free(v->slots);
    lt_buf_release(&v->bytes);
    *v = (lt_vocab){ 0 };
}
