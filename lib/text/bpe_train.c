/* bpe_train.c - learning merges: words as symbols in one array,
 * the best pair merged again and again.
 *
 * Every merge removes symbols, so all merging together is linear in the symbols of the distinct
 * words; a merge visits only the words that its entry of the queue names. */
#include "text/bpe_train.h"
#include "text/byte_alphabet.h"
#include "text/pair_queue.h"
#include "text/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

enum { PROGRESS_EVERY = 256 };

typedef struct trainer {
    const lt_word_counts *words;
    uint32_t *symbols; /* of all words; word w starts at its offset and keeps n_symbols[w] */
    uint32_t *n_symbols;
    lt_pair_queue queue;
    lt_tokenizer *made;
    lt_merge_list merges;
} trainer;

static void spread_words(trainer *t, const uint32_t byte_id[256])
{
    const lt_word_counts *words = t->words;

    for (size_t w = 0; w < words->n; w++) {
        const uint8_t *bytes = (const uint8_t *)words->bytes.data + words->words[w].offset;
        uint32_t *symbol = t->symbols + words->words[w].offset, n = words->words[w].length;
        int64_t count = (int64_t)words->words[w].count;

        t->n_symbols[w] = n;
        for (uint32_t i = 0; i < n; i++) {
            symbol[i] = byte_id[bytes[i]];
            if (i > 0)
                lt_pair_queue_change(&t->queue, symbol[i - 1], symbol[i], count, (uint32_t)w);
        }
    }
    lt_pair_queue_flush(&t->queue);
}

/* Merges the pair in one word from left to right.  The merged pair itself is not counted down: it
 * is never asked for again. */
static void merge_word(trainer *t, uint32_t w, const lt_pair_entry *pair, uint32_t merged)
{
    uint32_t *s = t->symbols + t->words->words[w].offset, n = t->n_symbols[w], to = 0;
    int64_t count = (int64_t)t->words->words[w].count;

    for (uint32_t from = 0; from < n; to++) {
        if (from + 1 == n || s[from] != pair->left || s[from + 1] != pair->right) {
            s[to] = s[from++];
            continue;
        }
        if (to > 0) {
            lt_pair_queue_change(&t->queue, s[to - 1], pair->left, -count, w);
            lt_pair_queue_change(&t->queue, s[to - 1], merged, count, w);
        }
        from += 2;
        if (from < n) {
            lt_pair_queue_change(&t->queue, pair->right, s[from], -count, w);
            lt_pair_queue_change(&t->queue, merged, s[from], count, w);
        }
        s[to] = merged;
    }
    t->n_symbols[w] = to;
}

/* The id of left + right: a new one, or that of an earlier merge with the same bytes. */
static lt_err merged_id(trainer *t, const lt_pair_entry *pair, uint32_t *out)
{
    lt_vocab *v = &t->made->vocab;
    lt_buf both = { 0 };
    size_t n;
    const uint8_t *bytes = lt_vocab_bytes(v, pair->left, &n);
    lt_err err = LT_OK;

    lt_buf_append(&both, bytes, n);
    bytes = lt_vocab_bytes(v, pair->right, &n);
    lt_buf_append(&both, bytes, n);
    *out = lt_vocab_find(v, both.data, both.size);
    if (*out == LT_NO_ID) {
        *out = v->n_ids;
        err = lt_vocab_add(v, v->n_ids, both.data, both.size, LT_TOKEN_PLAIN);
    }
    lt_buf_release(&both);
    return err;
}

static lt_err learn(trainer *t, const lt_bpe_train_options *o)
{
    lt_merge_list *list = &t->merges;
    lt_pair_entry pair;
    lt_err err = LT_OK;

    while (err == LT_OK && t->made->vocab.n_ids < o->vocab_size &&
           lt_pair_queue_pop(&t->queue, &pair)) {
        uint32_t merged;

        if (pair.count >= o->min_frequency && (err = merged_id(t, &pair, &merged)) == LT_OK) {
            lt_array_reserve(&list->merges, &list->capacity, list->n + 1, sizeof *list->merges);
            list->merges[list->n++] = (lt_merge){ pair.left, pair.right, merged };
            for (size_t i = 0; i < pair.words.n; i++)
                merge_word(t, pair.words.words[i], &pair, merged);
            lt_pair_queue_flush(&t->queue);
        }
        free(pair.words.words);
        if (pair.count < o->min_frequency)
            break;
        if (o->progress && list->n % PROGRESS_EVERY == 0)
            o->progress(t->made->vocab.n_ids, o->vocab_size);
    }
    return err;
}

static int by_pair_then_rank(const void *a, const void *b, void *merges)
{
    const uint32_t *x = a, *y = b;
    const lt_merge *base = merges;
    uint64_t p = lt_merge_key(base[*x].left, base[*x].right);
    uint64_t q = lt_merge_key(base[*y].left, base[*y].right);

    return p != q ? (p > q) - (p < q) : (*x > *y) - (*x < *y);
}

/* A pair that was merged twice (see pair_queue.h) keeps its later rank, as in Hugging Face's. */
static void drop_repeated(lt_merge_list *list)
{
    uint32_t *order = lt_new_array0(list->n, sizeof *order);
    bool *drop = lt_new_array0(list->n, sizeof *drop);
    size_t kept = 0;

    for (size_t r = 0; r < list->n; r++)
        order[r] = (uint32_t)r;
    if (list->n > 0)
        qsort_r(order, list->n, sizeof *order, by_pair_then_rank, list->merges);
    for (size_t i = 0; i + 1 < list->n; i++) {
        const lt_merge *m = &list->merges[order[i]], *next = &list->merges[order[i + 1]];

        drop[order[i]] = m->left == next->left && m->right == next->right;
    }
    for (size_t r = 0; r < list->n; r++)
        if (!drop[r])
            list->merges[kept++] = list->merges[r];
    list->n = kept;
    free(order);
    free(drop);
}

static lt_err add_first_tokens(lt_vocab *v, const lt_bpe_train_options *o, uint32_t byte_id[256])
{
    lt_err err;

    for (size_t i = 0; i < o->n_specials; i++) {
        if (strlen(o->specials[i]) < 2)
            return lt_fail(LT_EUSAGE, "special token \"%s\": expected two bytes or more",
                           o->specials[i]);
        LT_TRY(err = lt_vocab_add(v, v->n_ids, o->specials[i], strlen(o->specials[i]),
                                  LT_TOKEN_SPECIAL));
    }
    for (int i = 0; i < 256; i++) {
        uint8_t byte = lt_alphabet_byte(i);

        byte_id[byte] = v->n_ids;
        LT_TRY(err = lt_vocab_add(v, v->n_ids, &byte, 1, LT_TOKEN_PLAIN));
    }
    return LT_OK;
fail:
    return err;
}

lt_err lt_bpe_train(lt_tokenizer **out, const lt_word_counts *words, const lt_bpe_train_options *o)
{
    trainer t = { .words = words, .made = lt_new0(sizeof *t.made) };
    uint32_t byte_id[256];
    lt_err err;

    t.made->bos_id = LT_NO_ID;
    if (o->vocab_size < 256 + (int64_t)o->n_specials || o->vocab_size > LT_TOKEN_ID_LIMIT) {
        err = lt_fail(LT_EUSAGE, "vocabulary size %lld: expected %zu to %d",
                      (long long)o->vocab_size, 256 + o->n_specials, LT_TOKEN_ID_LIMIT);
        goto fail;
    }
    LT_TRY(err = add_first_tokens(&t.made->vocab, o, byte_id));
    LT_TRY(err = lt_alloc_array(&t.symbols, words->bytes.size, sizeof *t.symbols, "words"));
    LT_TRY(err = lt_alloc_array(&t.n_symbols, words->n, sizeof *t.n_symbols, "words"));
    spread_words(&t, byte_id);
    LT_TRY(err = learn(&t, o));
    drop_repeated(&t.merges);
    LT_TRY(err = lt_tokenizer_seal(t.made, &t.merges));
    *out = t.made;
    t.made = NULL;
fail:
    lt_pair_queue_release(&t.queue);
    free(t.symbols);
    free(t.n_symbols);
    free(t.merges.merges);
    lt_tokenizer_free(t.made);
    return err;
}
