/* text/bpe_merge.h - the merges of one piece: its bytes' ids in, its tokens out.
 *
 * The result is always that of merging, again and again, the leftmost pair of lowest rank.
 * Up to LT_MERGE_SCAN symbols a scan for the minimum is fastest.  Longer pieces go through a sweep
 * over the ranks, linear in the piece: with monotone ranks a merge only makes pairs of higher rank,
 * so all pairs of one rank can be merged in one go and no rank is visited twice.  A table whose
 * ranks are not monotone is merged with a heap. */
#ifndef LT_TEXT_BPE_MERGE_H
#define LT_TEXT_BPE_MERGE_H

#include "text/merge_table.h"

enum { LT_MERGE_SCAN = 64 };

/* Memory that long pieces need, kept between calls; one thread at a time. */
typedef struct lt_long_merge lt_long_merge;
lt_long_merge *lt_long_merge_new(const lt_merge_table *table); /* table is borrowed */
void lt_long_merge_free(lt_long_merge *m);                     /* NULL is fine */

/* In place; n <= LT_MERGE_SCAN symbols; returns how many are left. */
size_t lt_merge_scan(const lt_merge_table *table, uint32_t *symbols, size_t n);

/* In place; any n below 2^31, every symbol the token of one byte; returns how many are left. */
size_t lt_merge_long(lt_long_merge *m, uint32_t *symbols, size_t n);

#endif
