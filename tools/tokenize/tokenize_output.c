/* tokenize_output.c - stdout, or a file that appears when whole. */
#include "tokenize_output.h"
#include "base/file.h"
#include "base/temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

lt_err tokenize_output_open(tokenize_output *o, const char *path, bool is_binary)
{
    lt_err err;

    *o = (tokenize_output){ .fd = STDOUT_FILENO, .name = "standard output" };
    if (!path || strcmp(path, "-") == 0) {
        if (is_binary && isatty(STDOUT_FILENO))
            return lt_fail(LT_EUSAGE, "a token stream is binary: give -o FILE or pipe it on "
                                      "(--ids writes text)");
        return LT_OK;
    }
    o->name = o->path = path;
    LT_TRY(err = lt_path_to_replace(&o->target, path));
    if (o->target) {
        lt_temporary_sweep(o->target, NULL);
        o->temporary = lt_temporary_name(o->target);
    }
    o->fd =
        open(o->temporary ? o->temporary : path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (o->fd < 0) {
        err = lt_fail(LT_EIO, "%s: %s", path, strerror(errno));
        free(o->temporary);
        o->temporary = NULL; /* nothing of ours to remove */
        goto fail;
    }
    if (o->temporary)
        lt_temporary_hold(o->fd);
    return LT_OK;
fail:
    o->fd = -1;
    tokenize_output_abort(o);
    return err;
}

lt_err tokenize_output_commit(tokenize_output *o)
{
    int fd = o->fd;
    lt_err err;

    if (!o->path)
        return LT_OK;
    if (o->temporary && fsync(fd) != 0)
        return lt_fail(LT_EIO, "%s: fsync: %s", o->name, strerror(errno));
    o->fd = -1;
    if (close(fd) != 0)
        return lt_fail(LT_EIO, "%s: %s", o->name, strerror(errno));
    if (o->temporary)
        LT_TRY(err = lt_rename_sync(o->temporary, o->target));
    free(o->temporary);
    free(o->target);
    *o = (tokenize_output){ .fd = -1 };
    return LT_OK;
fail:
    return err;
}

void tokenize_output_abort(tokenize_output *o)
{
    if (o->path && o->fd >= 0)
        close(o->fd);
    if (o->temporary)
        unlink(o->temporary);
    free(o->temporary);
    free(o->target);
    *o = (tokenize_output){ .fd = -1 };
}
