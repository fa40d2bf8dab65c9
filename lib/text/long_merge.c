/* long_merge.c - merging pieces of any length: the sweep over ranks, and the heap.
 *
 * The sweep keeps, for every byte position, 12 bytes.  A symbol's id stands at its first and at its
 * last byte, so both neighbours are found with the table of lengths:
 *
 *     position   0    1    2    3    4    5          symbols  "th" "e" "re"
 *     symbol     th   th   e    re   re              next of 0: 0 + length(th); previous of 3: the
 *     link       pairs of one rank, doubly linked,   one that ends at 2
 *                kept at the position of the left symbol
 */
#include "text/bpe_merge.h"
#include "base/mem.h"

#include <stdlib.h>

enum { KEEP_POSITIONS = 1 << 20 }; /* scratch above this is given back after each piece */
#define NIL   UINT32_MAX
#define FIRST UINT32_C(0x80000000) /* in prev[]: first of the list of the rank in the other bits */

struct lt_long_merge {
    const lt_merge_table *table;
    uint32_t *symbol, *next, *prev; /* by position */
    size_t capacity;
    uint32_t *head;     /* by rank; all NIL between calls */
    uint64_t *occupied; /* a bit a rank: head may be a position */
    uint64_t *heap;     /* rank << 32 | position, smallest first */
    size_t heap_size, heap_capacity;
};

lt_long_merge *lt_long_merge_new(const lt_merge_table *table)
{
    lt_long_merge *m = lt_new0(sizeof *m);

    m->table = table;
    m->head = lt_new_array0(table->n + 1, sizeof *m->head);
    m->occupied = lt_new_array0(table->n / 64 + 1, sizeof *m->occupied);
    for (size_t r = 0; r < table->n; r++)
        m->head[r] = NIL;
    return m;
}

static void release_scratch(lt_long_merge *m)
{
    free(m->symbol);
    free(m->next);
    free(m->prev);
    free(m->heap);
    m->symbol = m->next = m->prev = NULL;
    m->heap = NULL;
    m->capacity = m->heap_capacity = 0;
}

void lt_long_merge_free(lt_long_merge *m)
{
    if (!m)
        return;
    release_scratch(m);
    free(m->head);
    free(m->occupied);
    free(m);
}

static void reserve(lt_long_merge *m, size_t n)
{
    if (n <= m->capacity)
        return;
    release_scratch(m);
    m->symbol = lt_new_array0(n, sizeof *m->symbol);
    m->next = lt_new_array0(n, sizeof *m->next);
    m->prev = lt_new_array0(n, sizeof *m->prev);
    m->capacity = n;
}

static void link_pair(lt_long_merge *m, uint32_t at, uint32_t left, uint32_t right)
{
    uint32_t rank = lt_merge_rank(m->table, left, right), first;

    m->prev[at] = NIL;
    if (rank == LT_NO_RANK)
        return;
    first = m->head[rank];
    m->prev[at] = FIRST | rank;
    m->next[at] = first;
    if (first != NIL)
        m->prev[first] = at;
    m->head[rank] = at;
    m->occupied[rank / 64] |= UINT64_C(1) << rank % 64;
}

static void unlink_pair(lt_long_merge *m, uint32_t at)
{
    uint32_t prev = m->prev[at], next = m->next[at];

    if (prev == NIL)
        return;
    if (prev & FIRST)
        m->head[prev & ~FIRST] = next;
    else
        m->next[prev] = next;
    if (next != NIL)
        m->prev[next] = prev;
    m->prev[at] = NIL;
}

/* Merges the pair at `at`; n positions in all. */
static void merge_pair(lt_long_merge *m, uint32_t at, const lt_merge *merge, uint32_t n)
{
    const uint32_t *length = m->table->length;
    uint32_t right = at + length[merge->left], end = right + length[merge->right];

    unlink_pair(m, at);
    if (end < n)
        unlink_pair(m, right);
    m->symbol[at] = m->symbol[end - 1] = merge->result;
    if (at > 0) {
        uint32_t left_id = m->symbol[at - 1], left = at - length[left_id];

        unlink_pair(m, left);
        link_pair(m, left, left_id, merge->result);
    }
    if (end < n)
        link_pair(m, at, merge->result, m->symbol[end]);
}

/* All pairs of one rank.  (a, a) overlaps itself, so a run of a's is taken from its start. */
static void merge_rank(lt_long_merge *m, uint32_t rank, uint32_t n)
{
    const lt_merge *merge = &m->table->merges[rank];
    uint32_t size = m->table->length[merge->left], at;

    while ((at = m->head[rank]) != NIL) {
        if (merge->left != merge->right) {
            merge_pair(m, at, merge, n);
            continue;
        }
        while (at > 0 && m->symbol[at - 1] == merge->left)
            at -= size;
        while (at + size < n && m->symbol[at] == merge->left &&
               m->symbol[at + size] == merge->left) {
            merge_pair(m, at, merge, n);
            at += 2 * size;
        }
    }
}

static size_t sweep(lt_long_merge *m, uint32_t *symbols, uint32_t n)
{
    size_t n_words = m->table->n / 64 + 1, n_left = 0;

    for (uint32_t i = 0; i < n; i++)
        m->symbol[i] = symbols[i];
    m->prev[n - 1] = NIL;
    for (uint32_t i = n - 1; i-- > 0;)
        link_pair(m, i, symbols[i], symbols[i + 1]);
    for (size_t w = 0; w < n_words; w++)
        while (m->occupied[w]) {
            uint32_t bit = (uint32_t)__builtin_ctzll(m->occupied[w]);

            merge_rank(m, (uint32_t)w * 64 + bit, n);
            m->occupied[w] &= ~(UINT64_C(1) << bit);
        }
    for (uint32_t i = 0; i < n; i += m->table->length[m->symbol[i]])
        symbols[n_left++] = m->symbol[i];
    return n_left;
}

static void heap_push(lt_long_merge *m, uint32_t at, uint32_t left, uint32_t right)
{
    uint32_t rank = lt_merge_rank(m->table, left, right);
    uint64_t entry = (uint64_t)rank << 32 | at;
    size_t i = m->heap_size;

    if (rank == LT_NO_RANK)
        return;
    lt_array_reserve(&m->heap, &m->heap_capacity, i + 1, sizeof *m->heap);
    m->heap_size++;
    for (; i > 0 && m->heap[(i - 1) / 2] > entry; i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = entry;
}

static uint64_t heap_pop(lt_long_merge *m)
{
    uint64_t top = m->heap[0], last = m->heap[--m->heap_size];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < m->heap_size) {
        if (child + 1 < m->heap_size && m->heap[child + 1] < m->heap[child])
            child++;
        if (m->heap[child] >= last)
            break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = last;
    return top;
}

/* next and prev are a list of the symbols here; a symbol that was merged away is NIL.  Entries are
 * never taken out of the heap, so each is checked against what stands there now. */
static size_t merge_by_heap(lt_long_merge *m, uint32_t *symbols, uint32_t n)
{
    const lt_merge *merges = m->table->merges;
    size_t n_left = 0;

    for (uint32_t i = 0; i < n; i++) {
        m->symbol[i] = symbols[i];
        m->next[i] = i + 1 < n ? i + 1 : NIL;
        m->prev[i] = i > 0 ? i - 1 : NIL;
        if (i > 0)
            heap_push(m, i - 1, symbols[i - 1], symbols[i]);
    }
    while (m->heap_size > 0) {
        uint64_t entry = heap_pop(m);
        uint32_t at = (uint32_t)entry, right = m->next[at], rank;

        if (m->symbol[at] == NIL || right == NIL)
            continue;
        rank = lt_merge_rank(m->table, m->symbol[at], m->symbol[right]);
        if (rank == LT_NO_RANK || merges[rank].result != merges[entry >> 32].result)
            continue;
        m->symbol[at] = merges[rank].result;
        m->symbol[right] = NIL;
        m->next[at] = m->next[right];
        if (m->next[at] != NIL) {
            m->prev[m->next[at]] = at;
            heap_push(m, at, m->symbol[at], m->symbol[m->next[at]]);
        }
        if (m->prev[at] != NIL)
            heap_push(m, m->prev[at], m->symbol[m->prev[at]], m->symbol[at]);
    }
    for (uint32_t i = 0; i != NIL; i = m->next[i])
        symbols[n_left++] = m->symbol[i];
    return n_left;
}

size_t lt_merge_long(lt_long_merge *m, uint32_t *symbols, size_t n)
{
    LT_BUG_ON(n >= FIRST);
    if (n < 2)
        return n;
    reserve(m, n);
    n = m->table->monotone ? sweep(m, symbols, (uint32_t)n)
                           : merge_by_heap(m, symbols, (uint32_t)n);
    if (m->capacity > KEEP_POSITIONS)
        release_scratch(m);
    return n;
}
