/* base/file.h - files: bounded reads, and writes that appear whole or not at all.
 *
 * Reading goes through pread with every length checked against the size that is really there.
 * Writing goes to "NAME.tmp.PID", is synced, renamed and the directory synced: a kill or a power
 * cut leaves the old file or the new one under NAME.  A failed write, sync or close is final.  A
 * NAME that is a device or a pipe is written in place. */
#ifndef LT_BASE_FILE_H
#define LT_BASE_FILE_H

#include "base/mem.h"

/* An open regular file. */
typedef struct lt_file {
    int fd;
    uint64_t size; /* when opened */
    char *path;    /* owned */
} lt_file;
LT_MUST_USE lt_err lt_file_open_read(lt_file *f, const char *path); /* regular files only */
void lt_file_close(lt_file *f); /* a zeroed or closed lt_file is fine */

/* Exactly n bytes at `offset`; a range beyond the end is LT_EFORMAT "truncated". */
LT_MUST_USE lt_err lt_file_pread(const lt_file *f, uint64_t offset, void *dst, size_t n);

/* The whole file (NUL-terminated) into *out; larger than max_bytes is LT_EFORMAT. "-" is stdin. */
LT_MUST_USE lt_err lt_file_read_all(lt_buf *out, const char *path, uint64_t max_bytes);

/* A new file that appears under `path` only at lt_writer_commit.  Use one thread at a time. */
typedef struct lt_writer lt_writer;
LT_MUST_USE lt_err lt_writer_open(lt_writer **out, const char *path);
LT_MUST_USE lt_err lt_writer_write(lt_writer *w, const void *data, size_t n); /* buffered append */
LT_MUST_USE lt_err lt_writer_pwrite(lt_writer *w, uint64_t offset, const void *data, size_t n);
LT_MUST_USE lt_err lt_writer_preallocate(lt_writer *w, uint64_t bytes); /* ENOSPC before the work */
uint64_t lt_writer_offset(const lt_writer *w);                          /* bytes appended so far */
/* From now on about two windows of `bytes` wait to be written out, not all of a large file: neither
 * the sync at the end nor other users of the disk stand behind it.  0: as the kernel likes. */
void lt_writer_pace(lt_writer *w, uint64_t bytes);
LT_MUST_USE lt_err lt_writer_commit(lt_writer *w); /* flush, fsync, rename, fsync folder; frees w */
void lt_writer_abort(lt_writer *w);                /* removes the temporary; NULL is fine */

/* Which name a file that is written as `path` gets by rename: path itself, or the end of a chain of
 * symbolic links, which stay.  *out (free it) is NULL where only writing in place will do: a
 * device, a pipe, an open file without a name (/dev/stdout of a removed one).  LT_EIO:
 * links in a circle. */
LT_MUST_USE lt_err lt_path_to_replace(char **out, const char *path);

/* Write all of a small file atomically. */
LT_MUST_USE lt_err lt_file_write_atomic(const char *path, const void *data, size_t n);

LT_MUST_USE lt_err lt_mkdirs(const char *path); /* mkdir -p; an existing directory is fine */
LT_MUST_USE lt_err lt_fsync_dir(const char *path);
LT_MUST_USE lt_err lt_rename_sync(const char *from, const char *to); /* and fsync of the parent */
LT_MUST_USE lt_err lt_remove_tree(const char *path);                 /* rm -rf; absent is fine */
bool lt_path_exists(const char *path);
bool lt_is_dir(const char *path);
char *lt_path_join(const char *dir, const char *name); /* free() it */
const char *lt_path_base(const char *path);            /* after the last '/' */

/* Writes all n bytes to fd (EINTR and short writes handled); `name` is for the sentence. */
LT_MUST_USE lt_err lt_fd_write(int fd, const void *data, size_t n, const char *name);
/* Reads until n bytes or end of file; *got tells. */
LT_MUST_USE lt_err lt_fd_read(int fd, void *dst, size_t n, size_t *got, const char *name);

#endif
