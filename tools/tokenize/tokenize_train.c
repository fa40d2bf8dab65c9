/* tokenize_train.c - text to a tokenizer.json: every worker counts words, then BPE is learnt. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "text/bpe_train.h"
#include "tokenize_output.h"
#include "tokenize_pipeline.h"

#include <stdlib.h>

enum { DEFAULT_MIN_FREQUENCY = 2 };

typedef struct count_worker {
    lt_text_sink sink;
    lt_text_scratch scratch;
    lt_word_counts words;
    lt_err_record error; /* of this worker's first text that failed */
} count_worker;

typedef struct count_job {
    pipeline_job job;
    const lt_text_options *options;
    count_worker *workers;
} count_job;

static void count_text(lt_text_sink *sink, const char *text, size_t n, bool starts, bool ends)
{
    count_worker *w = (count_worker *)sink;

    (void)starts;
    (void)ends;
    if (w->error.code == LT_OK && lt_word_counts_text(&w->words, text, n) != LT_OK)
        lt_err_take(&w->error);
}

static lt_err count_chunk(pipeline_job *base, const lt_chunk *chunk, chunk_result *result,
                          int worker)
{
    count_job *job = (count_job *)base;
    count_worker *w = &job->workers[worker];
    lt_err err = lt_chunk_texts(chunk, job->options, &w->scratch, &result->counts, &w->sink);

    if (err == LT_OK && w->error.code != LT_OK)
        err = lt_err_give(&w->error);
    return err;
}

static lt_err write_nothing(pipeline_job *base, const chunk_result *r)
{
    (void)base;
    (void)r;
    return LT_OK;
}

static void show_progress(int64_t n_ids, int64_t vocab_size)
{
    lt_log_progress("learning: %lld of %lld ids", (long long)n_ids, (long long)vocab_size);
}

static lt_err learn(lt_tokenizer **out, const tokenize_args *args, lt_word_counts *words)
{
    static const char *const default_special[] = { "<|endoftext|>" };
    bool given = args->specials.n > 0;
    lt_bpe_train_options o = {
        .vocab_size = args->vocab_size,
        .min_frequency = args->min_frequency ? args->min_frequency : DEFAULT_MIN_FREQUENCY,
        .specials = given ? args->specials.items : default_special,
        .n_specials = given ? args->specials.n : 1,
        .progress = show_progress,
    };
    lt_err err;

    lt_word_counts_sort(words);
    err = lt_bpe_train(out, words, &o);
    lt_log_progress_end();
    return err;
}

static lt_err write_tokenizer(const tokenize_args *args, const lt_tokenizer *t)
{
    tokenize_output output = { .fd = -1 };
    lt_buf json = { 0 };
    lt_err err;

    lt_tokenizer_to_json(t, &json);
    LT_TRY(err = tokenize_output_open(&output, args->out, false));
    LT_TRY(err = lt_fd_write(output.fd, json.data, json.size, output.name));
    err = tokenize_output_commit(&output);
fail:
    tokenize_output_abort(&output);
    lt_buf_release(&json);
    return err;
}

static void print_summary(const tokenize_args *args, const pipeline_totals *totals, const corpus *c,
                          const lt_word_counts *words, const lt_tokenizer *t)
{
    uint32_t n_ids = lt_tokenizer_vocab_size(t);
    lt_buf out = { 0 };

    pipeline_summary(totals, c);
    if (words->n_skipped > 0)
        lt_log_warn("%llu words longer than %d bytes were not learnt from",
                    (unsigned long long)words->n_skipped, LT_WORD_COUNT_MAX);
    if (n_ids < args->vocab_size)
        lt_log_warn("only %u of %lld ids: no pair is left that occurs often enough", n_ids,
                    (long long)args->vocab_size);
    lt_log_info("%zu distinct words, %u ids", words->n, n_ids);
    if (args->json) {
        pipeline_summary_json(totals, c, &out);
        printf("%s, \"distinct_words\": %zu, \"skipped_words\": %llu, \"vocab_size\": %u}\n",
               lt_buf_cstr(&out), words->n, (unsigned long long)words->n_skipped, n_ids);
    }
    lt_buf_release(&out);
}

lt_err tokenize_train(const tokenize_args *args)
{
    int n_threads = pipeline_threads(args);
    count_job job = { .job = { count_chunk, write_nothing } };
    lt_word_counts *words;
    lt_tokenizer *tokenizer = NULL;
    pipeline_totals totals;
    corpus c;
    lt_err err;

    LT_TRY(err = corpus_open(&c, args));
    job.options = &c.options;
    job.workers = lt_new_array0((size_t)n_threads, sizeof *job.workers);
    words = &job.workers[0].words;
    for (int i = 0; i < n_threads; i++)
        job.workers[i].sink.text = count_text;
    LT_TRY(err = pipeline_run(&job.job, &c, n_threads, &totals));
    for (int i = 1; i < n_threads; i++) {
        LT_TRY(err = lt_word_counts_merge(words, &job.workers[i].words));
        lt_word_counts_release(&job.workers[i].words);
    }
    LT_TRY(err = learn(&tokenizer, args, words));
    LT_TRY(err = write_tokenizer(args, tokenizer));
    print_summary(args, &totals, &c, words, tokenizer);
fail:
    for (int i = 0; job.workers && i < n_threads; i++) {
        lt_word_counts_release(&job.workers[i].words);
        lt_text_scratch_release(&job.workers[i].scratch);
    }
    free(job.workers);
    lt_tokenizer_free(tokenizer);
    corpus_release(&c);
    return err;
}
