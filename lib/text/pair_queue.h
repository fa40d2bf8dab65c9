/* text/pair_queue.h - the pairs of neighbouring symbols while BPE is trained: counts, and a queue
 * by count.
 *
 * The queue is lazy.  An entry keeps the count of when it was pushed and the words in which the
 * pair was new then; counts only fall afterwards, so an entry whose count is out of date is pushed
 * again with the true one.  This is Hugging Face's bookkeeping, kept exactly: when two merges make
 * the same token, a pair can be in the queue twice, each entry with its own words. */
#ifndef LT_TEXT_PAIR_QUEUE_H
#define LT_TEXT_PAIR_QUEUE_H

#include "base/mem.h"

typedef struct lt_word_list {
    uint32_t *words;
    size_t n, capacity;
} lt_word_list;

typedef struct lt_pair {
    uint32_t left, right;
    int64_t count;
    lt_word_list fresh; /* words in which the pair appeared since the last flush */
    bool touched;
} lt_pair;

typedef struct lt_pair_entry {
    int64_t count;
    uint32_t left, right;
    uint32_t pair; /* index into pairs */
    lt_word_list words;
} lt_pair_entry;

typedef struct lt_pair_queue {
    lt_pair *pairs;
    size_t n_pairs, pairs_capacity;
    uint32_t *slots; /* index into pairs, by hash */
    size_t n_slots;
    uint32_t *touched; /* pairs with fresh words */
    size_t n_touched, touched_capacity;
    lt_pair_entry *heap; /* the best first */
    size_t n_heap, heap_capacity;
} lt_pair_queue; /* {0} is empty */

/* The pair (left, right) occurs `change` times more in this word. */
void lt_pair_queue_change(lt_pair_queue *q, uint32_t left, uint32_t right, int64_t change,
                          uint32_t word);
void lt_pair_queue_flush(lt_pair_queue *q); /* pushes every pair that got fresh words */

/* The most frequent pair; false when there is none.  The caller frees out->words.words. */
bool lt_pair_queue_pop(lt_pair_queue *q, lt_pair_entry *out);
void lt_pair_queue_release(lt_pair_queue *q);

#endif
