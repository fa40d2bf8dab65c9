/* zero/record_file.c - reserving, direct or cached transfers, and checksums of a file of
 * records. */
#include "zero/record_file.h"

#include "base/hash.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- records */

static uint64_t padded_bytes(const lt_record_file *f, int record)
{
    size_t bytes = f->bytes[record];

    return LT_ALIGN_UP(bytes ? bytes : 1, (uint64_t)LT_TIER_BLOCK);
}

static lt_err write_at(lt_record_file *f, uint64_t offset, const char *data, uint64_t n)
{
    while (n > 0) {
        ssize_t k = pwrite(f->fd, data, n, (off_t)offset);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return lt_fail(LT_EIO, "%s: write of %llu bytes at offset %llu: %s", f->path,
                           (unsigned long long)n, (unsigned long long)offset, strerror(errno));
        data += k;
        offset += (uint64_t)k;
        n -= (uint64_t)k;
    }
    return LT_OK;
}

lt_err lt_record_file_write(lt_record_file *f, int record, const char *src)
{
    f->crc[record] = lt_crc32c(0, src, f->bytes[record]);
    return write_at(f, f->offset[record], src, padded_bytes(f, record));
}

lt_err lt_record_file_read(lt_record_file *f, int record, char *dst)
{
    uint64_t offset = f->offset[record], n = padded_bytes(f, record), got = 0;
    uint32_t crc;

    while (got < n) {
        ssize_t k = pread(f->fd, dst + got, n - got, (off_t)(offset + got));

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return lt_fail(LT_EIO, "%s: record %d: read of %llu bytes at offset %llu: %s", f->path,
                           record, (unsigned long long)(n - got),
                           (unsigned long long)(offset + got), strerror(errno));
        if (k == 0)
            return lt_fail(LT_EFORMAT,
                           "%s: record %d at offset %llu: truncated: expected %llu bytes, found "
                           "%llu",
                           f->path, record, (unsigned long long)offset, (unsigned long long)n,
                           (unsigned long long)got);
        got += (uint64_t)k;
    }
    crc = lt_crc32c(0, dst, f->bytes[record]);
    if (crc != f->crc[record])
        return lt_fail(LT_EFORMAT,
                       "%s: record %d at offset %llu is damaged: expected CRC-32C %08x, found %08x",
                       f->path, record, (unsigned long long)offset, f->crc[record], crc);
    return LT_OK;
}

/* ---- open and close */

static lt_err create(lt_record_file *f)
{
    enum { FLAGS = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC };

    f->fd = open(f->path, FLAGS, 0600);
    if (f->fd < 0 && errno == EEXIST) { /* left by a kill right here, of one with our number */
        unlink(f->path);
        f->fd = open(f->path, FLAGS, 0600);
    }
    if (f->fd < 0)
        return lt_fail(errno == ENOENT ? LT_ENOENT : LT_EIO, "%s: cannot create: %s", f->path,
                       strerror(errno));
    if (unlink(f->path) != 0)
        return lt_fail(LT_EIO, "%s: cannot remove: %s", f->path, strerror(errno));
    return LT_OK;
}

static lt_err write_zeros(lt_record_file *f, const char *zeros)
{
    lt_err err;

    for (int i = 0; i < f->n_records; i++)
        LT_TRY(err = write_at(f, f->offset[i], zeros, padded_bytes(f, i)));
    return LT_OK;
fail:
    return err;
}

/* A file system that cannot reserve is given the zeros themselves. */
static lt_err reserve(lt_record_file *f, uint64_t bytes, const char *zeros)
{
    struct statvfs fs;
    uint64_t there = 0;
    lt_err err = LT_EIO;
    int rc;

    if (fstatvfs(f->fd, &fs) == 0)
        there = (uint64_t)fs.f_bavail * fs.f_frsize;
    do
        rc = fallocate(f->fd, 0, 0, (off_t)bytes);
    while (rc != 0 && errno == EINTR);
    if (rc != 0 && errno != EOPNOTSUPP && errno != ENOSYS)
        lt_fail(LT_EIO, "%s: cannot reserve: %s", f->path, strerror(errno));
    else
        err = rc == 0 ? LT_OK : write_zeros(f, zeros);
    if (err == LT_OK)
        return LT_OK;
    return lt_fail(LT_EIO, "%s (%llu bytes wanted, %llu free)", lt_err_text(),
                   (unsigned long long)bytes, (unsigned long long)there);
}

/* O_DIRECT where the file system takes it, at LT_TIER_BLOCK: records are not worth caching. */
static bool use_direct_io(lt_record_file *f, char *zeros)
{
    int flags = fcntl(f->fd, F_GETFL);

    if (flags < 0 || fcntl(f->fd, F_SETFL, flags | O_DIRECT) != 0)
        return false;
    if (pread(f->fd, zeros, LT_TIER_BLOCK, 0) == LT_TIER_BLOCK)
        return true;
    fcntl(f->fd, F_SETFL, flags);
    return false;
}

/* The file holds zeros; their CRC is worked out once a size. */
static void set_zero_crcs(lt_record_file *f, const char *zeros)
{
    const size_t *bytes = f->bytes;

    for (int i = 0; i < f->n_records; i++) {
        int same = 0;

        while (bytes[same] != bytes[i])
            same++;
        f->crc[i] = same < i ? f->crc[same] : lt_crc32c(0, zeros, bytes[i]);
    }
}

lt_err lt_record_file_open(lt_record_file *f, const lt_tier *t, const char *dir, char *zeros)
{
    lt_err err;

    *f = (lt_record_file){ .fd = -1,
                           .path = lt_asprintf("%s/lt-%s.%ld", dir, t->label, (long)getpid()),
                           .n_records = t->n_records,
                           .bytes = t->bytes,
                           .offset = t->offset,
                           .crc = lt_new_array0((size_t)t->n_records, sizeof *f->crc) };
    LT_TRY(err = create(f));
    LT_TRY(err = reserve(f, t->plan.file, zeros));
    f->direct = use_direct_io(f, zeros);
    set_zero_crcs(f, zeros);
    return LT_OK;
fail:
    lt_record_file_close(f);
    return err;
}

void lt_record_file_close(lt_record_file *f)
{
    if (!f->path)
        return;
    if (f->fd >= 0)
        close(f->fd);
    free(f->crc);
    free(f->path);
    *f = (lt_record_file){ 0 };
}
