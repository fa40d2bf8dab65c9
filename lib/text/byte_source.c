/* byte_source.c - plain, gzip and zstd inputs behind one read call. */
#include "text/byte_source.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum { BUFFER = 256 << 10 };

typedef enum packing { PLAIN, GZIP, ZSTANDARD } packing;

struct lt_byte_source {
    const char *name;
    char *path;
    int fd;
    packing packing;
    uint8_t *in; /* BUFFER bytes of the file; pos..size are not used yet */
    size_t pos, size;
    uint64_t consumed;
    bool at_end;     /* of the file */
    bool mid_stream; /* inside a gzip member or a zstd frame */
    z_stream gzip;
    bool gzip_open;
    ZSTD_DCtx *zstd;
};

static lt_err refill(lt_byte_source *s)
{
    lt_err err;

    if (s->pos < s->size || s->at_end)
        return LT_OK;
    s->pos = s->size = 0;
    LT_TRY(err = lt_fd_read(s->fd, s->in, BUFFER, &s->size, s->name));
    s->consumed += s->size;
    s->at_end = s->size < BUFFER;
fail:
    return err;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n > m && strcmp(s + n - m, end) == 0;
}

static lt_err open_packing(lt_byte_source *s)
{
    static const uint8_t gzip_magic[] = { 0x1f, 0x8b }, zstd_magic[] = { 0x28, 0xb5, 0x2f, 0xfd };

    if (s->size >= 2 && memcmp(s->in, gzip_magic, 2) == 0) {
        s->packing = GZIP;
        s->gzip_open = inflateInit2(&s->gzip, 15 + 16) == Z_OK;
        return s->gzip_open ? LT_OK : lt_fail(LT_ENOMEM, "%s: no memory for zlib", s->name);
    }
    if ((s->size >= 4 && memcmp(s->in, zstd_magic, 4) == 0) || ends_with(s->name, ".zst")) {
        s->packing = ZSTANDARD;
        s->zstd = ZSTD_createDCtx();
        return s->zstd ? LT_OK : lt_fail(LT_ENOMEM, "%s: no memory for zstd", s->name);
    }
    if (ends_with(s->name, ".gz"))
        return lt_fail(LT_EFORMAT, "%s: byte 0: expected a gzip header", s->name);
    return LT_OK;
}

lt_err lt_byte_source_open(lt_byte_source **out, const char *path)
{
    lt_byte_source *s = lt_new0(sizeof *s);
    bool is_stdin = strcmp(path, "-") == 0;
    lt_err err;

    s->path = lt_strdup(path);
    s->name = is_stdin ? "standard input" : s->path;
    s->fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0) {
        err = lt_fail(errno == ENOENT ? LT_ENOENT : LT_EIO, "%s: %s", path, strerror(errno));
        goto fail;
    }
    s->in = lt_new0(BUFFER);
    LT_TRY(err = refill(s));
    LT_TRY(err = open_packing(s));
    *out = s;
    return LT_OK;
fail:
    lt_byte_source_close(s);
    return err;
}

static lt_err truncated(const lt_byte_source *s, const char *what)
{
    return lt_fail(LT_EFORMAT, "%s: byte %llu: the %s ends in the middle: the file is truncated",
                   s->name, (unsigned long long)s->consumed, what);
}

/* Some bytes of output, 0 only when the input has ended. */
static lt_err read_gzip(lt_byte_source *s, uint8_t *dst, size_t n, size_t *got)
{
    int status;

    if (s->pos == s->size && !s->mid_stream)
        return LT_OK;
    s->mid_stream = true;
    s->gzip.next_in = s->in + s->pos;
    s->gzip.avail_in = (uInt)(s->size - s->pos);
    s->gzip.next_out = dst;
    s->gzip.avail_out = (uInt)(n < 1 << 30 ? n : 1 << 30);
    *got = s->gzip.avail_out;
    status = inflate(&s->gzip, Z_NO_FLUSH);
    *got -= s->gzip.avail_out;
    s->pos = s->size - s->gzip.avail_in;
    if (status == Z_STREAM_END) { /* another member may follow */
        s->mid_stream = false;
        status = inflateReset(&s->gzip);
    } else if (status == Z_BUF_ERROR && *got == 0 && s->at_end && s->pos == s->size) {
        return truncated(s, "gzip stream");
    }
    if (status != Z_OK && status != Z_BUF_ERROR)
        return lt_fail(LT_EFORMAT, "%s: byte %llu: damaged gzip data: %s", s->name,
                       (unsigned long long)(s->consumed - s->size + s->pos),
                       s->gzip.msg ? s->gzip.msg : "no reason given");
    return LT_OK;
}

static lt_err read_zstd(lt_byte_source *s, uint8_t *dst, size_t n, size_t *got)
{
    ZSTD_inBuffer in = { s->in, s->size, s->pos };
    ZSTD_outBuffer out = { dst, n, 0 };
    size_t left;

    if (s->pos == s->size && !s->mid_stream)
        return LT_OK;
    left = ZSTD_decompressStream(s->zstd, &out, &in);
    s->pos = in.pos;
    *got = out.pos;
    if (ZSTD_isError(left))
        return lt_fail(LT_EFORMAT, "%s: byte %llu: damaged zstd data: %s", s->name,
                       (unsigned long long)(s->consumed - s->size + s->pos),
                       ZSTD_getErrorName(left));
    s->mid_stream = left != 0;
    if (s->mid_stream && out.pos == 0 && s->at_end && s->pos == s->size)
        return truncated(s, "zstd frame");
    return LT_OK;
}

lt_err lt_byte_source_read(lt_byte_source *s, void *dst, size_t n, size_t *got)
{
    uint8_t *to = dst;
    lt_err err = LT_OK;

    *got = 0;
    while (*got < n) {
        size_t some = 0;
        bool ended;

        LT_TRY(err = refill(s));
        ended = s->at_end && s->pos == s->size;
        if (s->packing == PLAIN) {
            some = s->size - s->pos < n - *got ? s->size - s->pos : n - *got;
            memcpy(to + *got, s->in + s->pos, some);
            s->pos += some;
        } else if (s->packing == GZIP) {
            LT_TRY(err = read_gzip(s, to + *got, n - *got, &some));
        } else {
            LT_TRY(err = read_zstd(s, to + *got, n - *got, &some));
        }
        *got += some;
        if (ended && some == 0)
            break;
    }
fail:
    return err;
}

uint64_t lt_byte_source_consumed(const lt_byte_source *s)
{
    return s->consumed - (s->size - s->pos);
}

void lt_byte_source_close(lt_byte_source *s)
{
    if (!s)
        return;
    if (s->gzip_open)
        inflateEnd(&s->gzip);
    ZSTD_freeDCtx(s->zstd);
    if (s->fd > STDIN_FILENO)
        close(s->fd);
    free(s->in);
    free(s->path);
    free(s);
}
