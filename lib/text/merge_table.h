/* text/merge_table.h - the merges of a byte-level BPE: (left id, right id) -> rank -> merged id.
 *
 * Look-up is one multiplication and mostly one 8-byte load: a slot packs both ids and the rank into
 * 21 bits each, in a table at most half full.  Filled once, then shared by all threads. */
#ifndef LT_TEXT_MERGE_TABLE_H
#define LT_TEXT_MERGE_TABLE_H

#include "base/err.h"

enum { LT_TOKEN_ID_BITS = 21, LT_TOKEN_ID_LIMIT = 1 << LT_TOKEN_ID_BITS };
#define LT_NO_RANK UINT32_MAX

typedef struct lt_merge {
    uint32_t left, right, result;
} lt_merge;

typedef struct lt_merge_table {
    lt_merge *merges; /* by rank */
    size_t n;
    uint32_t *length; /* by id: bytes of the token */
    uint64_t *slots;
    unsigned shift; /* 64 - log2(number of slots) */
    bool monotone;  /* no merge makes a pair of its own or a lower rank */
} lt_merge_table;

/* Takes over `merges` (by rank) and `length` (by id), both from the heap; every id is below n_ids,
 * at most LT_TOKEN_ID_LIMIT.  Of a pair that is given twice the later rank counts, as in Hugging
 * Face's tokenizers. */
void lt_merge_table_init(lt_merge_table *t, lt_merge *merges, size_t n, uint32_t *length,
                         uint32_t n_ids);
void lt_merge_table_release(lt_merge_table *t);

static inline uint64_t lt_merge_key(uint32_t left, uint32_t right)
{
    return (uint64_t)left << LT_TOKEN_ID_BITS | right;
}

static inline uint32_t lt_merge_rank(const lt_merge_table *t, uint32_t left, uint32_t right)
{
    uint64_t key = lt_merge_key(left, right), mask = (UINT64_C(1) << (64 - t->shift)) - 1;

    for (uint64_t i = key * UINT64_C(0x9e3779b97f4a7c15) >> t->shift;; i = (i + 1) & mask) {
        uint64_t slot = t->slots[i];

        if (slot >> LT_TOKEN_ID_BITS == key)
            return (uint32_t)(slot & (LT_TOKEN_ID_LIMIT - 1));
        if (slot == UINT64_MAX)
            return LT_NO_RANK;
    }
}

#endif
