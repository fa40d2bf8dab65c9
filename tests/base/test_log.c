/* test_log.c - what reaches stderr, on a file and on a terminal, and in how many writes; what
 * main() returns. */
#include "base/file.h"
#include "base/log.h"
#include "lt_test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int saved_fd;
static char text[4096];
static int n_writes;         /* to stderr */
static const char *troubles; /* what the next of them meet, a letter each */

/* The log's writes come here instead of the C library's. */
ssize_t write(int fd, const void *data, size_t n)
{
    char trouble = ' ';

    if (fd == STDERR_FILENO) {
        n_writes++;
        if (troubles && *troubles)
            trouble = *troubles++;
    }
    if (trouble == 'i' || trouble == 'a') {
        errno = trouble == 'i' ? EINTR : EAGAIN;
        return -1;
    }
    return syscall(SYS_write, fd, data, trouble == 's' && n > 1 ? n / 2 : n);
}

/* From here to restore() descriptor `fd` is `target`, which is closed. */
static void redirect(int fd, int target)
{
    fflush(NULL);
    saved_fd = dup(fd);
    dup2(target, fd);
    close(target);
}

static void restore(int fd)
{
    fflush(NULL);
    dup2(saved_fd, fd);
    close(saved_fd);
    lt_log_init("test", LT_LOG_ERROR);
}

/* Talks at `level` into a file and leaves what came in text[]. */
static void talk(lt_log_level level)
{
    const char *path = lt_test_tmp("log");
    lt_buf b = { 0 };

    redirect(STDERR_FILENO, open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
    lt_log_init("lt-x", level);
    n_writes = 0;
    lt_log_error("e %d", 1);
    lt_log_warn("w");
    lt_log_info("i");
    lt_log_progress("50%%");
    lt_log_progress_end();
    lt_log_debug("d");
    restore(STDERR_FILENO);
    if (lt_file_read_all(&b, path, sizeof text) != LT_OK)
        lt_test_fail(__FILE__, __LINE__, "%s", lt_err_text());
    snprintf(text, sizeof text, "%s", lt_buf_cstr(&b));
    lt_buf_release(&b);
}

LT_TEST(levels_filter_and_lines_are_prefixed)
{
    talk(LT_LOG_QUIET);
    LT_CHECK_STR(text, "");
    talk(LT_LOG_WARN);
    LT_CHECK_STR(text, "lt-x: error: e 1\nlt-x: warning: w\n");
    talk(LT_LOG_DEBUG); /* a file is no terminal: no progress */
    LT_CHECK_STR(text, "lt-x: error: e 1\nlt-x: warning: w\nlt-x: i\nlt-x: debug: d\n");
    LT_CHECK_INT(n_writes, 4); /* a line each: lines of many ranks do not mix */
}

LT_TEST(a_line_that_goes_out_in_parts_is_whole)
{
    const char *path = lt_test_tmp("parts");
    char *word = lt_new0(20001), *expected;
    lt_buf b = { 0 };
    bool same;

    memset(word, 'x', 20000);
    expected = lt_asprintf("lt-x: %s\n", word);
    redirect(STDERR_FILENO, open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
    lt_log_init("lt-x", LT_LOG_INFO);
    n_writes = 0;
    lt_log_info("%s", word);
    troubles = "isass";
    lt_log_info("%s", word);
    troubles = NULL;
    restore(STDERR_FILENO);
    LT_CHECK_INT(n_writes, 1 + 6);
    LT_CHECK_OK(lt_file_read_all(&b, path, 1 << 20));
    same = b.size == 2 * strlen(expected) && memcmp(b.data, expected, strlen(expected)) == 0 &&
           strcmp(b.data + strlen(expected), expected) == 0;
    LT_CHECK(same);
    lt_buf_release(&b);
    free(expected);
    free(word);
}

/* What a terminal shows up to and with `last`, into text[]; gives up after a silent second. */
static void read_terminal(int master, const char *last)
{
    struct pollfd p = { .fd = master, .events = POLLIN };
    size_t n = 0;

    text[0] = '\0';
    while (!strstr(text, last) && poll(&p, 1, 1000) > 0) {
        ssize_t k = read(master, text + n, sizeof text - 1 - n);

        if (k <= 0)
            return;
        n += (size_t)k;
        text[n] = '\0';
    }
}

LT_TEST(progress_is_wiped_before_a_message)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    bool shown, shown_quiet;

    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
        lt_test_skip("no pseudo terminal");
        return;
    }
    redirect(STDERR_FILENO, open(ptsname(master), O_RDWR | O_NOCTTY));
    lt_log_init("lt-x", LT_LOG_ERROR);
    shown_quiet = lt_log_progress_shown();
    lt_log_init("lt-x", LT_LOG_INFO);
    shown = lt_log_progress_shown();
    n_writes = 0;
    lt_log_progress("one");
    lt_log_progress("two");
    lt_log_info("i");
    lt_log_progress("three");
    (void)ioctl(master, TIOCSWINSZ, &(struct winsize){ .ws_row = 9, .ws_col = 8 });
    lt_log_progress("1234567");
    lt_log_progress("123456789"); /* would wrap, and only its end would be wiped */
    lt_log_progress_end();
    read_terminal(master, "1234567\r\n");
    restore(STDERR_FILENO);
    close(master);
    LT_CHECK(shown && !shown_quiet);
    LT_CHECK_INT(n_writes, 7); /* a line and its wiping in one */
    LT_CHECK_STR(text, "one\r\033[Ktwo\r\033[Klt-x: i\r\nthree\r\033[K1234567\r\033[K1234567\r\n");
}

LT_TEST(exit_prints_the_sentence)
{
    const char *path = lt_test_tmp("exit");
    lt_buf b = { 0 };
    int ok, corrupt;

    redirect(STDERR_FILENO, open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
    lt_log_init("lt-x", LT_LOG_ERROR);
    ok = lt_log_exit(LT_OK);
    corrupt = lt_log_exit(lt_fail(LT_EFORMAT, "f: bad magic"));
    restore(STDERR_FILENO);
    LT_CHECK_INT(ok, 0);
    LT_CHECK_INT(corrupt, 65);
    LT_CHECK_OK(lt_file_read_all(&b, path, 4096));
    LT_CHECK_STR(b.data, "lt-x: error: f: bad magic\n");
    lt_buf_release(&b);
}

LT_TEST(exit_leaves_usage_to_the_one_that_speaks_for_all)
{
    const char *path = lt_test_tmp("defer");
    lt_buf b = { 0 };
    int usage, missing, own;

    redirect(STDERR_FILENO, open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
    lt_log_init("lt-x", LT_LOG_INFO);
    lt_log_defer();
    usage = lt_log_exit(lt_fail(LT_EUSAGE, "unknown option --x"));
    missing = lt_log_exit(lt_fail(LT_ENOENT, "f: not there")); /* maybe only here */
    lt_log_init("lt-x: rank 1", LT_LOG_ERROR);
    own = lt_log_exit(lt_fail(LT_EUSAGE, "alone"));
    restore(STDERR_FILENO);
    LT_CHECK_INT(usage, 2);
    LT_CHECK_INT(missing, 1);
    LT_CHECK_INT(own, 2);
    LT_CHECK_OK(lt_file_read_all(&b, path, 4096));
    LT_CHECK_STR(b.data, "lt-x: error: f: not there\nlt-x: rank 1: error: alone\n");
    lt_buf_release(&b);
}

LT_TEST(exit_notices_a_full_standard_output)
{
    int rc;

    redirect(STDOUT_FILENO, open("/dev/full", O_WRONLY));
    lt_log_init("lt-x", LT_LOG_QUIET);
    printf("data"); /* no newline: it must still be in the buffer */
    rc = lt_log_exit(LT_OK);
    clearerr(stdout);
    restore(STDOUT_FILENO);
    LT_CHECK_INT(rc, 1);
    LT_CHECK_STR(lt_err_text(), "standard output: No space left on device");
}
