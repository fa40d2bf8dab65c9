/* metrics_log.c - the file metrics.jsonl: append, load, cut back to a step.
 *
 * Appends go straight to the descriptor, one write a line.  The cut writes the lines that stay to a
 * temporary file and renames it, so a kill leaves the old log or the new one. */
#include "base/file.h"
#include "base/log.h"
#include "monitor/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct lt_metrics_log {
    int fd;
    uint64_t size; /* bytes that are whole lines */
    char *path;
    lt_buf line;
};

/* Reads a file line by line; `whole` is false for a last line without its newline. */
typedef struct line_reader {
    FILE *file;
    const char *path;
    char *line;
    size_t capacity, n, number;
    bool whole;
    char name[512]; /* "path:number", for sentences */
} line_reader;

static lt_err line_reader_open(line_reader *r, const char *path)
{
    *r = (line_reader){ .path = path };
    r->file = fopen(path, "re");
    if (!r->file)
        return lt_fail(errno == ENOENT ? LT_ENOENT : LT_EIO, "%s: %s", path, strerror(errno));
    return LT_OK;
}

static void line_reader_close(line_reader *r)
{
    if (r->file)
        fclose(r->file);
    free(r->line);
}

/* *more = false at the end of the file. */
static lt_err line_reader_next(line_reader *r, bool *more)
{
    ssize_t n = getline(&r->line, &r->capacity, r->file);

    *more = n > 0;
    if (n < 0 && ferror(r->file))
        return lt_fail(LT_EIO, "%s: %s", r->path, strerror(errno));
    if (n <= 0)
        return LT_OK;
    r->whole = r->line[n - 1] == '\n';
    r->n = (size_t)n;
    snprintf(r->name, sizeof r->name, "%s:%zu", r->path, ++r->number);
    return LT_OK;
}

lt_err lt_metrics_load(lt_step_metrics **out, size_t *n, const char *path)
{
    lt_step_metrics *all = NULL;
    size_t n_all = 0, capacity = 0;
    line_reader r;
    bool more;
    lt_err err;

    LT_TRY(err = line_reader_open(&r, path));
    for (;;) {
        LT_TRY(err = line_reader_next(&r, &more));
        if (!more || !r.whole)
            break;
        lt_array_reserve(&all, &capacity, n_all + 1, sizeof *all);
        LT_TRY(err = lt_metrics_parse(&all[n_all], r.line, r.n, r.name));
        n_all++;
    }
    line_reader_close(&r);
    *out = all;
    *n = n_all;
    return LT_OK;
fail:
    line_reader_close(&r);
    free(all);
    return err;
}

/* Copies to `kept` the lines with step <= last; *n_cut counts the others. */
static lt_err keep_lines(lt_writer *kept, const char *path, uint64_t last, size_t *n_cut)
{
    uint64_t before = 0;
    size_t n_kept = 0;
    line_reader r;
    bool more;
    lt_err err;

    LT_TRY(err = line_reader_open(&r, path));
    for (;;) {
        lt_step_metrics m;

        LT_TRY(err = line_reader_next(&r, &more));
        if (!more)
            break;
        if (!r.whole || lt_metrics_parse(&m, r.line, r.n, r.name) != LT_OK) {
            lt_log_warn("%s: dropped a damaged line of the metrics log", r.name);
            ++*n_cut;
            continue;
        }
        if (m.step > last || (n_kept && m.step <= before)) {
            ++*n_cut;
            continue;
        }
        LT_TRY(err = lt_writer_write(kept, r.line, r.n));
        before = m.step;
        n_kept++;
    }
fail:
    line_reader_close(&r);
    return err;
}

static lt_err cut_back(const char *path, uint64_t last)
{
    lt_writer *kept = NULL;
    size_t n_cut = 0;
    lt_err err;

    LT_TRY(err = lt_writer_open(&kept, path));
    LT_TRY(err = keep_lines(kept, path, last, &n_cut));
    if (!n_cut) {
        lt_writer_abort(kept);
        return LT_OK;
    }
    return lt_writer_commit(kept);
fail:
    lt_writer_abort(kept);
    return err;
}

/* A new run keeps the log of an older one aside; a resumed run keeps what it will not repeat. */
static lt_err make_room(const char *path, uint64_t resume_step)
{
    lt_err err;

    if (!lt_path_exists(path))
        return LT_OK;
    if (resume_step)
        return cut_back(path, resume_step);
    char *old = lt_asprintf("%s.old", path);
    err = lt_rename_sync(path, old);
    free(old);
    return err;
}

lt_err lt_metrics_lock(lt_lock **out, const char *dir)
{
    return lt_lock_take(out, dir, "metrics.lock", "writes metrics.jsonl");
}

lt_err lt_metrics_log_open(lt_metrics_log **out, const char *dir, uint64_t resume_step)
{
    lt_metrics_log *log = lt_new0(sizeof *log);
    struct stat st;
    lt_err err;

    log->fd = -1;
    log->path = lt_path_join(dir, "metrics.jsonl");
    LT_TRY(err = lt_mkdirs(dir));
    LT_TRY(err = make_room(log->path, resume_step));
    log->fd = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log->fd < 0 || fstat(log->fd, &st) != 0) {
        err = lt_fail(LT_EIO, "%s: %s", log->path, strerror(errno));
        goto fail;
    }
    log->size = (uint64_t)st.st_size;
    *out = log;
    return LT_OK;
fail:
    lt_metrics_log_close(log);
    return err;
}

lt_err lt_metrics_log_step(lt_metrics_log *log, const lt_step_metrics *m)
{
    lt_err err;

    lt_buf_clear(&log->line);
    lt_metrics_encode(&log->line, m);
    err = lt_fd_write(log->fd, log->line.data, log->line.size, log->path);
    if (err != LT_OK) {
        /* A full disk may have taken half a line; the next one must not be glued to it. */
        if (ftruncate(log->fd, (off_t)log->size) != 0)
            return lt_fail_in("and the torn line could not be removed");
        return err;
    }
    log->size += log->line.size;
    return LT_OK;
}

lt_err lt_metrics_log_sync(lt_metrics_log *log)
{
    if (fsync(log->fd) != 0)
        return lt_fail(LT_EIO, "%s: fsync: %s", log->path, strerror(errno));
    return LT_OK;
}

void lt_metrics_log_close(lt_metrics_log *log)
{
    if (!log)
        return;
    if (log->fd >= 0)
        close(log->fd);
    lt_buf_release(&log->line);
    free(log->path);
    free(log);
}
