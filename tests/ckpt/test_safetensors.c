/* safetensors: the rules of the header one by one, ranges, conversion, and bytes that survive. */
#include "base/file.h"
#include "ckpt/safetensors.h"
#include "ckpt/safetensors_writer.h"
#include "base/hash.h"
#include "lt_test.h"

#include <stdlib.h>
#include <sys/stat.h>

/* Header text + data_bytes bytes of data as a parsed file. */
static lt_err parse(const char *header, uint64_t data_bytes)
{
    size_t n = strlen(header);
    uint8_t *bytes = malloc(n + 8);
    lt_safetensors *s = NULL;
    lt_err err;

    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)n >> 8 * i);
    memcpy(bytes + 8, header, n);
    err = lt_safetensors_parse(&s, bytes, n + 8, n + 8 + data_bytes, "f");
    lt_safetensors_close(s);
    free(bytes);
    return err;
}

#define T(name, dtype, shape, begin, end)                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end \
    "]}"

LT_TEST(safetensors_accepts_what_the_format_allows)
{
    LT_CHECK_OK(parse("{}", 0));
    LT_CHECK_OK(parse("{\"__metadata__\":{}}", 0));
    LT_CHECK_OK(parse("{" T("s", "F64", "[]", 0, 8) "}", 8));
    LT_CHECK_OK(parse("{" T("e", "F32", "[0,5]", 0, 0) "}", 0));
    LT_CHECK_OK(parse("{" T("b", "F32", "[2]", 4, 12) "," T("a", "BOOL", "[4]", 0, 4) "}   ", 12));
    LT_CHECK_OK(parse("{" T("f4", "F4", "[2,3]", 0, 3) "," T("f8", "F8_E4M3", "[1]", 3, 4) "}", 4));
}

LT_TEST(safetensors_refuses_each_broken_rule)
{
    static const struct {
        const char *header;
        uint64_t data;
        const char *part;
    } cases[] = {
        { "", 0, "does not start with '{'" },
        { " {}", 0, "does not start with '{'" },
        { "{", 0, "found the end" },
        { "{} x", 0, "expected the end" },
        { "{}", 1, "1 bytes after the last tensor" },
        { "{" T("a", "F32", "[1]", 0, 4) "}", 3, "truncated" },
        { "{" T("a", "F32", "[1]", 0, 4) "}", 5, "1 bytes after" },
        { "{" T("a", "F32", "[2]", 0, 4) "}", 4, "span 4 bytes, F32 of this shape has 8" },
        { "{" T("a", "F32", "[1]", 4, 8) "}", 8, "a hole" },
        { "{" T("a", "F32", "[1]", 0, 4) "," T("b", "F32", "[1]", 5, 9) "}", 9, "a hole" },
        { "{" T("a", "F32", "[1]", 0, 4) "," T("b", "F32", "[1]", 3, 7) "}", 7, "overlaps" },
        { "{" T("a", "F32", "[1]", 0, 4) "," T("b", "F32", "[1]", 0, 4) "}", 4, "overlaps" },
        { "{" T("a", "F32", "[1]", 4, 0) "}", 4, "run back" },
        { "{" T("a", "F32", "[1]", 0, 4) "," T("a", "F32", "[1]", 4, 8) "}", 8, "a stands twice" },
        { "{" T("a", "F32", "[4294967296,4294967296]", 0, 4) "}", 4, "overflows" },
        { "{" T("a", "F32", "[4611686018427387904]", 0, 0) "}", 0, "overflows" },
        { "{" T("a", "F32", "[1,1,1,1,1,1,1,1,1]", 0, 4) "}", 4, "more than 8 numbers" },
        { "{" T("a", "F33", "[1]", 0, 4) "}", 4, "unknown dtype \"F33\"" },
        { "{" T("a", "F4", "[1]", 0, 0) "}", 0, "span" },
        { "{" T("a", "F32", "[-1]", 0, 4) "}", 4, "unsigned integer" },
        { "{" T("a", "F32", "[1.0]", 0, 4) "}", 4, "plain unsigned integer" },
        { "{" T("", "F32", "[1]", 0, 4) "}", 4, "a tensor name has 0 bytes" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "expected dtype, shape and two" },
        { "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 4, "\"dtype\" stands twice" },
        { "{\"a\":{\"x\":1}}", 4, "unknown member" },
        { "{\"a\":[]}", 0, "expected '{'" },
        { "{\"__metadata__\":{\"a\":1}}", 0, "expected '\"'" },
        { "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "\"a\" stands twice" },
        { "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ stands twice" },
        { "{\"a\xff\":{}}", 0, "byte 11: byte 0xff" },
    };

    for (size_t i = 0; i < LT_COUNT(cases); i++)
        LT_CHECK_FAILS(parse(cases[i].header, cases[i].data), LT_EFORMAT, cases[i].part);
}

LT_TEST(safetensors_bounds_the_header)
{
    uint8_t bytes[16] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    lt_safetensors *s = NULL;

    LT_CHECK_FAILS(lt_safetensors_parse(&s, bytes, 4, 4, "f"), LT_EFORMAT, "truncated");
    LT_CHECK_FAILS(lt_safetensors_parse(&s, bytes, 16, 16, "f"), LT_EFORMAT, "at most 100000000");
    memset(bytes, 0, 8);
    bytes[0] = 9;
    LT_CHECK_FAILS(lt_safetensors_parse(&s, bytes, 16, 16, "f"), LT_EFORMAT,
                   "truncated: header of 9 bytes, the file has 16");
}

/* A megabyte of hostile header: no tree of nodes is built from it. */
LT_TEST(safetensors_refuses_bombs_in_little_memory)
{
    enum { N = 1000000 };
    static const char *const pieces[] = { "{\"a\":[", "{\"a\":{\"x\":[",
                                          "{\"__metadata__\":{\"a\":[" };
    uint64_t before = lt_peak_rss();

    for (size_t i = 0; i < LT_COUNT(pieces); i++) {
        lt_buf b = { 0 };

        lt_buf_append(&b, pieces[i], strlen(pieces[i]));
        while (b.size < N)
            lt_buf_append(&b, "{},", 3);
        LT_CHECK(parse(lt_buf_cstr(&b), 0) == LT_EFORMAT);
        lt_buf_release(&b);
    }
    LT_CHECK(lt_peak_rss() - before < 64u << 20);
}

LT_TEST(safetensors_opens_regular_files_only)
{
    lt_safetensors *s = NULL;
    const char *fifo = lt_test_tmp("fifo.safetensors");

    LT_CHECK_FAILS(lt_safetensors_open(&s, lt_test_tmp("")), LT_EIO, "a directory");
    LT_CHECK(mkfifo(fifo, 0600) == 0);
    LT_CHECK_FAILS(lt_safetensors_open(&s, fifo), LT_EIO, "regular file");
    LT_CHECK_FAILS(lt_safetensors_open(&s, lt_test_tmp("none")), LT_ENOENT, "No such file");
}

static lt_err write_sample(const char *path, lt_block_crc *crc)
{
    static const float a[6] = { 1, -2, 3.5f, 1e-3f, 65504, -0.0f };
    static const uint16_t b[3] = { 0x3f80, 0xc000, 0x4049 }; /* bf16 1, -2, 3.140625 */
    static const uint16_t c[2] = { 0x3c00, 0x0001 };         /* fp16 1, 2^-24 */
    lt_safetensors_writer *w = NULL;
    lt_err err;

    LT_TRY(err = lt_safetensors_writer_open(&w, path));
    lt_safetensors_writer_metadata(w, "format", "pt");
    lt_safetensors_writer_metadata(w, "odd \"key\"", "line\nbreak");
    (void)lt_safetensors_writer_declare(w, "b", LT_BF16, 1, (const uint64_t[]){ 3 });
    (void)lt_safetensors_writer_declare(w, "a", LT_F32, 2, (const uint64_t[]){ 2, 3 });
    (void)lt_safetensors_writer_declare(w, "c", LT_F16, 1, (const uint64_t[]){ 2 });
    LT_TRY(err = lt_safetensors_writer_begin(w));
    LT_TRY(err = lt_safetensors_writer_write(w, b, 1));
    LT_TRY(err = lt_safetensors_writer_write(w, (const char *)b + 1, 5));
    LT_TRY(err = lt_safetensors_writer_write(w, a, sizeof a));
    LT_TRY(err = lt_safetensors_writer_write(w, c, sizeof c));
    err = lt_safetensors_writer_commit(w, crc);
    w = NULL;
fail:
    lt_safetensors_writer_abort(w);
    return err;
}

LT_TEST(safetensors_round_trip_with_ranges)
{
    const char *path = lt_test_tmp("sample.safetensors");
    lt_safetensors *s = NULL;
    const lt_safetensor *a;
    float got[6];
    uint16_t half[6];

    LT_CHECK_OK(write_sample(path, NULL));
    LT_CHECK_OK(lt_safetensors_open(&s, path));
    LT_CHECK_INT(lt_safetensors_count(s), 3);
    LT_CHECK_STR(lt_safetensors_at(s, 0)->name, "b");
    LT_CHECK_STR(lt_safetensors_metadata(s, "odd \"key\""), "line\nbreak");
    LT_CHECK(!lt_safetensors_metadata(s, "none") && !lt_safetensors_find(s, "none"));
    a = lt_safetensors_find(s, "a");
    LT_CHECK(a && a->n_dims == 2 && a->dims[0] == 2 && a->dims[1] == 3 && a->count == 6);
    LT_CHECK_INT(a->begin % 8, 6); /* not aligned: conversions must not care */
    LT_CHECK_OK(lt_safetensors_read(s, a, 2, 3, got, LT_F32));
    LT_CHECK(got[0] == 3.5f && got[1] == 1e-3f && got[2] == 65504);
    LT_CHECK_OK(lt_safetensors_read(s, a, 0, 6, half, LT_BF16));
    LT_CHECK(half[0] == 0x3f80 && half[1] == 0xc000 && half[5] == 0x8000);
    LT_CHECK_OK(lt_safetensors_read(s, lt_safetensors_find(s, "b"), 1, 2, got, LT_F32));
    LT_CHECK(got[0] == -2 && got[1] == 3.140625f);
    LT_CHECK_OK(lt_safetensors_read(s, lt_safetensors_find(s, "c"), 0, 2, got, LT_F32));
    LT_CHECK(got[0] == 1 && got[1] == 0x1p-24f);
    LT_CHECK_OK(lt_safetensors_read(s, a, 6, 0, got, LT_F32));
    lt_safetensors_close(s);
}

LT_TEST(safetensors_writer_sums_the_file_it_wrote)
{
    char path[512];
    lt_block_crc crc = { 0 };
    lt_buf bytes = { 0 };

    snprintf(path, sizeof path, "%s", lt_test_tmp("summed.safetensors"));
    LT_CHECK_OK(write_sample(path, &crc));
    LT_CHECK_OK(lt_file_read_all(&bytes, path, 1 << 20));
    LT_CHECK_INT(crc.size, bytes.size);
    LT_CHECK_INT(crc.n, 1);
    LT_CHECK_INT(crc.crc[0], lt_crc32c(0, bytes.data, bytes.size));
    lt_block_crc_release(&crc);
    lt_buf_release(&bytes);
}

LT_TEST(safetensors_writer_leaves_nothing_when_aborted)
{
    char path[512];
    lt_safetensors_writer *w = NULL;

    snprintf(path, sizeof path, "%s", lt_test_tmp("aborted.safetensors"));
    LT_CHECK_OK(lt_safetensors_writer_open(&w, path));
    (void)lt_safetensors_writer_declare(w, "a", LT_F32, 1, (const uint64_t[]){ 2 });
    LT_CHECK_OK(lt_safetensors_writer_begin(w));
    lt_safetensors_writer_abort(w);
    LT_CHECK(!lt_path_exists(path));
}

LT_TEST(block_crc_cuts_at_four_mebibytes)
{
    enum { N = 2 * LT_CKPT_BLOCK + 5 };
    char *data = malloc(N);
    lt_block_crc b = { 0 };

    for (size_t i = 0; i < N; i++)
        data[i] = (char)(i * 2654435761u >> 13);
    for (size_t at = 0, k = 1; at < N; at += k, k = k * 3 + 1) {
        k = k < N - at ? k : N - at;
        lt_block_crc_update(&b, data + at, k);
    }
    LT_CHECK_INT(b.n, 3);
    LT_CHECK_INT(b.size, N);
    LT_CHECK_INT(b.crc[0], lt_crc32c(0, data, LT_CKPT_BLOCK));
    LT_CHECK_INT(b.crc[1], lt_crc32c(0, data + LT_CKPT_BLOCK, LT_CKPT_BLOCK));
    LT_CHECK_INT(b.crc[2], lt_crc32c(0, data + 2 * LT_CKPT_BLOCK, 5));
    lt_block_crc_release(&b);
    free(data);
}
