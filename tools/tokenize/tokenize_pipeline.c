/* tokenize_pipeline.c - the rounds of tokenize_pipeline.h. */
#include "tokenize_pipeline.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 256 << 10, CHUNKS_PER_THREAD = 4, KEEP_IDS = 1 << 20 };

typedef struct batch {
    lt_chunk *chunks;
    chunk_result *results;
    int64_t n;
} batch;

typedef struct pipeline {
    lt_task task;
    pipeline_job *job;
    const corpus *corpus;
    lt_chunker *chunker;
    int64_t max_chunks;
    /* By turns: one is read into, and its results of the round before are written, while the other
     * is worked on. */
    batch batches[2];
    int64_t n_to_write;
    unsigned round;
    lt_err_record read_error, write_error;
    double started, drawn;
} pipeline;

int pipeline_threads(const tokenize_args *args)
{
    return args->threads > 0 ? (int)args->threads : lt_cpu_count();
}

static void clear_result(chunk_result *r)
{
    if (r->ids.capacity > KEEP_IDS)
        lt_ids_release(&r->ids);
    if (r->lines.capacity > sizeof(uint32_t) * KEEP_IDS)
        lt_buf_release(&r->lines);
    lt_buf_clear(&r->lines);
    r->counts = (lt_text_counts){ 0 };
    r->n_tokens = r->ids.size = r->n_pieces = 0;
    r->error.code = LT_OK;
}

static void read_batch(pipeline *p, batch *b)
{
    size_t bytes = 0;

    b->n = 0;
    if (p->read_error.code != LT_OK) /* reported once all that came before is through */
        return;
    for (; b->n < p->max_chunks; b->n++) {
        lt_chunk *chunk = &b->chunks[b->n];

        if (bytes >= (size_t)p->max_chunks * CHUNK_BYTES)
            break;
        if (lt_chunker_next(p->chunker, chunk) != LT_OK) {
            lt_err_take(&p->read_error);
            break;
        }
        if (chunk->n_parts == 0)
            break;
        bytes += chunk->text.size;
    }
}

static void write_batch(pipeline *p, const batch *b)
{
    for (int64_t i = 0; i < p->n_to_write; i++)
        if (p->job->write(p->job, &b->results[i]) != LT_OK) {
            lt_err_take(&p->write_error);
            return;
        }
}

/* Tasks 0 and 1 read and write; they come first because nothing else
 * in the round can replace them. */
static void run_task(lt_task *task, int64_t index, int worker)
{
    pipeline *p = (pipeline *)task;
    batch *now = &p->batches[p->round % 2], *other = &p->batches[(p->round + 1) % 2];

    if (index == 0) {
        read_batch(p, other);
    } else if (index == 1) {
        write_batch(p, other);
    } else {
        chunk_result *r = &now->results[index - 2];

        clear_result(r);
        if (p->job->work(p->job, &now->chunks[index - 2], r, worker) != LT_OK)
            lt_err_take(&r->error);
    }
}

static void draw_progress(pipeline *p, const pipeline_totals *t)
{
    const lt_input_list *inputs = &p->corpus->inputs;
    double now = lt_now(), seconds = now - p->started;
    char percent[32] = "";

    if (!lt_log_progress_shown() || now - p->drawn < 0.1)
        return;
    p->drawn = now;
    if (inputs->bytes_known && inputs->bytes > 0)
        snprintf(percent, sizeof percent, "%3.0f%%  ",
                 100.0 * (double)lt_chunker_consumed(p->chunker) / (double)inputs->bytes);
    lt_log_progress("%s%.1f MB  %llu documents  %llu tokens  %.1f MB/s", percent,
                    (double)t->counts.bytes * 1e-6, (unsigned long long)t->counts.documents,
                    (unsigned long long)t->n_tokens,
                    seconds > 0 ? (double)t->counts.bytes * 1e-6 / seconds : 0.0);
}

/* The first error in the order of the input: what is written came before what is worked on. */
static lt_err round_error(const pipeline *p, const batch *now)
{
    if (p->write_error.code != LT_OK)
        return lt_err_give(&p->write_error);
    for (int64_t i = 0; i < now->n; i++)
        if (now->results[i].error.code != LT_OK)
            return lt_err_give(&now->results[i].error);
    return LT_OK;
}

static lt_err run_rounds(pipeline *p, lt_pool *pool, pipeline_totals *totals)
{
    lt_err err;

    p->batches[1].n = 0;
    read_batch(p, &p->batches[0]);
    while (p->batches[p->round % 2].n > 0 || p->n_to_write > 0) {
        batch *now = &p->batches[p->round % 2];

        lt_pool_run(pool, &p->task, 2 + now->n);
        LT_TRY(err = round_error(p, now));
        for (int64_t i = 0; i < now->n; i++) {
            lt_text_counts_add(&totals->counts, &now->results[i].counts);
            totals->n_tokens += now->results[i].n_tokens;
        }
        p->n_to_write = now->n;
        p->round++;
        draw_progress(p, totals);
    }
    if (p->read_error.code != LT_OK)
        return lt_err_give(&p->read_error);
    if (totals->counts.documents == 0)
        return lt_fail(LT_ENOENT, "no document in %zu input%s: %llu bad lines, no text",
                       p->corpus->inputs.n, p->corpus->inputs.n == 1 ? "" : "s",
                       (unsigned long long)totals->counts.bad_lines);
    return LT_OK;
fail:
    return err;
}

static void release_batch(batch *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        lt_chunk_release(&b->chunks[i]);
        lt_ids_release(&b->results[i].ids);
        lt_buf_release(&b->results[i].lines);
        free(b->results[i].pieces);
    }
    free(b->chunks);
    free(b->results);
}

lt_err pipeline_run(pipeline_job *job, const corpus *c, int n_threads, pipeline_totals *totals)
{
    pipeline p = { .task = { run_task }, .job = job, .corpus = c, .started = lt_now() };
    lt_pool *pool = lt_pool_new(n_threads);
    lt_err err;

    *totals = (pipeline_totals){ 0 };
    p.max_chunks = (int64_t)n_threads * CHUNKS_PER_THREAD;
    for (int i = 0; i < 2; i++) {
        p.batches[i].chunks = lt_new_array0((size_t)p.max_chunks, sizeof(lt_chunk));
        p.batches[i].results = lt_new_array0((size_t)p.max_chunks, sizeof(chunk_result));
    }
    p.chunker = lt_chunker_new(&c->inputs, c->separator.data, c->separator.size, CHUNK_BYTES);
    err = run_rounds(&p, pool, totals);
    lt_log_progress_end();
    totals->seconds = lt_now() - p.started;
    lt_chunker_free(p.chunker);
    release_batch(&p.batches[0], p.max_chunks);
    release_batch(&p.batches[1], p.max_chunks);
    lt_pool_free(pool);
    return err;
}
