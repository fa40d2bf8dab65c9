/* test_token_stream.c - the pipe: round trips, block boundaries, every kind of damage. */
#include "shard/token_stream.h"

#include "base/mem.h"
#include "base/rng.h"
#include "lt_test.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Documents of `n_docs` random lengths; ids below vocab. */
typedef struct corpus {
    uint32_t *ids, *ends; /* exclusive, without end-of-text */
    size_t n_ids, n_docs;
} corpus;

static corpus make_corpus(size_t n_docs, uint32_t longest, uint32_t vocab, uint64_t seed)
{
    corpus c = { .n_docs = n_docs, .ends = lt_new_array0(n_docs, 4) };

    for (size_t i = 0; i < n_docs; i++)
        c.ends[i] = (uint32_t)(c.n_ids += lt_random_u64(seed, 1, i) % longest);
    c.ids = lt_new_array0(c.n_ids, 4);
    for (size_t i = 0; i < c.n_ids; i++)
        c.ids[i] = (uint32_t)(lt_random_u64(seed, 2, i) % vocab);
    return c;
}

static void free_corpus(corpus *c)
{
    free(c->ids);
    free(c->ends);
}

static int memory_file(void)
{
    return memfd_create("stream", MFD_CLOEXEC);
}

static lt_err write_corpus(int fd, const corpus *c, const lt_token_stream_info *info, size_t piece)
{
    lt_token_writer *w;
    lt_err err = lt_token_writer_open(&w, fd, "stream", info);

    for (size_t d = 0, at = 0; err == LT_OK && d < c->n_docs; at = c->ends[d++]) {
        size_t n = c->ends[d] - at;

        if (piece == 0)
            err = lt_token_writer_piece(w, c->ids + at, n, true);
        for (size_t i = 0; piece && err == LT_OK && i < n; i += piece)
            err = lt_token_writer_piece(w, c->ids + at + i, n - i < piece ? n - i : piece, false);
        if (piece && err == LT_OK)
            err = lt_token_writer_piece(w, NULL, 0, true);
    }
    return err == LT_OK ? lt_token_writer_finish(w) : err;
}

static lt_buf file_bytes(int fd)
{
    off_t n = lseek(fd, 0, SEEK_END);
    lt_buf b = { 0 };

    lt_buf_reserve(&b, (size_t)n);
    b.size = (size_t)pread(fd, b.data, (size_t)n, 0);
    return b;
}

/* Reads all of fd; counts what differs from the corpus. */
static lt_err read_back(int fd, const corpus *c, uint32_t eot, size_t *wrong)
{
    lt_token_reader *r;
    lt_err err;
    size_t at = 0, doc = 0;

    *wrong = 0;
    lseek(fd, 0, SEEK_SET);
    if ((err = lt_token_reader_open(&r, fd, "stream")) != LT_OK)
        return err;
    for (;;) {
        const uint32_t *ids;
        size_t n;
        bool document_end, end;

        err = lt_token_reader_next(r, &ids, &n, &document_end, &end);
        if (err != LT_OK || end)
            break;
        for (size_t i = 0; i < n; i++) {
            bool last = document_end && i + 1 == n && eot != LT_NO_TOKEN;

            *wrong += last ? ids[i] != eot : c && (at >= c->n_ids || ids[i] != c->ids[at]);
            at += !last;
        }
        while (c && document_end && eot == LT_NO_TOKEN && doc < c->n_docs &&
               c->ends[doc] == (doc ? c->ends[doc - 1] : 0))
            doc++; /* documents without a token leave no trace */
        if (c && document_end)
            *wrong += doc >= c->n_docs || c->ends[doc++] != at;
    }
    *wrong += err == LT_OK && c && at != c->n_ids;
    lt_token_reader_close(r);
    return err;
}

LT_TEST(token_stream_round_trip)
{
    static const uint32_t vocabs[] = { 50257, 65536, 65537, 200000 };
    static const size_t pieces[] = { 0, 1, 977, 400000 };

    for (size_t v = 0; v < LT_COUNT(vocabs); v++) {
        corpus c = make_corpus(300, 9000, vocabs[v], v);
        lt_token_stream_info info = { .vocab_size = vocabs[v],
                                      .eot_id = v % 2 ? LT_NO_TOKEN : 7,
                                      .bos_id = LT_NO_TOKEN,
                                      .tokenizer_json = "{\"a\": 1}",
                                      .tokenizer_json_size = 8 };
        lt_buf first = { 0 };

        for (size_t p = 0; p < LT_COUNT(pieces); p++) {
            int fd = memory_file();
            size_t wrong;
            lt_buf bytes;

            LT_CHECK_OK(write_corpus(fd, &c, &info, pieces[p]));
            LT_CHECK_OK(read_back(fd, &c, info.eot_id, &wrong));
            LT_CHECK_INT(wrong, 0);
            bytes = file_bytes(fd);
            if (p == 0)
                first = bytes;
            /* the bytes do not depend on how documents were cut into calls */
            LT_CHECK(bytes.size == first.size && memcmp(bytes.data, first.data, first.size) == 0);
            if (p != 0)
                lt_buf_release(&bytes);
            close(fd);
        }
        lt_buf_release(&first);
        free_corpus(&c);
    }
}

LT_TEST(token_stream_carries_the_tokenizer)
{
    lt_token_stream_info info = { .vocab_size = 10,
                                  .eot_id = 9,
                                  .bos_id = 8,
                                  .tokenizer_json = "{\"model\": \"bpe\"}",
                                  .tokenizer_json_size = 16,
                                  .tokenizer_hash = { 1, 2, 3 } };
    const lt_token_stream_info *got;
    lt_token_reader *r;
    lt_token_writer *w;
    int fd = memory_file();

    LT_CHECK_OK(lt_token_writer_open(&w, fd, "stream", &info));
    LT_CHECK_OK(lt_token_writer_finish(w));
    lseek(fd, 0, SEEK_SET);
    LT_CHECK_OK(lt_token_reader_open(&r, fd, "stream"));
    got = lt_token_reader_info(r);
    LT_CHECK_INT(got->vocab_size, 10);
    LT_CHECK_INT(got->eot_id, 9);
    LT_CHECK_INT(got->bos_id, 8);
    LT_CHECK_INT(got->tokenizer_json_size, 16);
    LT_CHECK(memcmp(got->tokenizer_json, info.tokenizer_json, 16) == 0);
    LT_CHECK(memcmp(got->tokenizer_hash, info.tokenizer_hash, 32) == 0);
    lt_token_reader_close(r);
    close(fd);
}

LT_TEST(token_stream_refuses_ids_outside_the_vocabulary)
{
    lt_token_stream_info info = { .vocab_size = 100, .eot_id = 99, .bos_id = LT_NO_TOKEN };
    uint32_t ids[3] = { 1, 100, 2 };
    int fd = memory_file();
    lt_token_writer *w;

    LT_CHECK_OK(lt_token_writer_open(&w, fd, "x.lts", &info));
    LT_CHECK_FAILS(lt_token_writer_piece(w, ids, 3, true), LT_EFORMAT,
                   "x.lts: document 0: id 100 is not below the vocabulary size 100");
    lt_token_writer_abort(w);
    info.eot_id = 100;
    LT_CHECK_FAILS(lt_token_writer_open(&w, fd, "x.lts", &info), LT_EFORMAT, "end-of-text id 100");
    close(fd);
}

LT_TEST(token_stream_detects_every_cut_and_every_flipped_byte)
{
    corpus c = make_corpus(12, 20, 500, 3);
    lt_token_stream_info info = { .vocab_size = 500,
                                  .eot_id = 0,
                                  .bos_id = LT_NO_TOKEN,
                                  .tokenizer_json = "{}",
                                  .tokenizer_json_size = 2 };
    int fd = memory_file(), broken;
    lt_buf bytes;
    size_t wrong;

    LT_CHECK_OK(write_corpus(fd, &c, &info, 0));
    bytes = file_bytes(fd);
    for (size_t n = 0; n < bytes.size; n++) {
        broken = memory_file();
        LT_CHECK(write(broken, bytes.data, n) == (ssize_t)n);
        LT_CHECK_FAILS(read_back(broken, NULL, 0, &wrong), LT_EFORMAT, "truncated");
        close(broken);
    }
    for (size_t i = 0; i < bytes.size; i++) {
        broken = memory_file();
        bytes.data[i] ^= 0x10;
        LT_CHECK(write(broken, bytes.data, bytes.size) == (ssize_t)bytes.size);
        LT_FAIL_IF(read_back(broken, NULL, 0, &wrong) == LT_OK, "byte %zu flipped unseen", i);
        bytes.data[i] ^= 0x10;
        close(broken);
    }
    LT_CHECK(write(fd, "x", 1) == 1);
    LT_CHECK_FAILS(read_back(fd, NULL, 0, &wrong), LT_EFORMAT, "bytes follow the end block");
    lt_buf_release(&bytes);
    free_corpus(&c);
    close(fd);
}

LT_TEST(token_stream_refuses_other_files)
{
    int fd = memory_file();
    lt_token_reader *r;
    char text[64] = "Once upon a time there was a text file that is no token stream.";

    LT_CHECK(write(fd, text, sizeof text) == sizeof text);
    lseek(fd, 0, SEEK_SET);
    LT_CHECK_FAILS(lt_token_reader_open(&r, fd, "book.txt"), LT_EFORMAT,
                   "book.txt: not a token stream");
    close(fd);
}
