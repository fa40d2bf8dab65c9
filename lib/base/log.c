/* base/log.c - messages and the progress line on stderr. */
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct {
    const char *program;
    lt_log_level level;
    bool terminal, drawn, defers;
    pthread_mutex_t lock;
    lt_buf line; /* what the next write says */
} the_log = { .program = "lt", .level = LT_LOG_INFO, .lock = PTHREAD_MUTEX_INITIALIZER };

/* A descriptor 0 to 2 that came closed would be that of the next file opened, and messages would go
 * into it.  O_PATH: reading and writing fail as before. */
static void fill_standard_files(void)
{
    int fd;

    do
        fd = open("/dev/null", O_PATH);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

void lt_log_init(const char *program, lt_log_level level)
{
    fill_standard_files();
    the_log.program = program;
    the_log.level = level;
    the_log.terminal = isatty(STDERR_FILENO);
    the_log.defers = false;
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is then an error of write(2), with a sentence */
}

/* From here to put_line() the lock is held. */
static void begin_line(void)
{
    pthread_mutex_lock(&the_log.lock);
    lt_buf_clear(&the_log.line);
    if (the_log.drawn)
        lt_buf_printf(&the_log.line, "\r\033[K");
    the_log.drawn = false;
}

/* One write, so that lines of many ranks do not mix.  A pipe that is full for now and does not wait
 * is waited for; that nobody listens any more can be told to nobody. */
static void put_line(void)
{
    const char *from = the_log.line.data;
    size_t left = the_log.line.size;

    while (left > 0) {
        ssize_t n = write(STDERR_FILENO, from, left);

        if (n < 0 && errno == EAGAIN)
            (void)poll(&(struct pollfd){ .fd = STDERR_FILENO, .events = POLLOUT }, 1, -1);
        else if (n < 0 && errno != EINTR)
            break;
        from += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    pthread_mutex_unlock(&the_log.lock);
}

LT_PRINTF(3, 0) static void emit(lt_log_level level, const char *kind, const char *fmt, va_list ap)
{
    if (level > the_log.level)
        return;
    begin_line();
    lt_buf_printf(&the_log.line, "%s: %s", the_log.program, kind);
    lt_buf_vprintf(&the_log.line, fmt, ap);
    lt_buf_printf(&the_log.line, "\n");
    put_line();
}

#define LOG_BODY(level, kind)                                                                      \
    do {                                                                                           \
        va_list ap;                                                                                \
        va_start(ap, fmt);                                                                         \
        emit(level, kind, fmt, ap);                                                                \
        va_end(ap);                                                                                \
    } while (0)

void lt_log_error(const char *fmt, ...)
{
    LOG_BODY(LT_LOG_ERROR, "error: ");
}

void lt_log_warn(const char *fmt, ...)
{
    LOG_BODY(LT_LOG_WARN, "warning: ");
}

void lt_log_info(const char *fmt, ...)
{
    LOG_BODY(LT_LOG_INFO, "");
}

void lt_log_debug(const char *fmt, ...)
{
    LOG_BODY(LT_LOG_DEBUG, "debug: ");
}

bool lt_log_progress_shown(void)
{
    return the_log.terminal && the_log.level >= LT_LOG_INFO;
}

/* A line that wraps is not wiped as a whole, so each redrawing would leave a part of it. */
static void cut_to_terminal(lt_buf *line, size_t first)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 ||
        line->size < first + size.ws_col)
        return;
    line->size = first + size.ws_col - 1;
    line->data[line->size] = '\0';
}

void lt_log_progress(const char *fmt, ...)
{
    va_list ap;
    size_t first;

    if (!lt_log_progress_shown())
        return;
    begin_line();
    first = the_log.line.size;
    va_start(ap, fmt);
    lt_buf_vprintf(&the_log.line, fmt, ap);
    va_end(ap);
    cut_to_terminal(&the_log.line, first);
    the_log.drawn = true;
    put_line();
}

void lt_log_progress_end(void)
{
    pthread_mutex_lock(&the_log.lock);
    lt_buf_clear(&the_log.line);
    if (the_log.drawn)
        lt_buf_printf(&the_log.line, "\n");
    the_log.drawn = false;
    put_line();
}

void lt_log_defer(void)
{
    the_log.defers = true;
}

bool lt_log_defers(void)
{
    return the_log.defers;
}

int lt_log_exit(lt_err err)
{
    if (err == LT_OK && (fflush(stdout) != 0 || ferror(stdout)))
        err = lt_fail(LT_EIO, "standard output: %s", strerror(errno));
    if (err == LT_EUSAGE && the_log.defers)
        sleep(1); /* a launcher ends all with the first that ends: let the other one speak */
    else if (err != LT_OK)
        lt_log_error("%s", lt_err_text());
    return lt_err_exit_code(err);
}
