/* base/log.c - messages and the progress line on stderr. */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
    const char *program;
    lt_log_level level;
    bool terminal, drawn;
    pthread_mutex_t lock;
} the_log = { .program = "lt", .level = LT_LOG_INFO, .lock = PTHREAD_MUTEX_INITIALIZER };

void lt_log_init(const char *program, lt_log_level level)
{
    the_log.program = program;
    the_log.level = level;
    the_log.terminal = isatty(STDERR_FILENO);
    setvbuf(stderr, NULL, _IOLBF, BUFSIZ); /* a line is one write: ranks share their stderr */
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is then an error of write(2), with a sentence */
}

static void wipe_progress(void)
{
    if (the_log.drawn)
        fputs("\r\033[K", stderr);
    the_log.drawn = false;
}

LT_PRINTF(3, 0) static void emit(lt_log_level level, const char *kind, const char *fmt, va_list ap)
{
    if (level > the_log.level)
        return;
    pthread_mutex_lock(&the_log.lock);
    wipe_progress();
    fprintf(stderr, "%s: %s", the_log.program, kind);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    pthread_mutex_unlock(&the_log.lock);
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

void lt_log_progress(const char *fmt, ...)
{
    va_list ap;

    if (!lt_log_progress_shown())
        return;
    pthread_mutex_lock(&the_log.lock);
    wipe_progress();
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fflush(stderr);
    the_log.drawn = true;
    pthread_mutex_unlock(&the_log.lock);
}

void lt_log_progress_end(void)
{
    pthread_mutex_lock(&the_log.lock);
    if (the_log.drawn)
        fputc('\n', stderr);
    the_log.drawn = false;
    pthread_mutex_unlock(&the_log.lock);
}

int lt_log_exit(lt_err err)
{
    if (err == LT_OK && (fflush(stdout) != 0 || ferror(stdout)))
        err = lt_fail(LT_EIO, "standard output: %s", strerror(errno));
    if (err != LT_OK)
        lt_log_error("%s", lt_err_text());
    return lt_err_exit_code(err);
}
