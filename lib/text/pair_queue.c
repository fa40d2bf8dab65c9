/* pair_queue.c - pair counts in a hash table, entries in a binary heap. */
#include "text/pair_queue.h"
#include "base/rng.h"

#include <stdlib.h>
#include <string.h>

#define EMPTY UINT32_MAX

static size_t first_slot(const lt_pair_queue *q, uint32_t left, uint32_t right)
{
    return lt_mix64((uint64_t)left << 32 | right) & (q->n_slots - 1);
}

static void grow(lt_pair_queue *q)
{
    if (2 * (q->n_pairs + 1) <= q->n_slots)
        return;
    free(q->slots);
    q->n_slots = q->n_slots ? 2 * q->n_slots : 1 << 14;
    q->slots = lt_new_array0(q->n_slots, sizeof *q->slots);
    memset(q->slots, 0xff, q->n_slots * sizeof *q->slots);
    for (size_t i = 0; i < q->n_pairs; i++) {
        size_t slot = first_slot(q, q->pairs[i].left, q->pairs[i].right);

        while (q->slots[slot] != EMPTY)
            slot = (slot + 1) & (q->n_slots - 1);
        q->slots[slot] = (uint32_t)i;
    }
}

static lt_pair *find_or_add(lt_pair_queue *q, uint32_t left, uint32_t right)
{
    size_t slot;

    grow(q);
    slot = first_slot(q, left, right);
    for (; q->slots[slot] != EMPTY; slot = (slot + 1) & (q->n_slots - 1)) {
        lt_pair *p = &q->pairs[q->slots[slot]];

        if (p->left == left && p->right == right)
            return p;
    }
    lt_array_reserve(&q->pairs, &q->pairs_capacity, q->n_pairs + 1, sizeof *q->pairs);
    q->pairs[q->n_pairs] = (lt_pair){ .left = left, .right = right };
    q->slots[slot] = (uint32_t)q->n_pairs;
    return &q->pairs[q->n_pairs++];
}

void lt_pair_queue_change(lt_pair_queue *q, uint32_t left, uint32_t right, int64_t change,
                          uint32_t word)
{
    lt_pair *p = find_or_add(q, left, right);
    lt_word_list *list = &p->fresh;

    p->count += change;
    if (change <= 0)
        return;
    if (!p->touched) {
        lt_array_reserve(&q->touched, &q->touched_capacity, q->n_touched + 1, sizeof *q->touched);
        q->touched[q->n_touched++] = (uint32_t)(p - q->pairs);
        p->touched = true;
    }
    if (list->n > 0 && list->words[list->n - 1] == word)
        return; /* words are visited one by one, so a repetition follows its first */
    lt_array_reserve(&list->words, &list->capacity, list->n + 1, sizeof *list->words);
    list->words[list->n++] = word;
}

static bool is_better(const lt_pair_entry *a, const lt_pair_entry *b)
{
    if (a->count != b->count)
        return a->count > b->count;
    return a->left != b->left ? a->left < b->left : a->right < b->right;
}

static void push(lt_pair_queue *q, lt_pair_entry entry)
{
    size_t i = q->n_heap;

    lt_array_reserve(&q->heap, &q->heap_capacity, i + 1, sizeof *q->heap);
    q->n_heap++;
    for (; i > 0 && is_better(&entry, &q->heap[(i - 1) / 2]); i = (i - 1) / 2)
        q->heap[i] = q->heap[(i - 1) / 2];
    q->heap[i] = entry;
}

static lt_pair_entry pop(lt_pair_queue *q)
{
    lt_pair_entry top = q->heap[0], last = q->heap[--q->n_heap];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < q->n_heap) {
        if (child + 1 < q->n_heap && is_better(&q->heap[child + 1], &q->heap[child]))
            child++;
        if (!is_better(&q->heap[child], &last))
            break;
        q->heap[i] = q->heap[child];
        i = child;
    }
    if (q->n_heap > 0)
        q->heap[i] = last;
    return top;
}

void lt_pair_queue_flush(lt_pair_queue *q)
{
    for (size_t i = 0; i < q->n_touched; i++) {
        lt_pair *p = &q->pairs[q->touched[i]];

        p->touched = false;
        if (p->count > 0)
            push(q, (lt_pair_entry){ p->count, p->left, p->right, q->touched[i], p->fresh });
        else
            free(p->fresh.words);
        p->fresh = (lt_word_list){ 0 };
    }
    q->n_touched = 0;
}

bool lt_pair_queue_pop(lt_pair_queue *q, lt_pair_entry *out)
{
    while (q->n_heap > 0) {
        lt_pair_entry top = pop(q);
        int64_t count = q->pairs[top.pair].count;

        if (count == top.count) {
            *out = top;
            return true;
        }
        if (count > 0) {
            top.count = count;
            push(q, top);
        } else {
            free(top.words.words);
        }
    }
    return false;
}

void lt_pair_queue_release(lt_pair_queue *q)
{
    for (size_t i = 0; i < q->n_pairs; i++)
        free(q->pairs[i].fresh.words);
    for (size_t i = 0; i < q->n_heap; i++)
        free(q->heap[i].words.words);
    free(q->pairs);
    free(q->slots);
    free(q->touched);
    free(q->heap);
    *q = (lt_pair_queue){ 0 };
}
