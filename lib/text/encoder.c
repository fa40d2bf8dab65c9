/* encoder.c - text -> ids: cut, look the word up, merge it when it is new.
 *
 * The cache: a word of at most 15 bytes, zero-padded, with its length in byte 15, is the key; a
 * slot is one cache line of key and up to 11 ids.  Two neighbouring slots form a set; a new word
 * pushes the older of the two out, so hot words stay and memory is fixed.  Only text decides its
 * contents, and a cached answer equals a merged one, so results never depend on it. */
#include "text/encoder.h"
#include "text/bpe_merge.h"
#include "text/pretoken.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first byte is the lowest");

enum { LOG2_SLOTS = 16, WORD_MAX = 15, SLOT_IDS = 11, HUGE_PAGE = 2 << 20 };

typedef struct slot {
    uint64_t key[2]; /* key[1] >> 56 is the length; 0: empty */
    uint32_t n_ids, ids[SLOT_IDS];
} slot;

struct lt_encoder {
    const lt_tokenizer *tokenizer;
    slot *slots;
    lt_long_merge *long_merge;
    uint64_t n_cut;
};

void lt_ids_release(lt_ids *ids)
{
    free(ids->data);
    *ids = (lt_ids){ 0 };
}

lt_encoder *lt_encoder_new(const lt_tokenizer *t)
{
    lt_encoder *e = lt_new0(sizeof *e);
    size_t bytes = sizeof(slot) << LOG2_SLOTS;

    e->tokenizer = t;
    e->slots = aligned_alloc(HUGE_PAGE, bytes);
    if (e->slots) {
        madvise(e->slots, bytes, MADV_HUGEPAGE); /* a hint, before the first touch */
        memset(e->slots, 0, bytes);
    } else {
        e->slots = lt_new0(bytes);
    }
    e->long_merge = lt_long_merge_new(&t->table);
    return e;
}

void lt_encoder_free(lt_encoder *e)
{
    if (!e)
        return;
    free(e->slots);
    lt_long_merge_free(e->long_merge);
    free(e);
}

uint64_t lt_encoder_n_cut(const lt_encoder *e)
{
    return e->n_cut;
}

static void load_key(uint64_t key[2], const uint8_t *word, size_t n, bool may_read_16)
{
    static const uint64_t ones = UINT64_MAX;

    if (may_read_16) { /* two loads and a mask instead of a call to memcpy */
        memcpy(key, word, 16);
        key[0] &= n >= 8 ? ones : ones >> (64 - 8 * n);
        key[1] &= n <= 8 ? 0 : ones >> (128 - 8 * n);
    } else {
        key[0] = key[1] = 0;
        memcpy(key, word, n);
    }
    key[1] |= (uint64_t)n << 56;
}

static size_t slot_index(const uint64_t key[2])
{
    uint64_t h = (key[0] ^ key[1] * UINT64_C(0x9ddfea08eb382d69)) * UINT64_C(0x9e3779b97f4a7c15);

    return (h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> (64 - LOG2_SLOTS);
}

/* Merges a word of at most LT_MERGE_SCAN bytes into symbols. */
static size_t merge_short(const lt_tokenizer *t, const uint8_t *word, size_t n, uint32_t *symbols)
{
    for (size_t i = 0; i < n; i++)
        symbols[i] = t->byte_id[word[i]];
    return lt_merge_scan(&t->table, symbols, n);
}

static void encode_long(lt_encoder *e, const uint8_t *word, size_t n, lt_ids *out)
{
    const lt_tokenizer *t = e->tokenizer;
    uint32_t *symbols;

    lt_array_reserve(&out->data, &out->capacity, out->size + n, sizeof *out->data);
    symbols = out->data + out->size;
    if (n <= LT_MERGE_SCAN) {
        out->size += merge_short(t, word, n, symbols);
        return;
    }
    e->n_cut += n > LT_PRETOKEN_MAX - 4;
    for (size_t i = 0; i < n; i++)
        symbols[i] = t->byte_id[word[i]];
    out->size += lt_merge_long(e->long_merge, symbols, n);
}

/* A word that neither slot of its set holds. */
__attribute__((noinline)) static size_t encode_new(lt_encoder *e, const uint8_t *word, size_t n,
                                                   slot *set, const uint64_t key[2], uint32_t *dst)
{
    size_t n_ids = merge_short(e->tokenizer, word, n, dst);

    if (n_ids <= SLOT_IDS) {
        set[1] = set[0];
        set[0] = (slot){ .key = { key[0], key[1] }, .n_ids = (uint32_t)n_ids };
        memcpy(set[0].ids, dst, n_ids * sizeof *dst);
    }
    return n_ids;
}

/* dst has room for 16 ids; the first four are always stored, since most words have fewer. */
static inline size_t encode_short(lt_encoder *e, const uint8_t *word, size_t n, bool may_read_16,
                                  uint32_t *dst)
{
    uint64_t key[2];
    slot *set, *hit;
    size_t i;

    load_key(key, word, n, may_read_16);
    i = slot_index(key);
    set = &e->slots[i & ~(size_t)1];
    if (set[0].key[0] == key[0] && set[0].key[1] == key[1])
        hit = &set[0];
    else if (set[1].key[0] == key[0] && set[1].key[1] == key[1])
        hit = &set[1];
    else
        return encode_new(e, word, n, set, key, dst);
    memcpy(dst, hit->ids, 4 * sizeof *dst);
    if (hit->n_ids > 4)
        memcpy(dst + 4, hit->ids + 4, (SLOT_IDS - 4) * sizeof *dst);
    return hit->n_ids;
}

void lt_encode(lt_encoder *e, const void *text, size_t n, lt_ids *out)
{
    const uint8_t *s = text, *end = s + n;

    while (s < end) {
        size_t size = lt_pretoken(s, (size_t)(end - s));

        if (size > WORD_MAX) {
            encode_long(e, s, size, out);
        } else {
            if (out->capacity - out->size < 16)
                lt_array_reserve(&out->data, &out->capacity, out->size + 16 + n / 4,
                                 sizeof *out->data);
            out->size += encode_short(e, s, size, end - s >= 16, out->data + out->size);
        }
        s += size;
    }
}
