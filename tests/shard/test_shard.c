/* test_shard.c - shard files: round trip, random access, documents, damage, repair, manifests. */
#include "shard/shard_folder.h"
#include "shard/shard_guard.h"
#include "shard/shard_series.h"
#include "shard/shard_verify.h"
#include "shard/token_stream.h"

#include "base/file.h"
#include "base/rng.h"
#include "lt_test.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static lt_shard_writer_options options(uint32_t vocab, lt_pool *pool)
{
    return (lt_shard_writer_options){ .vocab_size = vocab,
                                      .eot_id = 0,
                                      .bos_id = LT_NO_TOKEN,
                                      .tokenizer_hash = { 1, 2, 3 },
                                      .frame_log2 = 6,
                                      .level = 3,
                                      .pool = pool,
                                      .documents = true };
}

/* Token i of the test text; every 37th, roughly, ends a document with id 0. */
static uint32_t token(uint64_t i, uint32_t vocab)
{
    if (lt_random_u64(5, 1, i) % 37 == 0)
        return 0;
    return 1 + (uint32_t)(lt_random_u64(5, 2, i / 3) % (vocab - 1));
}

/* Writes n tokens in pieces of `piece`. */
static lt_err write_shard(const char *path, const lt_shard_writer_options *o, uint64_t n,
                          size_t piece, lt_shard_foot *foot)
{
    lt_shard_writer *w;
    lt_err err = lt_shard_writer_open(&w, path, o);
    uint32_t ids[512];
    size_t k = 0;

    if (err != LT_OK)
        return err;
    for (uint64_t i = 0; i < n; i++) {
        ids[k++] = token(i, o->vocab_size);
        if (k < piece && ids[k - 1] != 0 && i + 1 < n)
            continue;
        if ((err = lt_shard_writer_append(w, ids, k)) != LT_OK) {
            lt_shard_writer_abort(w);
            return err;
        }
        if (ids[k - 1] == 0 || i + 1 == n)
            lt_shard_writer_end_document(w);
        k = 0;
    }
    return lt_shard_writer_finish(w, true, foot);
}

static void check_contents(lt_shard_reader *r, uint64_t n, uint32_t vocab)
{
    uint64_t documents = 0, first = 0, ordinal, from, size;
    uint32_t ids[300];

    LT_CHECK_INT(lt_shard_reader_info(r)->foot.n_tokens, n);
    for (uint64_t t = 0; t < 400 && n > 0; t++) {
        uint64_t at = lt_random_u64(9, 1, t) % n, k = lt_random_u64(9, 2, t) % 300;

        k = k > n - at ? n - at : k;
        LT_CHECK_OK(lt_shard_reader_read(r, at, ids, k));
        for (uint64_t i = 0; i < k; i++)
            LT_CHECK_INT(ids[i], token(at + i, vocab));
    }
    for (uint64_t i = 0; i < n; i++) {
        uint64_t end = lt_shard_reader_next_end(r, i, &ordinal);

        LT_CHECK_INT(ordinal, documents);
        LT_CHECK(end >= i && (end == n - 1 || token(end, vocab) == 0));
        if (token(i, vocab) == 0 || i == n - 1) {
            LT_CHECK_INT(end, i);
            lt_shard_reader_document(r, documents, &from, &size);
            LT_CHECK_INT(from, first);
            LT_CHECK_INT(size, i + 1 - first);
            documents++;
            first = i + 1;
        } else {
            LT_CHECK(end > i);
        }
    }
    LT_CHECK_INT(lt_shard_reader_info(r)->foot.n_docs, documents);
    LT_CHECK_INT(lt_shard_reader_next_end(r, n, &ordinal), n);
    LT_CHECK_INT(ordinal, documents);
}

LT_TEST(shard_round_trip)
{
    static const uint64_t sizes[] = { 0, 1, 63, 64, 65, 128, 5000 };
    static const uint32_t vocabs[] = { 50257, 65536, 65537, 3000000 };

    for (size_t v = 0; v < LT_COUNT(vocabs); v++) {
        for (size_t i = 0; i < LT_COUNT(sizes); i++) {
            lt_shard_writer_options o = options(vocabs[v], NULL);
            const char *path = lt_test_tmp("round.lts.zst");
            lt_shard_reader *r;
            lt_shard_foot foot;

            LT_CHECK_OK(write_shard(path, &o, sizes[i], 1 + i * 50, &foot));
            LT_CHECK_OK(lt_shard_reader_open(&r, path));
            check_contents(r, sizes[i], vocabs[v]);
            LT_CHECK_OK(lt_shard_verify(r));
            lt_shard_reader_close(r);
        }
    }
}

LT_TEST(shard_bytes_do_not_depend_on_threads_or_pieces)
{
    lt_buf one = { 0 }, many = { 0 };

    for (int threads = 1; threads <= 5; threads++) {
        lt_pool *pool = lt_pool_new(threads);
        lt_shard_writer_options o = options(50257, pool);
        const char *path = lt_test_tmp("threads.lts.zst");
        lt_shard_foot foot;

        LT_CHECK_OK(write_shard(path, &o, 7001, 100 * (size_t)threads, &foot));
        LT_CHECK_OK(lt_file_read_all(threads == 1 ? &one : &many, path, 1 << 20));
        LT_CHECK(threads == 1 || (one.size == many.size && !memcmp(one.data, many.data, one.size)));
        lt_pool_free(pool);
    }
    lt_buf_release(&one);
    lt_buf_release(&many);
}

/* Opens and verifies `n` bytes as a shard. */
static lt_err verify_bytes(const char *data, size_t n)
{
    const char *path = lt_test_tmp("damaged.lts.zst");
    FILE *f = fopen(path, "wb");
    lt_shard_reader *r = NULL;
    lt_err err;

    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0)
        return lt_fail(LT_EIO, "cannot write");
    err = lt_shard_reader_open(&r, path);
    if (err == LT_OK)
        err = lt_shard_verify(r);
    lt_shard_reader_close(r);
    return err;
}

LT_TEST(shard_verify_sees_every_flipped_byte)
{
    lt_shard_writer_options o = options(50257, NULL);
    const char *path = lt_test_tmp("flip.lts.zst");
    lt_shard_foot foot;
    lt_buf b = { 0 };

    LT_CHECK_OK(write_shard(path, &o, 200, 50, &foot));
    LT_CHECK_OK(lt_file_read_all(&b, path, 1 << 20));
    LT_CHECK_OK(verify_bytes(b.data, b.size));
    for (size_t i = 0; i < b.size; i++) {
        for (int bit = 0; bit < 8; bit += 3) {
            lt_err err;

            b.data[i] ^= (char)(1 << bit);
            err = verify_bytes(b.data, b.size);
            LT_FAIL_IF(err == LT_OK, "byte %zu bit %d flipped unseen", i, bit);
            LT_FAIL_IF(err != LT_EFORMAT && err != LT_ENOTSUP, "byte %zu: %s", i, lt_err_text());
            b.data[i] ^= (char)(1 << bit);
        }
    }
    lt_buf_release(&b);
}

LT_TEST(shard_verify_names_frame_and_offset)
{
    lt_shard_writer_options o = options(50257, NULL);
    const char *path = lt_test_tmp("named.lts.zst");
    char expected[64];
    lt_shard_frame frame;
    lt_shard_reader *r;
    lt_shard_foot foot;
    lt_buf b = { 0 };

    LT_CHECK_OK(write_shard(path, &o, 300, 50, &foot));
    LT_CHECK_OK(lt_shard_reader_open(&r, path));
    LT_CHECK_OK(lt_shard_reader_frame(r, 2, &frame));
    lt_shard_reader_close(r);
    LT_CHECK_OK(lt_file_read_all(&b, path, 1 << 20));
    b.data[frame.offset + 20] ^= 1;
    snprintf(expected, sizeof expected, "frame 2 at byte %llu is damaged",
             (unsigned long long)frame.offset);
    LT_CHECK_FAILS(verify_bytes(b.data, b.size), LT_EFORMAT, expected);
    lt_buf_release(&b);
}

LT_TEST(shard_refuses_every_truncation)
{
    lt_shard_writer_options o = options(70000, NULL);
    const char *path = lt_test_tmp("cut.lts.zst");
    lt_shard_foot foot;
    lt_buf b = { 0 };

    LT_CHECK_OK(write_shard(path, &o, 200, 50, &foot));
    LT_CHECK_OK(lt_file_read_all(&b, path, 1 << 20));
    for (size_t n = 0; n < b.size; n++)
        LT_CHECK_FAILS(verify_bytes(b.data, n), LT_EFORMAT, "truncated or not a shard");
    lt_buf_release(&b);
}

LT_TEST(shard_readers_share_a_desk)
{
    lt_shard_writer_options narrow = options(50257, NULL), wide = options(70000, NULL);
    const char *paths[2] = { lt_test_tmp("narrow.lts.zst"), lt_test_tmp("wide.lts.zst") };
    lt_shard_reader *r[2];
    lt_shard_foot foot;
    uint32_t ids[2][9];

    LT_CHECK_OK(write_shard(paths[0], &narrow, 300, 50, &foot));
    LT_CHECK_OK(write_shard(paths[1], &wide, 300, 50, &foot));
    LT_CHECK_OK(lt_shard_reader_open(&r[0], paths[0]));
    LT_CHECK_OK(lt_shard_reader_open(&r[1], paths[1]));
    LT_CHECK_OK(lt_shard_reader_share(r[1], r[0]));
    for (uint64_t at = 0; at + 9 < 300; at += 7) {
        LT_CHECK_OK(lt_shard_reader_read(r[0], at, ids[0], 9));
        LT_CHECK_OK(lt_shard_reader_read(r[1], at, ids[1], 9));
        for (uint64_t i = 0; i < 9; i++) {
            LT_CHECK_INT(ids[0][i], token(at + i, 50257));
            LT_CHECK_INT(ids[1][i], token(at + i, 70000));
        }
    }
    lt_shard_reader_close(r[1]);
    lt_shard_reader_close(r[0]);
}

LT_TEST(shard_refuses_ids_outside_the_vocabulary)
{
    lt_shard_writer_options o = options(100, NULL);
    uint32_t ids[2] = { 99, 100 };
    lt_shard_writer *w;

    LT_CHECK_OK(lt_shard_writer_open(&w, lt_test_tmp("ids.lts.zst"), &o));
    LT_CHECK_FAILS(lt_shard_writer_append(w, ids, 2), LT_EFORMAT, "id 100 is not below");
    lt_shard_writer_abort(w);
    LT_CHECK(!lt_path_exists(lt_test_tmp("ids.lts.zst")));
}

LT_TEST(shard_repair_rebuilds_the_trailer)
{
    lt_shard_writer_options o = options(50257, NULL);
    const char *path = lt_test_tmp("lost.lts.zst"), *to = lt_test_tmp("repaired.lts.zst");
    lt_shard_repair report;
    lt_shard_foot foot;
    lt_buf b = { 0 }, fixed = { 0 };
    lt_shard_reader *r;

    LT_CHECK_OK(write_shard(path, &o, 5000, 50, &foot));
    LT_CHECK_OK(lt_file_read_all(&b, path, 1 << 20));
    LT_CHECK_INT(truncate(path, (off_t)foot.docs_offset), 0); /* the whole trailer is gone */
    LT_CHECK_OK(lt_shard_repair_file(path, to, &report));
    LT_CHECK_INT(report.n_tokens, 5000);
    LT_CHECK_INT(report.lost_bytes, 0);
    LT_CHECK_OK(lt_file_read_all(&fixed, to, 1 << 20));
    /* the last document has no end-of-text token, so its end is the only thing that is lost */
    LT_CHECK_INT(report.n_docs, foot.n_docs - (token(4999, 50257) != 0));
    LT_CHECK(memcmp(fixed.data, b.data, foot.docs_offset) == 0);
    LT_CHECK_INT(truncate(path, (off_t)foot.docs_offset - 5), 0); /* and a part of the last frame */
    LT_CHECK_OK(lt_shard_repair_file(path, to, &report));
    LT_CHECK_INT(report.n_tokens, 5000 / 64 * 64);
    LT_CHECK(report.lost_bytes > 0);
    LT_CHECK_OK(lt_shard_reader_open(&r, to));
    LT_CHECK_OK(lt_shard_verify(r));
    lt_shard_reader_close(r);
    lt_buf_release(&b);
    lt_buf_release(&fixed);
}

LT_TEST(shard_truncated_while_mapped_ends_with_a_sentence)
{
    lt_shard_writer_options o = options(50257, NULL);
    const char *path = lt_test_tmp("shrinks.lts.zst"), *talk = lt_test_tmp("talk");
    lt_buf text = { 0 };
    lt_shard_foot foot;
    char expected[600];
    int status;
    pid_t child;

    LT_CHECK_OK(write_shard(path, &o, 200000, 50, &foot));
    child = fork();
    if (child == 0) {
        uint32_t ids[100];
        lt_shard_reader *r;

        if (!freopen(talk, "w", stderr) || lt_shard_reader_open(&r, path) != LT_OK ||
            truncate(path, 4096) != 0 || lt_shard_reader_read(r, 150000, ids, 100) != LT_OK)
            _exit(99);
        _exit(0);
    }
    LT_CHECK(waitpid(child, &status, 0) == child);
    LT_CHECK(WIFEXITED(status));
    LT_CHECK_INT(WEXITSTATUS(status), 65);
    LT_CHECK_OK(lt_file_read_all(&text, talk, 4096));
    snprintf(expected, sizeof expected, "shard %s truncated while in use", path);
    LT_CHECK(strstr(lt_buf_cstr(&text), expected));
    lt_buf_release(&text);
}

/* A split of `n` tokens in shards of 1000 at `dir`. */
static lt_err write_series(const char *dir, const char *split, uint64_t n)
{
    lt_shard_writer_options o = options(50257, NULL);
    lt_shard_series *s = lt_shard_series_new(dir, split, 1000, &o);
    lt_err err = LT_OK;

    for (uint64_t i = 0; i < n && err == LT_OK; i++) {
        uint32_t id = token(i, 50257);

        err = lt_shard_series_append(s, &id, 1);
        if (id == 0)
            lt_shard_series_end_document(s);
    }
    if (err == LT_OK)
        err = lt_shard_series_finish(s);
    lt_shard_series_free(s);
    return err;
}

LT_TEST(manifest_round_trip_and_damage)
{
    char path[600], dir[512];
    lt_shard_manifest m;
    lt_shard_reader *r;
    lt_buf text = { 0 };

    snprintf(dir, sizeof dir, "%s", lt_test_tmp("set"));
    snprintf(path, sizeof path, "%s/train.manifest", dir);
    LT_CHECK_OK(lt_mkdirs(dir));
    LT_CHECK_OK(write_series(dir, "train", 2500));
    LT_CHECK_OK(lt_shard_manifest_load(&m, path));
    LT_CHECK_INT(m.n_rows, 3);
    LT_CHECK_INT(m.n_tokens, 2500);
    LT_CHECK_INT(m.rows[0].n_tokens, 1000);
    LT_CHECK_STR(m.rows[2].path, "train-00002.lts.zst");
    LT_CHECK_OK(lt_shard_manifest_open_shard(&m, path, 1, &r));
    LT_CHECK(!(lt_shard_reader_info(r)->head.flags & LT_SHARD_LAST));
    lt_shard_reader_close(r);
    LT_CHECK_OK(lt_shard_manifest_open_shard(&m, path, 2, &r));
    LT_CHECK(lt_shard_reader_info(r)->head.flags & LT_SHARD_LAST);
    lt_shard_reader_close(r);
    m.rows[1].root[0] ^= 1;
    LT_CHECK_FAILS(lt_shard_manifest_open_shard(&m, path, 1, &r), LT_EMISMATCH, "not the shard");
    lt_shard_manifest_release(&m);

    LT_CHECK_OK(lt_file_read_all(&text, path, 1 << 20));
    for (size_t i = 0; i < text.size; i++) {
        char was = text.data[i];

        text.data[i] = was == '1' ? '2' : '1';
        LT_FAIL_IF(lt_shard_manifest_parse(&m, text.data, text.size, "m") != LT_EFORMAT,
                   "byte %zu changed unseen", i);
        text.data[i] = was;
        LT_FAIL_IF(lt_shard_manifest_parse(&m, text.data, i, "m") != LT_EFORMAT,
                   "cut at %zu unseen", i);
    }
    lt_buf_release(&text);
}

LT_TEST(manifest_refuses_paths_that_leave_its_folder)
{
    static const char *bad[] = { "/etc/passwd", "../a.lts.zst", "a/../../b", "a/..", "a\nb", "" };

    for (size_t i = 0; i < LT_COUNT(bad); i++) {
        lt_shard_manifest m = { .vocab_size = 9, .eot_id = LT_NO_TOKEN, .bos_id = LT_NO_TOKEN };
        lt_shard_foot foot = { .n_tokens = 3 };
        lt_buf text = { 0 };

        lt_shard_manifest_add(&m, bad[i], &foot);
        lt_shard_manifest_format(&m, &text);
        lt_shard_manifest_release(&m);
        LT_CHECK_FAILS(lt_shard_manifest_parse(&m, text.data, text.size, "m"), LT_EFORMAT,
                       "m:8: expected a shard's path below this folder");
        lt_buf_release(&text);
    }
}

static lt_err replace_set(const char *dir, uint64_t train, uint64_t val, bool force)
{
    lt_shard_folder *f;
    lt_err err = lt_shard_folder_open(&f, dir, force);

    if (err != LT_OK)
        return err;
    if ((err = write_series(lt_shard_folder_unfinished(f), "train", train)) != LT_OK ||
        (err = write_series(lt_shard_folder_unfinished(f), "val", val)) != LT_OK) {
        lt_shard_folder_abort(f);
        return err;
    }
    return lt_shard_folder_commit(f);
}

static bool there(const char *dir, const char *name)
{
    char *path = lt_path_join(dir, name);
    bool yes = lt_path_exists(path);

    free(path);
    return yes;
}

LT_TEST(folder_replaces_a_data_set_whole)
{
    char dir[512];

    snprintf(dir, sizeof dir, "%s", lt_test_tmp("folder"));
    LT_CHECK_OK(replace_set(dir, 4500, 1500, false));
    LT_CHECK(there(dir, "train-00004.lts.zst") && there(dir, "val.manifest"));
    LT_CHECK_FAILS(replace_set(dir, 2500, 0, false), LT_EUSAGE, "--force replaces it");
    LT_CHECK(there(dir, "train-00004.lts.zst"));
    LT_CHECK_OK(replace_set(dir, 2500, 0, true));
    LT_CHECK(there(dir, "train-00002.lts.zst") && !there(dir, "train-00003.lts.zst"));
    LT_CHECK(!there(dir, "val.manifest") && !there(dir, "val-00000.lts.zst"));
    LT_CHECK(!there(dir, "lt-shard.commit") && !there(dir, "lt-shard.unfinished"));
}

/* A commit that was cut off right after its one rename: readers see the new set before anything was
 * moved, and the next run moves it. */
LT_TEST(folder_readers_see_a_commit_at_once)
{
    char dir[512], train[600], val[600], from[600], to[600];
    lt_shard_manifest m;
    lt_shard_folder *f;
    lt_shard_reader *r;

    snprintf(dir, sizeof dir, "%s", lt_test_tmp("cutoff"));
    snprintf(train, sizeof train, "%s/train.manifest", dir);
    snprintf(val, sizeof val, "%s/val.manifest", dir);
    snprintf(from, sizeof from, "%s/next", dir);
    snprintf(to, sizeof to, "%s/lt-shard.commit", dir);
    LT_CHECK_OK(replace_set(dir, 3500, 1500, false));
    LT_CHECK_OK(lt_mkdirs(from));
    LT_CHECK_OK(write_series(from, "train", 1200));
    LT_CHECK_OK(lt_shard_manifest_load(&m, train));
    LT_CHECK_INT(m.n_tokens, 3500);
    lt_shard_manifest_release(&m);
    LT_CHECK_OK(lt_file_write_atomic(lt_test_tmp("cutoff/next/val.manifest"), "", 0));
    LT_CHECK_INT(rename(from, to), 0);
    LT_CHECK_OK(lt_shard_manifest_load(&m, train));
    LT_CHECK_INT(m.n_tokens, 1200);
    LT_CHECK_OK(lt_shard_manifest_open_shard(&m, train, 0, &r)); /* the new file of the same name */
    lt_shard_reader_close(r);
    lt_shard_manifest_release(&m);
    LT_CHECK_FAILS(lt_shard_manifest_load(&m, val), LT_ENOENT, "no such split");
    LT_CHECK_OK(lt_shard_folder_open(&f, dir, true));
    LT_CHECK(!there(dir, "lt-shard.commit") && !there(dir, "train-00002.lts.zst"));
    lt_shard_folder_abort(f);
    LT_CHECK_OK(lt_shard_manifest_load(&m, train));
    LT_CHECK_INT(m.n_tokens, 1200);
    lt_shard_manifest_release(&m);
    LT_CHECK_FAILS(lt_shard_manifest_load(&m, val), LT_ENOENT, "val.manifest");
}
