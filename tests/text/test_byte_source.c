/* test_byte_source.c - plain, gzip and zstd inputs. */
#include "base/file.h"
#include "base/rng.h"
#include "lt_test.h"
#include "text/byte_source.h"

#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum { SIZE = 700000 }; /* more than one buffer, also when packed */

static void fill(lt_buf *b)
{
    lt_buf_clear(b);
    for (uint64_t i = 0; i < SIZE / 8; i++) {
        uint64_t x = lt_random_u64(1, 2, i);

        lt_buf_append(b, &x, sizeof x);
    }
}

static void pack_gzip(lt_buf *out, const void *data, size_t n)
{
    z_stream z = { 0 };

    deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    lt_buf_reserve(out, n + n / 100 + 1000);
    z.next_in = (Bytef *)data;
    z.avail_in = (uInt)n;
    z.next_out = (Bytef *)out->data + out->size;
    z.avail_out = (uInt)(out->capacity - out->size);
    deflate(&z, Z_FINISH);
    out->size += z.total_out;
    deflateEnd(&z);
}

static void pack_zstd(lt_buf *out, const void *data, size_t n)
{
    lt_buf_reserve(out, ZSTD_compressBound(n));
    out->size += ZSTD_compress(out->data + out->size, ZSTD_compressBound(n), data, n, 1);
}

/* Everything that the source yields, in reads of odd sizes. */
static lt_err slurp(lt_buf *out, const char *path)
{
    lt_byte_source *s = NULL;
    size_t want = 1, got;
    lt_err err;

    lt_buf_clear(out);
    LT_TRY(err = lt_byte_source_open(&s, path));
    for (;; want = want * 7 % 100003 + 1) {
        lt_buf_reserve(out, want);
        LT_TRY(err = lt_byte_source_read(s, out->data + out->size, want, &got));
        out->size += got;
        if (got < want)
            break;
    }
fail:
    lt_byte_source_close(s);
    return err;
}

LT_TEST(byte_source_reads_plain_gzip_and_zstd)
{
    lt_buf data = { 0 }, packed = { 0 }, back = { 0 };

    fill(&data);
    for (int kind = 0; kind < 3; kind++) {
        const char *path = lt_test_tmp("input");

        lt_buf_clear(&packed);
        if (kind == 0)
            lt_buf_append(&packed, data.data, data.size);
        if (kind == 1) { /* two members, as `cat a.gz b.gz` makes them */
            pack_gzip(&packed, data.data, 1000);
            pack_gzip(&packed, data.data + 1000, data.size - 1000);
        }
        if (kind == 2) {
            pack_zstd(&packed, data.data, data.size - 5);
            pack_zstd(&packed, data.data + data.size - 5, 5);
        }
        LT_CHECK_OK(lt_file_write_atomic(path, packed.data, packed.size));
        LT_CHECK_OK(slurp(&back, path));
        LT_CHECK_INT(back.size, data.size);
        LT_CHECK(memcmp(back.data, data.data, data.size) == 0);
    }
    lt_buf_release(&data);
    lt_buf_release(&packed);
    lt_buf_release(&back);
}

LT_TEST(byte_source_inflates_long_runs)
{
    lt_buf zeros = { 0 }, packed = { 0 }, back = { 0 };

    lt_buf_reserve(&zeros, 3 << 20);
    memset(zeros.data, 0, 3 << 20);
    zeros.size = 3 << 20;
    for (int kind = 0; kind < 2; kind++) { /* all input is taken long before the output ends */
        lt_buf_clear(&packed);
        if (kind == 0)
            pack_gzip(&packed, zeros.data, zeros.size);
        else
            pack_zstd(&packed, zeros.data, zeros.size);
        LT_CHECK_OK(lt_file_write_atomic(lt_test_tmp("runs"), packed.data, packed.size));
        LT_CHECK_OK(slurp(&back, lt_test_tmp("runs")));
        LT_CHECK_INT(back.size, zeros.size);
    }
    lt_buf_release(&zeros);
    lt_buf_release(&packed);
    lt_buf_release(&back);
}

LT_TEST(byte_source_names_damage)
{
    lt_buf data = { 0 }, packed = { 0 }, back = { 0 };

    fill(&data);
    pack_gzip(&packed, data.data, data.size);
    LT_CHECK_OK(lt_file_write_atomic(lt_test_tmp("x.gz"), packed.data, packed.size - 20));
    LT_CHECK_FAILS(slurp(&back, lt_test_tmp("x.gz")), LT_EFORMAT, "truncated");
    packed.data[packed.size / 2] ^= 0x55;
    packed.data[packed.size - 8] ^= 0x55; /* the checksum, should the damage inflate */
    LT_CHECK_OK(lt_file_write_atomic(lt_test_tmp("x.gz"), packed.data, packed.size));
    LT_CHECK_FAILS(slurp(&back, lt_test_tmp("x.gz")), LT_EFORMAT, "damaged gzip data");

    lt_buf_clear(&packed);
    pack_zstd(&packed, data.data, data.size);
    LT_CHECK_OK(lt_file_write_atomic(lt_test_tmp("x.zst"), packed.data, packed.size - 20));
    LT_CHECK_FAILS(slurp(&back, lt_test_tmp("x.zst")), LT_EFORMAT, "truncated");

    LT_CHECK_OK(lt_file_write_atomic(lt_test_tmp("plain.gz"), "text", 4));
    LT_CHECK_FAILS(slurp(&back, lt_test_tmp("plain.gz")), LT_EFORMAT, "expected a gzip header");
    LT_CHECK_OK(lt_file_write_atomic(lt_test_tmp("plain.zst"), "text", 4));
    LT_CHECK_FAILS(slurp(&back, lt_test_tmp("plain.zst")), LT_EFORMAT, "zstd");
    LT_CHECK_FAILS(slurp(&back, lt_test_tmp("absent")), LT_ENOENT, "absent");
    lt_buf_release(&data);
    lt_buf_release(&packed);
    lt_buf_release(&back);
}

LT_TEST(byte_source_reads_empty_files)
{
    lt_buf back = { 0 };

    LT_CHECK_OK(lt_file_write_atomic(lt_test_tmp("empty"), "", 0));
    LT_CHECK_OK(slurp(&back, lt_test_tmp("empty")));
    LT_CHECK_INT(back.size, 0);
    lt_buf_release(&back);
}
