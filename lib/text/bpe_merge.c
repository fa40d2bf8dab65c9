/* bpe_merge.c - merging short pieces: ranks in an array, scan for the minimum, close the gap. */
#include "text/bpe_merge.h"

#include <string.h>

size_t lt_merge_scan(const lt_merge_table *table, uint32_t *symbols, size_t n)
{
    uint32_t rank[LT_MERGE_SCAN]; /* rank[i]: of the pair (i, i + 1) */

    LT_BUG_ON(n > LT_MERGE_SCAN);
    for (size_t i = 0; i + 1 < n; i++)
        rank[i] = lt_merge_rank(table, symbols[i], symbols[i + 1]);
    while (n > 1) {
        uint32_t lowest = LT_NO_RANK;
        size_t at = 0;

        for (size_t i = 0; i + 1 < n; i++)
            if (rank[i] < lowest) {
                lowest = rank[i];
                at = i;
            }
        if (lowest == LT_NO_RANK)
            break;
        symbols[at] = table->merges[lowest].result;
        n--;
        memmove(symbols + at + 1, symbols + at + 2, (n - at - 1) * sizeof *symbols);
        if (at + 1 < n) {
            memmove(rank + at + 1, rank + at + 2, (n - at - 2) * sizeof *rank);
            rank[at] = lt_merge_rank(table, symbols[at], symbols[at + 1]);
        }
        if (at > 0)
            rank[at - 1] = lt_merge_rank(table, symbols[at - 1], symbols[at]);
    }
    return n;
}
