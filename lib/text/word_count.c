/* word_count.c - counting pieces in a hash table. */
#include "text/word_count.h"
#include "base/hash.h"
#include "text/pretoken.h"

#include <stdlib.h>
#include <string.h>

#define EMPTY UINT32_MAX

static void grow(lt_word_counts *w)
{
    if (2 * (w->n + 1) <= w->n_slots)
        return;
    free(w->slots);
    w->n_slots = w->n_slots ? 2 * w->n_slots : 1 << 14;
    w->slots = lt_new_array0(w->n_slots, sizeof *w->slots);
    memset(w->slots, 0xff, w->n_slots * sizeof *w->slots);
    for (size_t i = 0; i < w->n; i++) {
        size_t slot = w->words[i].hash & (w->n_slots - 1);

        while (w->slots[slot] != EMPTY)
            slot = (slot + 1) & (w->n_slots - 1);
        w->slots[slot] = (uint32_t)i;
    }
}

static lt_err count(lt_word_counts *w, const void *bytes, size_t n, uint64_t times)
{
    uint32_t hash = (uint32_t)lt_xxh64(bytes, n, 0);
    size_t slot;

    grow(w);
    slot = hash & (w->n_slots - 1);
    for (; w->slots[slot] != EMPTY; slot = (slot + 1) & (w->n_slots - 1)) {
        lt_word *word = &w->words[w->slots[slot]];

        if (word->hash == hash && word->length == n &&
            memcmp(w->bytes.data + word->offset, bytes, n) == 0) {
            word->count += times;
            return LT_OK;
        }
    }
    if (w->n >= UINT32_C(1) << 31)
        return lt_fail(LT_ENOMEM, "more than 2^31 distinct words");
    lt_array_reserve(&w->words, &w->capacity, w->n + 1, sizeof *w->words);
    w->words[w->n] = (lt_word){ w->bytes.size, (uint32_t)n, hash, times };
    w->slots[slot] = (uint32_t)w->n++;
    lt_buf_append(&w->bytes, bytes, n);
    return LT_OK;
}

lt_err lt_word_counts_text(lt_word_counts *w, const void *text, size_t n)
{
    const uint8_t *s = text, *end = s + n;
    lt_err err = LT_OK;

    while (s < end && err == LT_OK) {
        size_t size = lt_pretoken(s, (size_t)(end - s));

        if (size <= LT_WORD_COUNT_MAX)
            err = count(w, s, size, 1);
        else
            w->n_skipped++;
        s += size;
    }
    return err;
}

lt_err lt_word_counts_merge(lt_word_counts *sum, const lt_word_counts *more)
{
    lt_err err = LT_OK;

    for (size_t i = 0; i < more->n && err == LT_OK; i++)
        err = count(sum, more->bytes.data + more->words[i].offset, more->words[i].length,
                    more->words[i].count);
    sum->n_skipped += more->n_skipped;
    return err;
}

static int by_bytes(const void *a, const void *b, void *bytes)
{
    const lt_word *x = a, *y = b;
    const char *base = bytes;
    size_t n = x->length < y->length ? x->length : y->length;
    int order = memcmp(base + x->offset, base + y->offset, n);

    return order ? order : (x->length > y->length) - (x->length < y->length);
}

void lt_word_counts_sort(lt_word_counts *w)
{
    free(w->slots);
    w->slots = NULL;
    w->n_slots = 0;
    if (w->n > 0)
        qsort_r(w->words, w->n, sizeof *w->words, by_bytes, w->bytes.data);
}

void lt_word_counts_release(lt_word_counts *w)
{
    free(w->words);
    free(w->slots);
    lt_buf_release(&w->bytes);
    *w = (lt_word_counts){ 0 };
}
