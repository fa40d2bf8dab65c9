/* merge_table.c - building the table of merges. */
#include "text/merge_table.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static void insert(lt_merge_table *t, uint32_t rank)
{
    uint64_t key = lt_merge_key(t->merges[rank].left, t->merges[rank].right);
    uint64_t mask = (UINT64_C(1) << (64 - t->shift)) - 1;
    uint64_t i = key * UINT64_C(0x9e3779b97f4a7c15) >> t->shift;

    while (t->slots[i] != UINT64_MAX && t->slots[i] >> LT_TOKEN_ID_BITS != key)
        i = (i + 1) & mask;
    t->slots[i] = key << LT_TOKEN_ID_BITS | rank;
}

/* Monotone: whatever makes a part of a pair has a lower rank than the pair. */
static bool is_monotone(const lt_merge_table *t, uint32_t n_ids)
{
    int64_t *made_at = lt_new_array0(n_ids, sizeof *made_at);
    bool monotone = true;

    for (uint32_t id = 0; id < n_ids; id++)
        made_at[id] = -1;
    for (size_t r = 0; r < t->n; r++)
        made_at[t->merges[r].result] = (int64_t)r;
    for (size_t r = 0; r < t->n; r++)
        monotone &=
            made_at[t->merges[r].left] < (int64_t)r && made_at[t->merges[r].right] < (int64_t)r;
    free(made_at);
    return monotone;
}

void lt_merge_table_init(lt_merge_table *t, lt_merge *merges, size_t n, uint32_t *length,
                         uint32_t n_ids)
{
    unsigned log2_slots = 4;

    LT_BUG_ON(n >= LT_TOKEN_ID_LIMIT || n_ids > LT_TOKEN_ID_LIMIT);
    while (UINT64_C(1) << log2_slots < 2 * n)
        log2_slots++;
    *t = (lt_merge_table){ .merges = merges, .n = n, .length = length, .shift = 64 - log2_slots };
    t->slots = lt_new_array0((size_t)1 << log2_slots, sizeof *t->slots);
    memset(t->slots, 0xff, ((size_t)1 << log2_slots) * sizeof *t->slots);
    for (size_t r = 0; r < n; r++)
        insert(t, (uint32_t)r);
    t->monotone = is_monotone(t, n_ids);
}

void lt_merge_table_release(lt_merge_table *t)
{
    free(t->merges);
    free(t->length);
    free(t->slots);
    *t = (lt_merge_table){ 0 };
}
