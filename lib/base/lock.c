/* base/lock.c - an open-file-description lock, and its holder's name in the file. */
#include "base/lock.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HOLDER_BYTES = 256 };

struct lt_lock {
    int fd;
};

/* Says who holds the lock, as the holder wrote it. */
static lt_err fail_held(int fd, const char *dir, const char *work)
{
    char holder[HOLDER_BYTES];
    ssize_t n = pread(fd, holder, sizeof holder - 1, 0);

    holder[n > 0 ? n : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    return lt_fail(LT_EIO, "%s: another job %s here: %s", dir, work,
                   holder[0] ? holder : "holder unknown");
}

static lt_err write_holder(int fd, const char *path)
{
    char host[128] = "unknown host", since[32] = "", text[HOLDER_BYTES];
    time_t now = time(NULL);
    struct tm tm;
    int n;

    (void)gethostname(host, sizeof host - 1);
    if (gmtime_r(&now, &tm))
        (void)strftime(since, sizeof since, "%Y-%m-%dT%H:%M:%SZ", &tm);
    n = snprintf(text, sizeof text, "host %s, pid %ld, since %s\n", host, (long)getpid(), since);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return lt_fail(LT_EIO, "%s: write: %s", path, strerror(errno));
    return LT_OK;
}

lt_err lt_lock_take(lt_lock **out, const char *dir, const char *name, const char *work)
{
    /* Of the open file, not of the process: threads and children do not lose it by accident. */
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    char *path = lt_path_join(dir, name);
    int fd = -1;
    lt_err err;

    LT_TRY(err = lt_mkdirs(dir));
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        err = lt_fail(LT_EIO, "%s: %s", path, strerror(errno));
        goto fail;
    }
    if (fcntl(fd, F_OFD_SETLK, &whole) != 0) {
        err = errno == EAGAIN || errno == EACCES
                  ? fail_held(fd, dir, work)
                  : lt_fail(LT_EIO, "%s: cannot lock: %s", path, strerror(errno));
        goto fail;
    }
    LT_TRY(err = write_holder(fd, path));
    *out = lt_new0(sizeof **out);
    (*out)->fd = fd;
    free(path);
    return LT_OK;
fail:
    if (fd >= 0)
        close(fd);
    free(path);
    return err;
}

void lt_lock_drop(lt_lock *lock)
{
    if (!lock)
        return;
    close(lock->fd);
    free(lock);
}
