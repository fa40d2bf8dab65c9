/* test_batch.c - data sets and batches: order, targets, masking, world sizes, resume, errors. */
#include "batch/batch.h"
#include "batch/sampler.h"
#include "shard/shard_series.h"
#include "shard/token_stream.h"

#include "base/file.h"
#include "base/rng.h"
#include "lt_test.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { VOCAB = 1000, TOKENS = 4000, SHARD = 700 };

/* Token i of the data; id 0 ends a document. */
static uint32_t token(uint64_t i)
{
    return lt_random_u64(11, 1, i) % 40 == 0 ? 0 : 1 + (uint32_t)(i % (VOCAB - 1));
}

/* The data set at a fixed place in the scratch folder, made once. */
static const char *manifest_path(void)
{
    static char path[600], dir[512];
    lt_shard_writer_options o = { .vocab_size = VOCAB,
                                  .eot_id = 0,
                                  .bos_id = LT_NO_TOKEN,
                                  .frame_log2 = 6,
                                  .level = 3,
                                  .documents = true };
    lt_shard_series *s;
    bool ok;

    if (path[0])
        return path;
    snprintf(dir, sizeof dir, "%s", lt_test_tmp("data"));
    ok = lt_mkdirs(dir) == LT_OK;
    s = lt_shard_series_new(dir, "train", SHARD, &o);
    for (uint64_t i = 0; ok && i < TOKENS; i++) {
        uint32_t id = token(i);

        ok = lt_shard_series_append(s, &id, 1) == LT_OK;
        if (id == 0 || i + 1 == TOKENS)
            lt_shard_series_end_document(s);
    }
    ok = ok && lt_shard_series_finish(s) == LT_OK;
    lt_shard_series_free(s);
    snprintf(path, sizeof path, "%s/train.manifest", ok ? dir : "/nowhere");
    return path;
}

static lt_batcher_options options(lt_dataset *d)
{
    return (lt_batcher_options){ .data = d,
                                 .seq_len = 50,
                                 .seed = 3,
                                 .shuffle = true,
                                 .step_samples = 12,
                                 .rank_samples = 12,
                                 .depth = 2 };
}

LT_TEST(dataset_joins_shards)
{
    uint32_t ids[TOKENS];
    lt_dataset *d;
    uint64_t end = TOKENS, documents = 0, ordinal;

    LT_CHECK_OK(lt_dataset_open(&d, manifest_path()));
    LT_CHECK_INT(lt_dataset_tokens(d), TOKENS);
    LT_CHECK_OK(lt_dataset_read(d, 0, ids, TOKENS));
    for (uint64_t i = 0; i < TOKENS; i++)
        LT_CHECK_INT(ids[i], token(i));
    for (uint64_t i = 0; i < TOKENS - 150; i += 13) {
        LT_CHECK_OK(lt_dataset_read(d, i, ids, 150));
        LT_CHECK_INT(ids[149], token(i + 149));
    }
    for (uint64_t i = TOKENS; i-- > 0;) {
        end = token(i) == 0 || i + 1 == TOKENS ? i : end;
        LT_CHECK_INT(lt_dataset_next_end(d, i, NULL), end);
    }
    for (uint64_t i = 0; i < TOKENS; i++) {
        lt_dataset_next_end(d, i, &ordinal);
        LT_CHECK_INT(ordinal, documents);
        documents += token(i) == 0 || i + 1 == TOKENS;
    }
    LT_CHECK_INT(lt_dataset_manifest(d)->n_docs, documents);
    lt_dataset_close(d);
}

LT_TEST(dataset_counts_what_it_decodes)
{
    uint32_t ids[TOKENS];
    lt_shard_work once = { 0 }, twice = { 0 };
    lt_dataset *d;

    LT_CHECK_OK(lt_dataset_open(&d, manifest_path()));
    lt_dataset_work(d, &once);
    LT_CHECK_INT(once.frames + once.tokens + once.stored_bytes + once.raw_bytes, 0);
    LT_CHECK_OK(lt_dataset_read(d, 0, ids, TOKENS));
    lt_dataset_work(d, &once);
    LT_CHECK_INT(once.tokens, TOKENS); /* in order each frame is decoded once */
    LT_CHECK_INT(once.raw_bytes, 2 * TOKENS);
    LT_CHECK(once.frames > 0 && once.stored_bytes > 0);
    LT_CHECK_OK(lt_dataset_read(d, 0, ids, TOKENS));
    lt_dataset_work(d, &twice);
    LT_CHECK_INT(twice.frames, 2 * once.frames);
    lt_dataset_close(d);
}

/* A data set has more shards than a process may have files. */
LT_TEST(dataset_keeps_no_descriptors)
{
    int before = dup(0), after;
    lt_dataset *d;

    LT_CHECK_OK(lt_dataset_open(&d, manifest_path()));
    after = dup(0);
    close(before);
    close(after);
    lt_dataset_close(d);
    LT_CHECK_INT(after, before + 1);
}

LT_TEST(dataset_unigram_entropy)
{
    double nats, expected = 0, count[VOCAB] = { 0 };
    lt_dataset *d;

    for (uint64_t i = 0; i < TOKENS; i++)
        count[token(i)]++;
    for (int i = 0; i < VOCAB; i++)
        expected -= count[i] > 0 ? count[i] / TOKENS * log(count[i] / TOKENS) : 0;
    LT_CHECK_OK(lt_dataset_open(&d, manifest_path()));
    LT_CHECK_OK(lt_dataset_unigram_entropy(d, &nats));
    LT_CHECK_NEAR(nats, expected, 1e-12);
    lt_dataset_close(d);
}

LT_TEST(batch_rows_are_windows_of_the_sampler)
{
    lt_batcher_options o;
    const lt_batch *batch;
    lt_sampler s;
    lt_batcher *b;
    lt_dataset *d;

    LT_CHECK_OK(lt_dataset_open(&d, manifest_path()));
    o = options(d);
    LT_CHECK_OK(lt_sampler_init(&s, TOKENS, o.seq_len, o.seed, o.stream, true, "data"));
    LT_CHECK_OK(lt_batcher_open(&b, &o));
    for (uint64_t step = 0; step < 30; step++) { /* crosses several epochs */
        LT_CHECK_OK(lt_batcher_next(b, &batch));
        LT_CHECK_INT(batch->first_sample, step * 12);
        LT_CHECK_INT(batch->n_samples, 12);
        LT_CHECK_INT(batch->n_target_tokens, 12 * 50);
        for (uint64_t row = 0; row < 12; row++) {
            uint64_t first = lt_sampler_first_token(&s, step * 12 + row);

            for (uint64_t t = 0; t < 50; t++) {
                LT_CHECK_INT(batch->inputs[row * 50 + t], token(first + t));
                LT_CHECK_INT(batch->targets[row * 50 + t], token(first + t + 1));
                LT_CHECK_INT(batch->doc_start[row * 50 + t], 0);
                LT_CHECK_INT(batch->positions[row * 50 + t], t);
            }
        }
        lt_batcher_release(b);
    }
    lt_batcher_close(b);
    lt_dataset_close(d);
}

LT_TEST(batch_masks_documents)
{
    lt_batcher_options o;
    const lt_batch *batch;
    lt_sampler s;
    lt_batcher *b;
    lt_dataset *d;

    LT_CHECK_OK(lt_dataset_open(&d, manifest_path()));
    o = options(d);
    o.document_mask = true;
    LT_CHECK_OK(lt_sampler_init(&s, TOKENS, o.seq_len, o.seed, o.stream, true, "data"));
    LT_CHECK_OK(lt_batcher_open(&b, &o));
    for (uint64_t step = 0; step < 8; step++) {
        int64_t counted = 0;

        LT_CHECK_OK(lt_batcher_next(b, &batch));
        for (uint64_t row = 0; row < 12; row++) {
            uint64_t first = lt_sampler_first_token(&s, step * 12 + row);
            int32_t start = 0;

            for (uint64_t t = 0; t < 50; t++) {
                bool last = token(first + t) == 0;

                LT_CHECK_INT(batch->doc_start[row * 50 + t], start);
                LT_CHECK_INT(batch->positions[row * 50 + t], (int32_t)t - start);
                LT_CHECK_INT(batch->targets[row * 50 + t],
                             last ? LT_IGNORE : (int32_t)token(first + t + 1));
                counted += !last;
                start = last ? (int32_t)t + 1 : start;
            }
        }
        LT_CHECK_INT(batch->n_target_tokens, counted);
        lt_batcher_release(b);
    }
    lt_batcher_close(b);
    lt_dataset_close(d);
}

/* All ranks' rows of `steps` steps from sample k on, in sample order. */
static lt_err collect(uint64_t k, int ranks, uint64_t steps, int32_t *rows)
{
    lt_err err = LT_OK;

    for (int rank = 0; rank < ranks && err == LT_OK; rank++) {
        lt_batcher_options o;
        const lt_batch *batch;
        lt_batcher *b = NULL;
        lt_dataset *d;

        if ((err = lt_dataset_open(&d, manifest_path())) != LT_OK)
            return err;
        o = options(d);
        o.first_sample = k;
        o.rank_samples = 12 / (uint64_t)ranks;
        o.rank_first = (uint64_t)rank * o.rank_samples;
        o.depth = 2 + rank % 3;
        err = lt_batcher_open(&b, &o);
        for (uint64_t step = 0; step < steps && err == LT_OK; step++) {
            if ((err = lt_batcher_next(b, &batch)) != LT_OK)
                break;
            memcpy(rows + (batch->first_sample - k) * 50, batch->inputs, o.rank_samples * 50 * 4);
            lt_batcher_release(b);
        }
        lt_batcher_close(b);
        lt_dataset_close(d);
    }
    return err;
}

LT_TEST(batch_order_does_not_depend_on_world_size)
{
    enum { STEPS = 15, CELLS = STEPS * 12 * 50 };
    static int32_t one[CELLS], many[CELLS];
    static const int worlds[] = { 2, 3, 4, 6, 12 };

    LT_CHECK_OK(collect(0, 1, STEPS, one));
    for (size_t i = 0; i < LT_COUNT(worlds); i++) {
        memset(many, 0, sizeof many);
        LT_CHECK_OK(collect(0, worlds[i], STEPS, many));
        LT_CHECK(memcmp(one, many, sizeof one) == 0);
    }
}

LT_TEST(batch_resumes_at_every_sample)
{
    enum { STEPS = 16, CELLS = STEPS * 12 * 50 };
    static int32_t all[CELLS], part[CELLS];

    LT_CHECK_OK(collect(0, 1, STEPS, all));
    for (uint64_t k = 0; k < (STEPS - 3) * 12; k++) {
        LT_CHECK_OK(collect(k, 1, 3, part));
        LT_CHECK(memcmp(all + k * 50, part, 3 * 12 * 50 * sizeof *part) == 0);
    }
}

LT_TEST(batch_once_stops_behind_the_last_window)
{
    uint64_t windows = (TOKENS - 1) / 50, rows = 0, steps = 0;
    lt_batcher_options o;
    const lt_batch *batch;
    lt_batcher *b;
    lt_dataset *d;

    LT_CHECK_OK(lt_dataset_open(&d, manifest_path()));
    o = options(d);
    o.shuffle = false;
    o.once = true;
    LT_CHECK_OK(lt_batcher_open(&b, &o));
    for (;;) {
        LT_CHECK_OK(lt_batcher_next(b, &batch));
        if (!batch)
            break;
        for (uint64_t row = 0; row < 12; row++) {
            bool real = rows + row < windows;

            LT_CHECK_INT(batch->targets[row * 50],
                         real ? (int32_t)token((rows + row) * 50 + 1) : LT_IGNORE);
        }
        rows += batch->n_samples;
        LT_CHECK_INT(batch->n_target_tokens, batch->n_samples * 50);
        steps++;
        lt_batcher_release(b);
    }
    LT_CHECK_INT(rows, windows);
    LT_CHECK_INT(steps, (windows + 11) / 12);
    LT_CHECK_OK(lt_batcher_next(b, &batch));
    LT_CHECK(!batch);
    lt_batcher_close(b);
    o.first_sample = 12 * (steps - 1);
    LT_CHECK_OK(lt_batcher_open(&b, &o));
    LT_CHECK_OK(lt_batcher_next(b, &batch));
    LT_CHECK(batch);
    LT_CHECK_INT(batch->n_samples, windows - o.first_sample);
    lt_batcher_release(b);
    LT_CHECK_OK(lt_batcher_next(b, &batch));
    LT_CHECK(!batch);
    lt_batcher_close(b);
    o.first_sample = 0;
    o.max_steps = 2;
    LT_CHECK_OK(lt_batcher_open(&b, &o));
    for (int i = 0; i < 3; i++) {
        LT_CHECK_OK(lt_batcher_next(b, &batch));
        LT_CHECK((batch != NULL) == (i < 2));
        if (batch)
            lt_batcher_release(b);
    }
    lt_batcher_close(b);
    lt_dataset_close(d);
}

LT_TEST(batch_refuses_what_cannot_be_done)
{
    lt_batcher_options o;
    lt_batcher *b;
    lt_dataset *d;

    LT_CHECK_OK(lt_dataset_open(&d, manifest_path()));
    o = options(d);
    o.seq_len = 8000;
    LT_CHECK_FAILS(lt_batcher_open(&b, &o), LT_EMISMATCH,
                   "4000 tokens cannot fill one sequence of 8000");
    o = options(d);
    o.vocab_size = 999;
    LT_CHECK_FAILS(lt_batcher_open(&b, &o), LT_EMISMATCH, "ids up to 999");
    o.vocab_size = 1000;
    LT_CHECK_OK(lt_batcher_open(&b, &o));
    lt_batcher_close(b);
    lt_dataset_close(d);
}

LT_TEST(batch_cannot_mask_documents_that_are_not_recorded)
{
    const uint32_t ids[200] = { 1, 2, 3 };
    lt_shard_writer_options w = {
        .vocab_size = VOCAB, .eot_id = 0, .bos_id = LT_NO_TOKEN, .frame_log2 = 6, .level = 3
    };
    char dir[512], path[600];
    lt_shard_series *s;
    lt_batcher_options o;
    lt_batcher *b;
    lt_dataset *d;

    snprintf(dir, sizeof dir, "%s", lt_test_tmp("plain"));
    LT_CHECK_OK(lt_mkdirs(dir));
    s = lt_shard_series_new(dir, "train", SHARD, &w);
    LT_CHECK_OK(lt_shard_series_append(s, ids, LT_COUNT(ids)));
    LT_CHECK_OK(lt_shard_series_finish(s));
    lt_shard_series_free(s);
    snprintf(path, sizeof path, "%s/train.manifest", dir);
    LT_CHECK_OK(lt_dataset_open(&d, path));
    LT_CHECK(!lt_dataset_has_documents(d));
    o = options(d);
    o.document_mask = true;
    LT_CHECK_FAILS(lt_batcher_open(&b, &o), LT_EMISMATCH, "no document ends are recorded");
    lt_dataset_close(d);
}

/* The thread's fault reaches the caller, after the batches that were still good. */
LT_TEST(batch_hands_over_the_fault_of_its_thread)
{
    char path[600];
    lt_batcher_options o;
    const lt_batch *batch;
    lt_batcher *b;
    lt_dataset *d;
    lt_err err = LT_OK;
    int steps = 0;
    FILE *f;

    LT_CHECK_OK(lt_dataset_open(&d, manifest_path()));
    snprintf(path, sizeof path, "%.*s/train-00003.lts.zst", (int)(strlen(manifest_path()) - 15),
             manifest_path());
    f = fopen(path, "r+b");
    LT_CHECK(f && fseek(f, 320 + 12, SEEK_SET) == 0 && fputc(0xff, f) == 0xff && fclose(f) == 0);
    o = options(d);
    o.shuffle = false; /* tokens 1800 to 2400 are step 3; shard 3 begins at 2100 */
    LT_CHECK_OK(lt_batcher_open(&b, &o));
    for (; steps < 20 && err == LT_OK; steps++) {
        err = lt_batcher_next(b, &batch);
        if (err != LT_OK)
            break;
        lt_batcher_release(b);
        if (steps == 1)
            usleep(100000); /* the thread has made step 2 and failed in step 3 */
    }
    LT_CHECK_INT(err, LT_EFORMAT);
    LT_CHECK_INT(steps, 3);
    LT_CHECK(strstr(lt_err_text(), "train-00003.lts.zst: frame 0 at byte 320 is damaged"));
    LT_CHECK(strncmp(lt_err_text(), "sample ", 7) == 0);
    lt_batcher_close(b);
    lt_dataset_close(d);
}

LT_TEST(batch_explains_a_sample)
{
    lt_batcher_options o;
    lt_buf text = { 0 };
    lt_dataset *d;

    LT_CHECK_OK(lt_dataset_open(&d, manifest_path()));
    o = options(d);
    o.shuffle = false;
    LT_CHECK_OK(lt_batch_explain(&o, 13, &text)); /* tokens 650..700: both sides of a shard's end */
    LT_CHECK(strstr(text.data, "sample 13: epoch 0, window 13 of 79, tokens 650..700 of "));
    LT_CHECK(strstr(text.data, "train-00000.lts.zst: tokens 650..699, frame 10 at byte "));
    LT_CHECK(strstr(text.data, "train-00001.lts.zst: tokens 0..0, frame 0 at byte 320"));
    LT_CHECK(strstr(text.data, "documents "));
    lt_buf_release(&text);
    lt_dataset_close(d);
}
