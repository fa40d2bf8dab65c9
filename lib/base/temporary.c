/* base/temporary.c - names, locks and leftovers of outputs that are being written. */
#include "base/temporary.h"
#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char MARK[] = ".tmp.";

char *lt_temporary_name(const char *target)
{
    return lt_asprintf("%s%s%ld", target, MARK, (long)getpid());
}

void lt_temporary_hold(int fd)
{
    (void)flock(fd, LOCK_EX | LOCK_NB); /* without locks it is not swept either */
}

/* The number in `name` when that is BASE.tmp.PID; else 0. */
static pid_t writer_of(const char *name, const char *base)
{
    size_t n = strlen(base), mark = strlen(MARK), digits;

    if (strncmp(name, base, n) != 0 || strncmp(name + n, MARK, mark) != 0)
        return 0;
    name += n + mark;
    digits = strspn(name, "0123456789");
    if (digits == 0 || digits > 9 || name[0] == '0' || name[digits])
        return 0;
    return (pid_t)strtol(name, NULL, 10);
}

static bool is_abandoned(const char *path, pid_t writer, bool (*is_ours)(const char *folder))
{
    struct stat st;
    bool folder, held;
    int fd;

    if (kill(writer, 0) == 0 || errno != ESRCH || lstat(path, &st) != 0)
        return false;
    folder = S_ISDIR(st.st_mode);
    if (folder ? !is_ours || !is_ours(path) : !S_ISREG(st.st_mode))
        return false;
    fd = open(path, (folder ? O_RDONLY | O_DIRECTORY : O_RDWR) | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    held = flock(fd, LOCK_EX | LOCK_NB) != 0;
    close(fd);
    return !held;
}

void lt_temporary_sweep(const char *target, bool (*is_ours)(const char *folder))
{
    const char *base = lt_path_base(target);
    char *dir = lt_asprintf("%.*s", (int)(base - target), target);
    DIR *d = opendir(dir[0] ? dir : ".");
    const struct dirent *e;

    while (d && (e = readdir(d))) {
        pid_t writer = writer_of(e->d_name, base);
        char *path;

        if (writer == 0 || writer == getpid())
            continue;
        path = lt_asprintf("%s%s", dir, e->d_name);
        if (is_abandoned(path, writer, is_ours)) {
            if (lt_remove_tree(path) == LT_OK)
                lt_log_info("removed %s, left by a process that did not finish", path);
            else
                lt_log_warn("%s", lt_err_text());
        }
        free(path);
    }
    if (d)
        closedir(d);
    free(dir);
}
