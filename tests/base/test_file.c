/* test_file.c - bounded reads, paths, directories and the descriptor helpers. */
#include "base/file.h"
#include "lt_test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

LT_TEST(pread_is_bounded_by_the_file)
{
    const char *path = lt_test_tmp("pread");
    char got[8] = { 0 };
    lt_file f = { 0 };

    LT_CHECK_OK(lt_file_write_atomic(path, "0123456789", 10));
    LT_CHECK_OK(lt_file_open_read(&f, path));
    LT_CHECK_INT(f.size, 10);
    LT_CHECK_OK(lt_file_pread(&f, 3, got, 4));
    LT_CHECK_STR(got, "3456");
    LT_CHECK_OK(lt_file_pread(&f, 10, got, 0));
    LT_CHECK_FAILS(lt_file_pread(&f, 7, got, 4), LT_EFORMAT,
                   "truncated: expected 4 bytes at offset 7, found 3");
    LT_CHECK_FAILS(lt_file_pread(&f, 11, got, 0), LT_EFORMAT, "truncated");
    LT_CHECK_FAILS(lt_file_pread(&f, UINT64_MAX, got, 8), LT_EFORMAT, "truncated");
    LT_CHECK_FAILS(lt_file_pread(&f, 1, got, SIZE_MAX), LT_EFORMAT, "truncated");
    LT_CHECK(strncmp(lt_err_text(), path, strlen(path)) == 0);
    lt_file_close(&f);
    lt_file_close(&f);
}

LT_TEST(pread_notices_a_file_that_shrank)
{
    const char *path = lt_test_tmp("shrunk");
    char got[10];
    lt_file f = { 0 };

    LT_CHECK_OK(lt_file_write_atomic(path, "0123456789", 10));
    LT_CHECK_OK(lt_file_open_read(&f, path));
    LT_CHECK_INT(truncate(path, 4), 0);
    LT_CHECK_FAILS(lt_file_pread(&f, 0, got, 10), LT_EFORMAT,
                   "truncated while in use: ends at offset 4 of 10");
    lt_file_close(&f);
}

LT_TEST(open_read_takes_regular_files_only)
{
    const char *fifo = lt_test_tmp("fifo");
    lt_file f = { 0 };

    LT_CHECK_FAILS(lt_file_open_read(&f, lt_test_tmp("absent")), LT_ENOENT, "absent: No such file");
    LT_CHECK_FAILS(lt_file_open_read(&f, "/"), LT_EIO, "found a directory");
    LT_CHECK_FAILS(lt_file_open_read(&f, "/dev/null"), LT_EIO, "found a device or pipe");
    LT_CHECK_INT(mkfifo(fifo, 0600), 0);
    LT_CHECK_FAILS(lt_file_open_read(&f, fifo), LT_EIO, "found a device or pipe");
    LT_CHECK(!f.path);
}

LT_TEST(read_all_is_bounded_and_terminated)
{
    const char *path = lt_test_tmp("all");
    lt_buf b = { 0 };
    char *big = lt_new0(200000);

    memset(big, 'x', 200000);
    LT_CHECK_OK(lt_file_write_atomic(path, big, 200000));
    LT_CHECK_OK(lt_file_read_all(&b, path, 200000));
    LT_CHECK_INT(b.size, 200000);
    LT_CHECK_INT(strlen(b.data), 200000);
    LT_CHECK_FAILS(lt_file_read_all(&b, path, 199999), LT_EFORMAT, "expected at most 199999");
    LT_CHECK_INT(b.size, 200000);
    LT_CHECK_FAILS(lt_file_read_all(&b, lt_test_tmp("absent"), 9), LT_ENOENT, "absent");
    LT_CHECK_FAILS(lt_file_read_all(&b, "/", 9), LT_EIO, "Is a directory");
    LT_CHECK_FAILS(lt_file_read_all(&b, "/dev/zero", 100000), LT_EFORMAT,
                   "larger than the 100000 bytes that are accepted");
    LT_CHECK_OK(lt_file_read_all(&b, "/dev/null", 9));
    LT_CHECK_INT(b.size, 0);
    LT_CHECK_STR(lt_buf_cstr(&b), "");
    lt_buf_release(&b);
    free(big);
}

LT_TEST(read_all_dash_is_standard_input)
{
    int saved = dup(STDIN_FILENO), pipe_fd[2];
    lt_buf b = { 0 };

    LT_CHECK_INT(pipe(pipe_fd), 0);
    LT_CHECK_OK(lt_fd_write(pipe_fd[1], "piped", 5, "pipe"));
    close(pipe_fd[1]);
    LT_CHECK(dup2(pipe_fd[0], STDIN_FILENO) == STDIN_FILENO);
    close(pipe_fd[0]);
    LT_CHECK_OK(lt_file_read_all(&b, "-", 5));
    dup2(saved, STDIN_FILENO);
    close(saved);
    LT_CHECK_STR(b.data, "piped");
    lt_buf_release(&b);
}

LT_TEST(fd_read_stops_at_the_end)
{
    int fd = open("/dev/full", O_WRONLY), p[2];
    char got[8] = { 0 };
    size_t n = 99;

    LT_CHECK_FAILS(lt_fd_write(fd, "x", 1, "/dev/full"), LT_EIO, "/dev/full: write: No space left");
    close(fd);
    LT_CHECK_INT(pipe(p), 0);
    LT_CHECK_OK(lt_fd_write(p[1], "abc", 3, "pipe"));
    close(p[1]);
    LT_CHECK_OK(lt_fd_read(p[0], got, sizeof got, &n, "pipe"));
    LT_CHECK_INT(n, 3);
    LT_CHECK_STR(got, "abc");
    close(p[0]);
    LT_CHECK_FAILS(lt_fd_read(p[0], got, 1, &n, "closed"), LT_EIO, "closed: read: Bad file");
}

LT_TEST(mkdirs_and_remove_tree)
{
    char *root = lt_strdup(lt_test_tmp("tree"));
    char *deep = lt_path_join(root, "a/b//c/");
    char *link = lt_path_join(root, "a/link");
    char *outside = lt_strdup(lt_test_tmp("outside"));

    LT_CHECK_OK(lt_mkdirs(deep));
    LT_CHECK_OK(lt_mkdirs(deep));
    LT_CHECK(lt_is_dir(deep));
    LT_CHECK_OK(lt_file_write_atomic(outside, "x", 1));
    LT_CHECK_INT(symlink(outside, link), 0);
    LT_CHECK_FAILS(lt_mkdirs(outside), LT_EIO, "expected a directory");
    LT_CHECK_FAILS(lt_mkdirs(link), LT_EIO, "expected a directory");
    LT_CHECK_FAILS(lt_mkdirs("/dev/null/x"), LT_EIO, "/dev/null/x: cannot make the directory");
    LT_CHECK_FAILS(lt_mkdirs("/sys/x"), LT_EIO, "/sys/x: cannot make the directory");
    LT_CHECK(!strstr(lt_err_text(), "No such file")); /* refused, and not only absent */
    LT_CHECK_OK(lt_fsync_dir(root));
    LT_CHECK_OK(lt_remove_tree(root));
    LT_CHECK(!lt_path_exists(root));
    LT_CHECK(lt_path_exists(outside)); /* links are removed, not followed */
    LT_CHECK_OK(lt_remove_tree(root));
    LT_CHECK_OK(lt_remove_tree(outside));
    LT_CHECK_FAILS(lt_fsync_dir(root), LT_ENOENT, "tree");
    LT_CHECK_FAILS(lt_remove_tree("/proc/self/status"), LT_EIO, "cannot remove");
    free(root);
    free(deep);
    free(link);
    free(outside);
}

LT_TEST(rename_sync_moves)
{
    const char *from = lt_test_tmp("from"), *to = lt_test_tmp("to");

    LT_CHECK_OK(lt_file_write_atomic(from, "x", 1));
    LT_CHECK_OK(lt_rename_sync(from, to));
    LT_CHECK(!lt_path_exists(from) && lt_path_exists(to));
    LT_CHECK_FAILS(lt_rename_sync(from, to), LT_ENOENT, "cannot rename to");
}

LT_TEST(paths)
{
    static const struct {
        const char *dir, *name, *joined;
    } cases[] = { { "a", "b", "a/b" }, { "a/", "b", "a/b" }, { "", "b", "b" }, { "/", "b", "/b" } };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        char *joined = lt_path_join(cases[i].dir, cases[i].name);

        LT_CHECK_STR(joined, cases[i].joined);
        free(joined);
    }
    LT_CHECK_STR(lt_path_base("/x/y.z"), "y.z");
    LT_CHECK_STR(lt_path_base("y.z"), "y.z");
    LT_CHECK(lt_is_dir("/") && !lt_is_dir("/dev/null") && !lt_path_exists("/no/such"));
}
