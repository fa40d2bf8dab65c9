/* test_bpe_merge.c - scan, sweep and heap against the definition. */
#include "base/mem.h"
#include "base/rng.h"
#include "lt_test.h"
#include "text/bpe_merge.h"

#include <stdlib.h>

/* Merges over single-byte tokens 0..n_bytes-1; `shuffled` breaks the order of ranks. */
static void random_table(lt_merge_table *t, uint64_t seed, uint32_t n_bytes, uint32_t n,
                         bool shuffled)
{
    lt_merge *merges = lt_new_array0(n, sizeof *merges);
    uint32_t *length = lt_new_array0(n_bytes + n, sizeof *length);

    for (uint32_t i = 0; i < n_bytes; i++)
        length[i] = 1;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t known = n_bytes + i;

        merges[i].left = (uint32_t)(lt_random_u64(seed, 1, i) % known);
        merges[i].right = i % 3 ? (uint32_t)(lt_random_u64(seed, 2, i) % known) : merges[i].left;
        merges[i].result = known;
        length[known] = length[merges[i].left] + length[merges[i].right];
    }
    for (uint32_t i = 0; shuffled && i + 1 < n; i++) {
        uint32_t j = i + (uint32_t)(lt_random_u64(seed, 3, i) % (n - i));
        lt_merge m = merges[i];

        merges[i] = merges[j];
        merges[j] = m;
    }
    lt_merge_table_init(t, merges, n, length, n_bytes + n);
}

/* The definition: leftmost pair of lowest rank, again and again. */
static size_t merge_naive(const lt_merge_table *t, uint32_t *s, size_t n)
{
    for (;;) {
        uint32_t lowest = LT_NO_RANK;
        size_t at = 0;

        for (size_t i = 0; i + 1 < n; i++)
            if (lt_merge_rank(t, s[i], s[i + 1]) < lowest) {
                lowest = lt_merge_rank(t, s[i], s[i + 1]);
                at = i;
            }
        if (lowest == LT_NO_RANK)
            return n;
        s[at] = t->merges[lowest].result;
        memmove(s + at + 1, s + at + 2, (n - at - 2) * sizeof *s);
        n--;
    }
}

enum { MAX = 300 };

static bool agree(const lt_merge_table *t, lt_long_merge *m, uint64_t seed, uint32_t n_bytes)
{
    uint32_t want[MAX], scan[MAX], swept[MAX];
    size_t n = 1 + lt_random_u64(seed, 4, 0) % MAX, n_want, n_scan;
    uint32_t letters = seed % 4 == 0 ? 1 : n_bytes;

    for (size_t i = 0; i < n; i++)
        want[i] = scan[i] = swept[i] = (uint32_t)(lt_random_u64(seed, 5, i) % letters);
    n_want = merge_naive(t, want, n);
    if (n <= LT_MERGE_SCAN) {
        n_scan = lt_merge_scan(t, scan, n);
        if (n_scan != n_want || memcmp(scan, want, n_want * sizeof *want) != 0)
            return false;
    }
    return lt_merge_long(m, swept, n) == n_want && memcmp(swept, want, n_want * sizeof *want) == 0;
}

static int count_wrong(bool shuffled, int *n_monotone)
{
    int n_wrong = 0;

    *n_monotone = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        uint32_t n_bytes = 1 + (uint32_t)(seed % 4);
        lt_merge_table t;
        lt_long_merge *m;

        random_table(&t, seed, n_bytes, 5 + (uint32_t)(seed * 7 % 90), shuffled);
        m = lt_long_merge_new(&t);
        *n_monotone += t.monotone;
        for (uint64_t k = 0; k < 25; k++)
            n_wrong += !agree(&t, m, seed * 1000 + k, n_bytes);
        lt_long_merge_free(m);
        lt_merge_table_release(&t);
    }
    return n_wrong;
}

LT_TEST(merge_scan_and_sweep_obey_the_definition)
{
    int n_monotone;

    LT_CHECK_INT(count_wrong(false, &n_monotone), 0);
    LT_CHECK(n_monotone >= 20); /* a random pair may come twice: the later rank counts */
}

LT_TEST(merge_heap_obeys_the_definition_without_rank_order)
{
    int n_monotone;

    LT_CHECK_INT(count_wrong(true, &n_monotone), 0);
    LT_CHECK(n_monotone <= 10);
}
