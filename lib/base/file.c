/* base/file.c - bounded reads, small path helpers and directory operations.  The atomic writer is
 * in writer.c. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_STEP = 1 << 16 };

/* The sentence for a path the system would not open or stat. */
static lt_err fail_path(const char *path)
{
    return lt_fail(errno == ENOENT ? LT_ENOENT : LT_EIO, "%s: %s", path, strerror(errno));
}

lt_err lt_file_open_read(lt_file *f, const char *path)
{
    struct stat st;
    lt_err err;
    /* O_NONBLOCK: opening a FIFO must fail below, not wait for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return fail_path(path);
    if (fstat(fd, &st) != 0) {
        err = fail_path(path);
        goto fail;
    }
    if (!S_ISREG(st.st_mode)) {
        err = lt_fail(LT_EIO, "%s: expected a regular file, found %s", path,
                      S_ISDIR(st.st_mode) ? "a directory" : "a device or pipe");
        goto fail;
    }
    *f = (lt_file){ .fd = fd, .size = (uint64_t)st.st_size, .path = lt_strdup(path) };
    return LT_OK;
fail:
    close(fd);
    return err;
}

void lt_file_close(lt_file *f)
{
    /* A zeroed lt_file has fd 0, which is not ours: the path tells whether it was ever opened. */
    if (f->path)
        close(f->fd);
    free(f->path);
    *f = (lt_file){ 0 };
}

lt_err lt_file_pread(const lt_file *f, uint64_t offset, void *dst, size_t n)
{
    char *to = dst;

    if (offset > f->size || n > f->size - offset)
        return lt_fail(LT_EFORMAT, "%s: truncated: expected %zu bytes at offset %llu, found %llu",
                       f->path, n, (unsigned long long)offset,
                       (unsigned long long)(offset > f->size ? 0 : f->size - offset));
    while (n > 0) {
        ssize_t got = pread(f->fd, to, n, (off_t)offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return lt_fail(LT_EIO, "%s: read at offset %llu: %s", f->path,
                           (unsigned long long)offset, strerror(errno));
        if (got == 0)
            return lt_fail(LT_EFORMAT, "%s: truncated while in use: ends at offset %llu of %llu",
                           f->path, (unsigned long long)offset, (unsigned long long)f->size);
        to += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return LT_OK;
}

/* Appends what is left in fd, at most max_bytes in all. */
static lt_err read_rest(lt_buf *b, int fd, uint64_t max_bytes, const char *name)
{
    lt_err err;
    size_t got;

    do {
        lt_buf_reserve(b, READ_STEP);
        LT_TRY(err = lt_fd_read(fd, b->data + b->size, READ_STEP, &got, name));
        b->size += got;
        b->data[b->size] = '\0';
        if (b->size > max_bytes) {
            err = lt_fail(LT_EFORMAT, "%s: larger than the %llu bytes that are accepted", name,
                          (unsigned long long)max_bytes);
            goto fail;
        }
    } while (got == READ_STEP);
    return LT_OK;
fail:
    return err;
}

lt_err lt_file_read_all(lt_buf *out, const char *path, uint64_t max_bytes)
{
    bool from_stdin = strcmp(path, "-") == 0;
    const char *name = from_stdin ? "standard input" : path;
    lt_buf b = { 0 };
    struct stat st;
    lt_err err;
    int fd = from_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return fail_path(path);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        if ((uint64_t)st.st_size > max_bytes) {
            err = lt_fail(LT_EFORMAT, "%s: %lld bytes, expected at most %llu", name,
                          (long long)st.st_size, (unsigned long long)max_bytes);
            goto fail;
        }
        lt_buf_reserve(&b, (size_t)st.st_size + READ_STEP);
    }
    LT_TRY(err = read_rest(&b, fd, max_bytes, name));
    if (!from_stdin)
        close(fd);
    lt_buf_release(out);
    *out = b;
    return LT_OK;
fail:
    if (!from_stdin)
        close(fd);
    lt_buf_release(&b);
    return err;
}

lt_err lt_fd_write(int fd, const void *data, size_t n, const char *name)
{
    const char *from = data;

    while (n > 0) {
        ssize_t put = write(fd, from, n);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return lt_fail(LT_EIO, "%s: write: %s", name, strerror(errno));
        from += put;
        n -= (size_t)put;
    }
    return LT_OK;
}

lt_err lt_fd_read(int fd, void *dst, size_t n, size_t *got, const char *name)
{
    char *to = dst;

    *got = 0;
    while (*got < n) {
        ssize_t r = read(fd, to + *got, n - *got);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return lt_fail(LT_EIO, "%s: read: %s", name, strerror(errno));
        if (r == 0)
            break;
        *got += (size_t)r;
    }
    return LT_OK;
}

lt_err lt_mkdirs(const char *path)
{
    char *p = lt_strdup(path);
    lt_err err = LT_OK;
    size_t n = strlen(p);

    for (size_t i = 1; i <= n && err == LT_OK; i++) {
        char c = p[i];
        int fault;

        if (c != '/' && c != '\0')
            continue;
        p[i] = '\0';
        fault = mkdir(p, 0777) == 0 ? 0 : errno;
        if (fault && fault != EEXIST && !lt_is_dir(p)) /* which sets errno, too */
            err = lt_fail(LT_EIO, "%s: cannot make the directory: %s", p, strerror(fault));
        p[i] = c;
    }
    if (err == LT_OK && !lt_is_dir(path))
        err = lt_fail(LT_EIO, "%s: expected a directory, found something else", path);
    free(p);
    return err;
}

lt_err lt_fsync_dir(const char *path)
{
    lt_err err = LT_OK;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return fail_path(path);
    /* EINVAL: a file system whose directories cannot be synced; nothing more can be done. */
    if (fsync(fd) != 0 && errno != EINVAL)
        err = lt_fail(LT_EIO, "%s: fsync: %s", path, strerror(errno));
    close(fd);
    return err;
}

static lt_err fsync_parent(const char *path)
{
    char *dir = lt_strdup(path);
    char *end = dir + strlen(dir);
    lt_err err;

    while (end > dir + 1 && end[-1] == '/')
        *--end = '\0';
    end = strrchr(dir, '/');
    if (end)
        end[end == dir] = '\0';
    err = lt_fsync_dir(end ? dir : ".");
    free(dir);
    return err;
}

lt_err lt_rename_sync(const char *from, const char *to)
{
    if (rename(from, to) != 0)
        return lt_fail(errno == ENOENT ? LT_ENOENT : LT_EIO, "%s: cannot rename to %s: %s", from,
                       to, strerror(errno));
    return fsync_parent(to);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st, (void)kind, (void)where;
    if (remove(path) == 0 || errno == ENOENT)
        return 0;
    lt_fail(LT_EIO, "%s: cannot remove: %s", path, strerror(errno));
    return 1;
}

lt_err lt_remove_tree(const char *path)
{
    enum { OPEN_DIRS = 16 };
    int rc = nftw(path, remove_entry, OPEN_DIRS, FTW_DEPTH | FTW_PHYS);

    if (rc > 0)
        return LT_EIO; /* remove_entry left the sentence */
    if (rc < 0 && errno != ENOENT)
        return lt_fail(LT_EIO, "%s: cannot remove: %s", path, strerror(errno));
    return LT_OK;
}

/* The path behind all links that its last name leads through, whether something is there or not. */
static lt_err follow_links(char **out, const char *path)
{
    enum { MOST_LINKS = 40 };
    char *at = lt_strdup(path), target[4096];

    for (int i = 0; i < MOST_LINKS; i++) {
        ssize_t n = readlink(at, target, sizeof target - 1);
        char *next;

        if (n < 0) { /* no link, or nothing */
            *out = at;
            return LT_OK;
        }
        target[n] = '\0';
        next =
            lt_asprintf("%.*s%s", target[0] == '/' ? 0 : (int)(lt_path_base(at) - at), at, target);
        free(at);
        at = next;
    }
    free(at);
    return lt_fail(LT_EIO, "%s: more than %d symbolic links", path, (int)MOST_LINKS);
}

lt_err lt_path_to_replace(char **out, const char *path)
{
    struct stat there, named;
    bool exists = stat(path, &there) == 0;
    lt_err err;

    *out = NULL;
    if (exists && !S_ISREG(there.st_mode))
        return LT_OK;
    LT_TRY(err = follow_links(out, path));
    if (exists &&
        (stat(*out, &named) != 0 || named.st_dev != there.st_dev || named.st_ino != there.st_ino)) {
        free(*out);
        *out = NULL;
    }
fail:
    return err;
}

bool lt_path_exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

bool lt_is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *lt_path_join(const char *dir, const char *name)
{
    size_t n = strlen(dir);

    return lt_asprintf("%s%s%s", dir, n > 0 && dir[n - 1] != '/' ? "/" : "", name);
}

const char *lt_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}
