/* batch/batch.c - the prefetch thread and its ring of batches. */
#include "batch/batch.h"

#include "base/thread.h"
#include "batch/sampler.h"

#include <stdlib.h>
#include <string.h>

enum { MIN_DEPTH = 2, MAX_DEPTH = 4 };

struct lt_batcher {
    lt_batcher_options o;
    lt_sampler sampler;
    uint64_t n_steps; /* UINT64_MAX: no end */
    uint32_t *window; /* (T + 1) */
    lt_batch ring[MAX_DEPTH];
    int32_t *memory; /* of all batches */

    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t made, freed;
    /* Steps counted from 0, under the lock: released <= taken <= ready. */
    uint64_t ready, taken, released;
    bool stop;
    lt_err_record fault; /* of the thread; after the batches that are ready */
};

/* Where documents start inside the window, and no target across their ends. */
static void mask_documents(const lt_batcher *b, uint64_t first, int32_t *targets,
                           int32_t *doc_start, int32_t *positions)
{
    uint64_t end = lt_dataset_next_end(b->o.data, first, NULL);
    int32_t start = 0;

    for (uint64_t t = 0; t < b->o.seq_len; t++) {
        doc_start[t] = start;
        positions[t] = (int32_t)t - start;
        if (first + t == end) {
            targets[t] = LT_IGNORE;
            start = (int32_t)t + 1;
            end = lt_dataset_next_end(b->o.data, first + t + 1, NULL);
        }
    }
}

static lt_err fill_row(lt_batcher *b, lt_batch *batch, uint64_t row, uint64_t k)
{
    uint64_t n = b->o.seq_len, first = lt_sampler_first_token(&b->sampler, k);
    int32_t *inputs = batch->inputs + row * n, *targets = batch->targets + row * n;
    lt_err err;

    LT_TRY(err = lt_dataset_read(b->o.data, first, b->window, n + 1));
    memcpy(inputs, b->window, n * sizeof *inputs);
    memcpy(targets, b->window + 1, n * sizeof *targets);
    if (b->o.document_mask)
        mask_documents(b, first, targets, batch->doc_start + row * n, batch->positions + row * n);
    for (uint64_t t = 0; t < n; t++)
        batch->n_target_tokens += targets[t] != LT_IGNORE;
    return LT_OK;
fail:
    return lt_fail_in("sample %llu", (unsigned long long)k);
}

/* A row that does not exist: id 0 is always valid, and nothing is asked of it. */
static void blank_row(const lt_batcher *b, lt_batch *batch, uint64_t row)
{
    for (uint64_t t = row * b->o.seq_len; t < (row + 1) * b->o.seq_len; t++) {
        batch->inputs[t] = 0;
        batch->targets[t] = LT_IGNORE;
        batch->doc_start[t] = 0;
        batch->positions[t] = (int32_t)(t - row * b->o.seq_len);
    }
}

static lt_err make_batch(lt_batcher *b, uint64_t step, lt_batch *batch)
{
    uint64_t end = b->o.once ? b->sampler.n_windows : UINT64_MAX;
    lt_err err;

    batch->first_sample = b->o.first_sample + step * b->o.step_samples + b->o.rank_first;
    batch->n_samples = 0;
    batch->n_target_tokens = 0;
    for (uint64_t row = 0; row < b->o.rank_samples; row++) {
        uint64_t k = batch->first_sample + row;

        if (k >= end) {
            blank_row(b, batch, row);
            continue;
        }
        LT_TRY(err = fill_row(b, batch, row, k));
        batch->n_samples++;
    }
    return LT_OK;
fail:
    return err;
}

static void *prefetch(void *arg)
{
    lt_batcher *b = arg;
    lt_err err = LT_OK;

    pthread_mutex_lock(&b->lock);
    while (err == LT_OK && b->ready < b->n_steps) {
        uint64_t step = b->ready;

        while (!b->stop && step - b->released >= (uint64_t)b->o.depth)
            pthread_cond_wait(&b->freed, &b->lock);
        if (b->stop)
            break;
        pthread_mutex_unlock(&b->lock);
        err = make_batch(b, step, &b->ring[step % (uint64_t)b->o.depth]);
        pthread_mutex_lock(&b->lock);
        if (err == LT_OK)
            b->ready++;
        else
            lt_err_take(&b->fault);
        pthread_cond_signal(&b->made);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

static lt_err check_options(const lt_batcher_options *o)
{
    const char *name = lt_dataset_path(o->data);
    uint32_t there = lt_dataset_manifest(o->data)->vocab_size;

    LT_BUG_ON(o->depth < MIN_DEPTH || o->depth > MAX_DEPTH || o->rank_samples == 0);
    LT_BUG_ON(o->rank_first + o->rank_samples > o->step_samples);
    if (o->seq_len == 0 || o->seq_len >= INT32_MAX)
        return lt_fail(LT_EUSAGE, "%s: sequences of %llu tokens are not possible", name,
                       (unsigned long long)o->seq_len);
    if (o->vocab_size != 0 && there > o->vocab_size)
        return lt_fail(LT_EMISMATCH, "%s: ids up to %u, the model's vocabulary ends at %u", name,
                       there - 1, o->vocab_size - 1);
    if (o->document_mask && !lt_dataset_has_documents(o->data))
        return lt_fail(LT_EMISMATCH,
                       "%s: no document ends are recorded, so documents cannot be "
                       "masked",
                       name);
    return LT_OK;
}

/* How many steps there are; UINT64_MAX when the epochs go on for ever. */
static uint64_t count_steps(const lt_batcher *b)
{
    uint64_t n = b->o.max_steps ? b->o.max_steps : UINT64_MAX, left, all;

    if (!b->o.once)
        return n;
    left = b->sampler.n_windows > b->o.first_sample ? b->sampler.n_windows - b->o.first_sample : 0;
    all = left / b->o.step_samples + (left % b->o.step_samples != 0);
    return all < n ? all : n;
}

static lt_err allocate_ring(lt_batcher *b)
{
    uint64_t cells, all;
    lt_err err;

    if (!lt_size_muladd(b->o.rank_samples, b->o.seq_len, 0, &cells) ||
        !lt_size_muladd(cells, 4 * (uint64_t)b->o.depth, 0, &all))
        return lt_fail(LT_ENOMEM, "%s: a batch of %llu sequences of %llu does not fit in memory",
                       lt_dataset_path(b->o.data), (unsigned long long)b->o.rank_samples,
                       (unsigned long long)b->o.seq_len);
    LT_TRY(err = lt_alloc_array(&b->memory, all, sizeof *b->memory, "batches"));
    LT_TRY(err = lt_alloc_array(&b->window, b->o.seq_len + 1, sizeof *b->window, "batches"));
    for (int i = 0; i < b->o.depth; i++) {
        int32_t *m = b->memory + 4 * cells * (uint64_t)i;

        b->ring[i] = (lt_batch){ .inputs = m,
                                 .targets = m + cells,
                                 .doc_start = m + 2 * cells,
                                 .positions = m + 3 * cells };
        for (uint64_t t = 0; t < cells; t++) /* doc_start is 0 already; masking overwrites both */
            b->ring[i].positions[t] = (int32_t)(t % b->o.seq_len);
    }
    return LT_OK;
fail:
    return err;
}

lt_err lt_batcher_open(lt_batcher **out, const lt_batcher_options *options)
{
    lt_batcher *b = lt_new0(sizeof *b);
    lt_err err;

    b->o = *options;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->made, NULL);
    pthread_cond_init(&b->freed, NULL);
    LT_TRY(err = check_options(options));
    LT_TRY(err = lt_sampler_init(&b->sampler, lt_dataset_tokens(b->o.data), b->o.seq_len, b->o.seed,
                                 b->o.stream, b->o.shuffle, lt_dataset_path(b->o.data)));
    b->n_steps = count_steps(b);
    LT_TRY(err = allocate_ring(b));
    LT_TRY(err = lt_thread_start(&b->thread, prefetch, b, lt_dataset_path(b->o.data)));
    b->started = true;
    *out = b;
    return LT_OK;
fail:
    lt_batcher_close(b);
    return err;
}

void lt_batcher_close(lt_batcher *b)
{
    if (!b)
        return;
    if (b->started) {
        pthread_mutex_lock(&b->lock);
        b->stop = true;
        pthread_cond_signal(&b->freed);
        pthread_mutex_unlock(&b->lock);
        pthread_join(b->thread, NULL);
    }
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->made);
    pthread_cond_destroy(&b->freed);
    free(b->memory);
    free(b->window);
    free(b);
}

lt_err lt_batcher_next(lt_batcher *b, const lt_batch **out)
{
    lt_err err = LT_OK;

    *out = NULL;
    if (b->taken == b->n_steps)
        return LT_OK;
    pthread_mutex_lock(&b->lock);
    LT_BUG_ON(b->taken - b->released == (uint64_t)b->o.depth); /* would wait for ever */
    while (b->ready == b->taken && b->fault.code == LT_OK)
        pthread_cond_wait(&b->made, &b->lock);
    if (b->ready > b->taken)
        *out = &b->ring[b->taken++ % (uint64_t)b->o.depth];
    else
        err = lt_err_give(&b->fault);
    pthread_mutex_unlock(&b->lock);
    return err;
}

void lt_batcher_release(lt_batcher *b)
{
    pthread_mutex_lock(&b->lock);
    LT_BUG_ON(b->released == b->taken);
    b->released++;
    pthread_cond_signal(&b->freed);
    pthread_mutex_unlock(&b->lock);
}
