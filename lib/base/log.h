/* base/log.h - talk on stderr: one line a message, prefixed with the program's name.
 *
 * Data goes to stdout and never through here.  A progress line is drawn only when stderr is a
 * terminal and is wiped before any message, so the two never mix.  Each goes out in one write(2),
 * so lines of many processes do not mix either (on a pipe: up to PIPE_BUF bytes).  Safe from any
 * thread. */
#ifndef LT_BASE_LOG_H
#define LT_BASE_LOG_H

#include "base/err.h"

typedef enum lt_log_level {
    LT_LOG_QUIET,
    LT_LOG_ERROR,
    LT_LOG_WARN,
    LT_LOG_INFO,
    LT_LOG_DEBUG
} lt_log_level;

/* First call of every main().  Also makes a file size limit an error instead of a signal, and keeps
 * standard files that came closed from becoming other files. */
void lt_log_init(const char *program, lt_log_level level); /* `program` is borrowed for ever */
void lt_log_error(const char *fmt, ...) LT_PRINTF(1, 2);
void lt_log_warn(const char *fmt, ...) LT_PRINTF(1, 2);
void lt_log_info(const char *fmt, ...) LT_PRINTF(1, 2);
void lt_log_debug(const char *fmt, ...) LT_PRINTF(1, 2);

/* Redraws the progress line, ASCII, cut to the width of the terminal; nothing when stderr is none
 * or the level is below INFO. */
void lt_log_progress(const char *fmt, ...) LT_PRINTF(1, 2);
void lt_log_progress_end(void);   /* keeps the last progress line and moves on */
bool lt_log_progress_shown(void); /* would lt_log_progress draw? */

/* This process is one of several with the same command line, and another one speaks for all: what
 * is the same in each, --help and its like and the sentence of LT_EUSAGE, is left to that one.
 * Until the next lt_log_init. */
void lt_log_defer(void);
bool lt_log_defers(void);

/* What main() ends with: prints the recorded sentence if err is not LT_OK, checks that stdout could
 * be written to its end, and returns the exit code. */
int lt_log_exit(lt_err err);

#endif
