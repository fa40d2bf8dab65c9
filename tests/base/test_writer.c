/* test_writer.c - a written file appears whole or not at all. */
#include "base/file.h"
#include "lt_test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A fresh empty folder of the scratch space. */
static char *fresh_dir(const char *name)
{
    char *dir = lt_strdup(lt_test_tmp(name));

    if (lt_mkdirs(dir) != LT_OK)
        lt_test_fail(__FILE__, __LINE__, "%s", lt_err_text());
    return dir;
}

static int count_entries(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n - 2; /* . and .. */
}

LT_TEST(commit_renames_and_abort_leaves_nothing)
{
    char *dir = fresh_dir("commit"), *path = lt_path_join(dir, "out");
    lt_writer *w;
    lt_buf b = { 0 };

    LT_CHECK_OK(lt_writer_open(&w, path));
    LT_CHECK_OK(lt_writer_write(w, "hello", 5));
    LT_CHECK_INT(lt_writer_offset(w), 5);
    LT_CHECK(!lt_path_exists(path));
    LT_CHECK_OK(lt_writer_commit(w));
    LT_CHECK_OK(lt_file_read_all(&b, path, 100));
    LT_CHECK_STR(b.data, "hello");
    LT_CHECK_INT(count_entries(dir), 1);

    LT_CHECK_OK(lt_writer_open(&w, path));
    LT_CHECK_OK(lt_writer_write(w, "other", 5));
    lt_writer_abort(w);
    lt_writer_abort(NULL);
    LT_CHECK_OK(lt_file_read_all(&b, path, 100));
    LT_CHECK_STR(b.data, "hello"); /* the old file stays */
    LT_CHECK_INT(count_entries(dir), 1);
    lt_buf_release(&b);
    free(path);
    free(dir);
}

LT_TEST(append_and_pwrite_mix)
{
    enum { BIG = 700001 };
    const char *path = lt_test_tmp("mixed");
    char *big = lt_new0(BIG);
    lt_writer *w;
    lt_buf b = { 0 };

    for (int i = 0; i < BIG; i++)
        big[i] = (char)(i * 7);
    LT_CHECK_OK(lt_writer_open(&w, path));
    LT_CHECK_OK(lt_writer_write(w, "....", 4));
    LT_CHECK_OK(lt_writer_write(w, big, BIG)); /* larger than the buffer */
    for (int i = 0; i < 1000; i++)
        LT_CHECK_OK(lt_writer_write(w, big + i, 333));
    LT_CHECK_OK(lt_writer_write(w, NULL, 0));
    LT_CHECK_OK(lt_writer_pwrite(w, 1, "HD", 2)); /* after appends: wins */
    LT_CHECK_OK(lt_writer_write(w, "end", 3));
    LT_CHECK_INT(lt_writer_offset(w), 4 + BIG + 333000 + 3);
    LT_CHECK_OK(lt_writer_commit(w));
    LT_CHECK_OK(lt_file_read_all(&b, path, 1u << 24));
    LT_CHECK_INT(b.size, 4 + BIG + 333000 + 3);
    LT_CHECK(memcmp(b.data, ".HD.", 4) == 0);
    LT_CHECK(memcmp(b.data + 4, big, BIG) == 0);
    for (int i = 0; i < 1000; i++)
        LT_CHECK(memcmp(b.data + 4 + BIG + 333 * i, big + i, 333) == 0);
    LT_CHECK_STR(b.data + b.size - 3, "end");
    lt_buf_release(&b);
    free(big);
}

LT_TEST(preallocate_reserves_and_gives_back)
{
    const char *path = lt_test_tmp("reserved");
    struct stat st;
    lt_writer *w;

    LT_CHECK_OK(lt_writer_open(&w, path));
    LT_CHECK_OK(lt_writer_preallocate(w, 1 << 20));
    LT_CHECK_OK(lt_writer_pwrite(w, 10, "x", 1));
    LT_CHECK_OK(lt_writer_commit(w));
    LT_CHECK_INT(stat(path, &st), 0);
    LT_CHECK_INT(st.st_size, 11);
    LT_CHECK(st.st_blocks * 512 < 1 << 20);
    LT_CHECK_OK(lt_writer_open(&w, path));
    LT_CHECK_FAILS(lt_writer_preallocate(w, (uint64_t)1 << 62), LT_EIO, "cannot reserve");
    LT_CHECK_FAILS(lt_writer_commit(w), LT_EIO, "cannot reserve");
    LT_CHECK_INT(stat(path, &st), 0);
    LT_CHECK_INT(st.st_size, 11);
}

/* A file size limit stands in for a full disk: pwrite fails the same way at the same place. */
LT_TEST(a_failed_write_is_final)
{
    char *dir = fresh_dir("full"), *path = lt_path_join(dir, "out"), *big = lt_new0(1 << 20);
    struct rlimit before, small;
    lt_err first, second, last;
    lt_writer *w;

    LT_CHECK_INT(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){ 4096, before.rlim_max };
    signal(SIGXFSZ, SIG_IGN);
    LT_CHECK_OK(lt_writer_open(&w, path));
    setrlimit(RLIMIT_FSIZE, &small);
    first = lt_writer_write(w, big, 1 << 20);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_DFL);
    LT_CHECK_FAILS(first, LT_EIO, "write at offset 4096: File too large");
    lt_fail(LT_EUSAGE, "something else");
    second = lt_writer_pwrite(w, 0, "x", 1);
    LT_CHECK_FAILS(second, LT_EIO, "File too large");
    LT_CHECK_INT(lt_writer_write(w, "x", 1), LT_EIO);
    LT_CHECK_INT(lt_writer_preallocate(w, 1), LT_EIO);
    last = lt_writer_commit(w);
    LT_CHECK_FAILS(last, LT_EIO, "File too large");
    LT_CHECK_INT(count_entries(dir), 0);
    free(big);
    free(path);
    free(dir);
}

LT_TEST(devices_and_pipes_are_written_in_place)
{
    struct stat st;
    lt_writer *w;

    LT_CHECK_OK(lt_writer_open(&w, "/dev/full"));
    LT_CHECK_OK(lt_writer_write(w, "x", 1)); /* still buffered */
    LT_CHECK_FAILS(lt_writer_commit(w), LT_EIO, "/dev/full: write: No space left on device");
    LT_CHECK_OK(lt_writer_open(&w, "/dev/null"));
    LT_CHECK_OK(lt_writer_write(w, "x", 1));
    LT_CHECK_OK(lt_writer_preallocate(w, 100));
    LT_CHECK_OK(lt_writer_commit(w));
    LT_CHECK_INT(stat("/dev/null", &st), 0);
    LT_CHECK(S_ISCHR(st.st_mode));
    LT_CHECK_OK(lt_writer_open(&w, "/dev/null"));
    LT_CHECK_FAILS(lt_writer_pwrite(w, 0, "x", 1), LT_EIO, "expected a regular file");
    lt_writer_abort(w);
    LT_CHECK_FAILS(lt_file_write_atomic("/dev/full", "x", 1), LT_EIO, "No space left");
}

static bool is_link(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

/* "near" and "over" lead to "far/file" in a chain, there or not yet. */
LT_TEST(links_stay_and_what_they_lead_to_is_replaced)
{
    char *dir = fresh_dir("links"), *far = lt_path_join(dir, "far");
    char *near = lt_path_join(dir, "near"), *over = lt_path_join(dir, "over");
    char *file = lt_path_join(far, "file");
    lt_buf b = { 0 };

    LT_CHECK_OK(lt_mkdirs(far));
    LT_CHECK(symlink("far/file", near) == 0 && symlink(near, over) == 0);
    for (int again = 0; again < 2; again++) {
        LT_CHECK_OK(lt_file_write_atomic(over, again ? "new" : "old", 3));
        LT_CHECK(is_link(near) && is_link(over) && !is_link(file));
        LT_CHECK_OK(lt_file_read_all(&b, file, 100));
        LT_CHECK_STR(b.data, again ? "new" : "old");
        LT_CHECK_INT(count_entries(far), 1);
        LT_CHECK_INT(count_entries(dir), 3);
    }
    lt_buf_release(&b);
    free(file);
    free(over);
    free(near);
    free(far);
    free(dir);
}

LT_TEST(links_to_devices_to_nothing_and_in_circles)
{
    char *dir = fresh_dir("odd-links"), *null = lt_path_join(dir, "null");
    char *circle = lt_path_join(dir, "circle"), *nowhere = lt_path_join(dir, "nowhere");
    char *gone = lt_path_join(dir, "gone"), *open_one;
    char text[8] = "";
    lt_writer *w;
    int fd;

    LT_CHECK(symlink("/dev/null", null) == 0 && symlink("circle", circle) == 0 &&
             symlink("no/such/dir", nowhere) == 0);
    LT_CHECK_OK(lt_file_write_atomic(null, "x", 1));
    LT_CHECK(is_link(null));
    LT_CHECK_FAILS(lt_writer_open(&w, circle), LT_EIO, "more than 40 symbolic links");
    LT_CHECK_FAILS(lt_writer_open(&w, nowhere), LT_ENOENT, "nowhere: cannot create");
    LT_CHECK_INT(count_entries(dir), 3);
    /* as /dev/stdout is when its file was removed */
    fd = open(gone, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    LT_CHECK(fd >= 0 && write(fd, "longer", 6) == 6 && unlink(gone) == 0);
    open_one = lt_asprintf("/proc/self/fd/%d", fd);
    LT_CHECK_OK(lt_file_write_atomic(open_one, "new", 3));
    LT_CHECK_INT(pread(fd, text, sizeof text, 0), 3);
    LT_CHECK_STR(text, "new");
    LT_CHECK_INT(count_entries(dir), 3);
    close(fd);
    free(open_one);
    free(gone);
    free(nowhere);
    free(circle);
    free(null);
    free(dir);
}

LT_TEST(open_refuses_what_cannot_be_written)
{
    lt_writer *w = NULL;
    char *stale = lt_asprintf("%s.tmp.%ld", lt_test_tmp("stale"), (long)getpid());

    LT_CHECK_FAILS(lt_writer_open(&w, lt_test_tmp("no/such/dir")), LT_ENOENT, "cannot create");
    LT_CHECK_FAILS(lt_writer_open(&w, "/"), LT_EIO, "found a directory");
    LT_CHECK(!w);
    LT_CHECK_OK(lt_file_write_atomic(stale, "left over", 9));
    LT_CHECK_OK(lt_file_write_atomic(lt_test_tmp("stale"), "new", 3));
    LT_CHECK(!lt_path_exists(stale));
    free(stale);
}

/* Windows of 64 KiB while the file grows; the bytes and the holes are those of an unpaced file. */
LT_TEST(paced_writer_writes_the_same)
{
    enum { N = 1000003, PIECE = 4099 };
    char *path = lt_strdup(lt_test_tmp("paced")), *data = lt_new0(N);
    lt_buf b = { 0 };
    lt_writer *w;

    for (size_t i = 0; i < N; i++)
        data[i] = (char)(i * 31 >> 3);
    LT_CHECK_OK(lt_writer_open(&w, path));
    lt_writer_pace(w, 1 << 16);
    LT_CHECK_OK(lt_writer_preallocate(w, N + 12345));
    for (size_t i = 0, n; i < N; i += n) {
        n = N - i < PIECE ? N - i : PIECE;
        LT_CHECK_OK(lt_writer_write(w, data + i, n));
    }
    LT_CHECK_OK(lt_writer_pwrite(w, 0, "start", 5));
    LT_CHECK_OK(lt_writer_commit(w));
    LT_CHECK_OK(lt_file_read_all(&b, path, 1 << 21));
    LT_CHECK_INT(b.size, N);
    LT_CHECK(memcmp(b.data, "start", 5) == 0 && memcmp(b.data + 5, data + 5, N - 5) == 0);
    LT_CHECK_OK(lt_writer_open(&w, "/dev/null")); /* nothing to pace */
    lt_writer_pace(w, 1 << 16);
    LT_CHECK_OK(lt_writer_write(w, data, N));
    LT_CHECK_OK(lt_writer_commit(w));
    lt_buf_release(&b);
    free(path);
    free(data);
}

/* From here on the disk of this process fails while pages are written back. */
static bool refuse_write_back(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sync_file_range, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EIO),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { LT_COUNT(rules), rules };

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* The kernel tells of it once: the sync at the end may well succeed. */
LT_TEST(paced_writer_keeps_a_fault_of_the_write_back)
{
    enum { N = 1 << 20, REFUSED = 1, NOT_ALLOWED = 2 };
    char *path = lt_strdup(lt_test_tmp("write-back")), *data = lt_new0(N);
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        lt_writer *w;

        if (!refuse_write_back())
            _exit(NOT_ALLOWED);
        if (lt_writer_open(&w, path) != LT_OK)
            _exit(3);
        lt_writer_pace(w, 1 << 16);
        if (lt_writer_write(w, data, N) == LT_EIO && lt_writer_commit(w) == LT_EIO &&
            strstr(lt_err_text(), "write-back: Input/output"))
            _exit(REFUSED);
        _exit(0);
    }
    LT_CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    if (WEXITSTATUS(status) == NOT_ALLOWED)
        lt_test_skip("no seccomp filters here");
    else
        LT_CHECK_INT(WEXITSTATUS(status), REFUSED);
    LT_CHECK(!lt_path_exists(path));
    free(data);
    free(path);
}
