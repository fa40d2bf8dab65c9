/* base/writer.c - the writer of base/file.h: a temporary beside the target, synced, renamed.
 *
 * A target that exists and is no regular file (/dev/null, a FIFO, /dev/full) is written in place:
 * renaming over a device would replace it.  A symbolic link stays: what it leads to is replaced.
 * The first fault is kept: whatever comes after it returns the same sentence, and commit removes
 * the temporary. */
#include "base/file.h"
#include "base/temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 18 };

struct lt_writer {
    int fd;
    bool in_place;      /* no temporary, no seeking */
    char *path;         /* as asked for */
    char *target, *tmp; /* tmp becomes target, which is path unless that is a link; NULL in place */
    uint64_t flushed;   /* appended bytes that left the buffer */
    uint64_t end;       /* file size: the furthest byte written */
    uint64_t reserved;  /* preallocated bytes */
    uint64_t window;    /* lt_writer_pace; 0: off */
    uint64_t paced;     /* bytes in windows that were sent to the disk */
    lt_err_record fault; /* code LT_OK while all is well */
    size_t n_buffered;
    char *buffer; /* BUFFER_BYTES */
};

static lt_err open_in_place(lt_writer *w)
{
    w->in_place = true;
    w->fd = open(w->path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (w->fd < 0)
        return lt_fail(LT_EIO, "%s: cannot write: %s", w->path, strerror(errno));
    return LT_OK;
}

static lt_err open_temporary(lt_writer *w)
{
    enum { FLAGS = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC };

    w->tmp = lt_temporary_name(w->target);
    w->fd = open(w->tmp, FLAGS, 0666);
    if (w->fd < 0 && errno == EEXIST) { /* left by a killed process that had our number */
        unlink(w->tmp);
        w->fd = open(w->tmp, FLAGS, 0666);
    }
    if (w->fd < 0) {
        lt_err code = errno == ENOENT ? LT_ENOENT : LT_EIO;

        lt_fail(code, "%s: cannot create: %s", w->path, strerror(errno));
        free(w->tmp);
        w->tmp = NULL; /* nothing of ours to remove */
        return code;
    }
    return LT_OK;
}

lt_err lt_writer_open(lt_writer **out, const char *path)
{
    lt_writer *w;
    lt_err err;

    if (lt_is_dir(path))
        return lt_fail(LT_EIO, "%s: expected a file to write, found a directory", path);
    w = lt_new0(sizeof *w);
    w->fd = -1;
    w->path = lt_strdup(path);
    w->buffer = lt_new0(BUFFER_BYTES);
    LT_TRY(err = lt_path_to_replace(&w->target, path));
    if (w->target)
        LT_TRY(err = open_temporary(w));
    else
        LT_TRY(err = open_in_place(w));
    *out = w;
    return LT_OK;
fail:
    lt_writer_abort(w);
    return err;
}

/* Keeps the recorded sentence as this writer's fault. */
static lt_err keep_fault(lt_writer *w)
{
    lt_err_take(&w->fault);
    return lt_err_give(&w->fault);
}

void lt_writer_pace(lt_writer *w, uint64_t bytes)
{
    w->window = w->in_place ? 0 : bytes;
}

/* Sends each full window to the disk and waits for the one before it.  A write-back fault is told
 * once, here or at the final sync, so it is final here too. */
static lt_err pace(lt_writer *w)
{
    enum {
        FINISH = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER
    };

    while (w->window > 0 && w->end - w->paced >= w->window) {
        off_t at = (off_t)w->paced, n = (off_t)w->window;
        bool ok = sync_file_range(w->fd, at, n, SYNC_FILE_RANGE_WRITE) == 0 &&
                  (at < n || sync_file_range(w->fd, at - n, n, FINISH) == 0);

        w->paced += w->window;
        if (!ok && (errno == ENOSYS || errno == EINVAL || errno == ESPIPE)) {
            w->window = 0; /* not on this file system */
        } else if (!ok && errno != EINTR) {
            lt_fail(LT_EIO, "%s: write-back: %s", w->path, strerror(errno));
            return keep_fault(w);
        }
    }
    return LT_OK;
}

static lt_err put(lt_writer *w, uint64_t offset, const char *data, size_t n)
{
    if (w->in_place)
        return lt_fd_write(w->fd, data, n, w->path) == LT_OK ? LT_OK : keep_fault(w);
    while (n > 0) {
        ssize_t k = pwrite(w->fd, data, n, (off_t)offset);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            lt_fail(LT_EIO, "%s: write at offset %llu: %s", w->path, (unsigned long long)offset,
                    strerror(errno));
            return keep_fault(w);
        }
        data += k;
        offset += (uint64_t)k;
        n -= (size_t)k;
        if (offset > w->end)
            w->end = offset;
    }
    return pace(w);
}

static lt_err flush(lt_writer *w)
{
    size_t n = w->n_buffered;

    if (w->fault.code != LT_OK)
        return lt_err_give(&w->fault);
    w->n_buffered = 0;
    w->flushed += n;
    return put(w, w->flushed - n, w->buffer, n);
}

lt_err lt_writer_write(lt_writer *w, const void *data, size_t n)
{
    lt_err err;

    if (w->fault.code != LT_OK)
        return lt_err_give(&w->fault);
    if (n > BUFFER_BYTES - w->n_buffered)
        LT_TRY(err = flush(w));
    if (n >= BUFFER_BYTES) {
        w->flushed += n;
        return put(w, w->flushed - n, data, n);
    }
    if (n)
        memcpy(w->buffer + w->n_buffered, data, n);
    w->n_buffered += n;
    return LT_OK;
fail:
    return err;
}

lt_err lt_writer_pwrite(lt_writer *w, uint64_t offset, const void *data, size_t n)
{
    lt_err err;

    LT_TRY(err = flush(w)); /* the later of two writes to one byte must win */
    if (w->in_place) {
        lt_fail(LT_EIO, "%s: expected a regular file, found a device or pipe", w->path);
        return keep_fault(w);
    }
    return put(w, offset, data, n);
fail:
    return err;
}

lt_err lt_writer_preallocate(lt_writer *w, uint64_t bytes)
{
    int rc;

    if (w->fault.code != LT_OK)
        return lt_err_give(&w->fault);
    if (w->in_place || bytes == 0)
        return LT_OK;
    do
        rc = fallocate(w->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes);
    while (rc != 0 && errno == EINTR);
    /* A file system that cannot reserve finds out while writing. */
    if (rc != 0 && errno != EOPNOTSUPP && errno != ENOSYS) {
        lt_fail(LT_EIO, "%s: cannot reserve %llu bytes: %s", w->path, (unsigned long long)bytes,
                strerror(errno));
        return keep_fault(w);
    }
    if (rc == 0 && bytes > w->reserved)
        w->reserved = bytes;
    return LT_OK;
}

uint64_t lt_writer_offset(const lt_writer *w)
{
    return w->flushed + w->n_buffered;
}

static lt_err sync_and_close(lt_writer *w)
{
    int fd = w->fd;
    bool ok = true;

    if (w->reserved > w->end) /* give back the blocks that were not needed */
        ok = ftruncate(fd, (off_t)w->end) == 0;
    if (ok && !w->in_place)
        ok = fsync(fd) == 0;
    if (!ok)
        return lt_fail(LT_EIO, "%s: fsync: %s", w->path, strerror(errno));
    w->fd = -1;
    if (close(fd) != 0)
        return lt_fail(LT_EIO, "%s: close: %s", w->path, strerror(errno));
    return LT_OK;
}

lt_err lt_writer_commit(lt_writer *w)
{
    lt_err err;

    LT_TRY(err = flush(w));
    LT_TRY(err = sync_and_close(w));
    if (w->tmp) {
        LT_TRY(err = lt_rename_sync(w->tmp, w->target));
        free(w->tmp);
        w->tmp = NULL;
    }
fail:
    lt_writer_abort(w);
    return err;
}

void lt_writer_abort(lt_writer *w)
{
    if (!w)
        return;
    if (w->fd >= 0)
        close(w->fd);
    if (w->tmp)
        unlink(w->tmp);
    free(w->tmp);
    free(w->target);
    free(w->path);
    free(w->buffer);
    free(w);
}

lt_err lt_file_write_atomic(const char *path, const void *data, size_t n)
{
    lt_writer *w;
    lt_err err;

    LT_TRY(err = lt_writer_open(&w, path));
    err = lt_writer_write(w, data, n);
    if (err == LT_OK)
        return lt_writer_commit(w);
    lt_writer_abort(w);
fail:
    return err;
}
