/* base/err.h - how lt reports faults.
 *
 * A call that can fail returns lt_err and leaves one sentence in a record of its thread, written by
 * lt_fail() at the place where the fault is known: what, where, expected, found.  Nobody prints on
 * the way up; only main() prints the sentence and exits with lt_err_exit_code().  A worker thread
 * hands its record to the thread that waits for it (lt_err_take there, lt_err_give here).
 * Our own mistakes (a wrong shape, a NULL) are not errors: LT_BUG_ON aborts. */
#ifndef LT_BASE_ERR_H
#define LT_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LT_MUST_USE        __attribute__((warn_unused_result))
#define LT_PRINTF(fmt, va) __attribute__((format(printf, fmt, va)))
#define LT_NORETURN        __attribute__((noreturn))

typedef enum lt_err {
    LT_OK = 0,
    LT_EIO,       /* the system refused: open, read, write, fsync, disk full             exit 1 */
    LT_ENOMEM,    /* a size that came from data does not fit into memory                 exit 1 */
    LT_ENOENT,    /* a file or a name that was asked for is not there                    exit 1 */
    LT_EFAULT,    /* a device or the communicator failed                                 exit 1 */
    LT_ENOTSUP,   /* understood, but this build or backend cannot do it                  exit 1 */
    LT_EMISMATCH, /* two inputs do not belong together (vocabulary, shape, digest)       exit 1 */
    LT_EUSAGE,    /* the command line or the configuration is wrong                      exit 2 */
    LT_EFORMAT,   /* a file is damaged, truncated or not what it should be               exit 65 */
    LT_ERESTART,  /* state was saved; start again to go on                               exit 75 */
} lt_err;

enum { LT_ERR_TEXT_BYTES = 1536 };

typedef struct lt_err_record {
    lt_err code;
    char text[LT_ERR_TEXT_BYTES];
} lt_err_record;

/* Records the sentence for this thread and returns `code`, so `return lt_fail(...)` reads well.
 * No trailing newline or full stop.  LT_EIO sentences usually end in ": %s", strerror(errno). */
lt_err lt_fail(lt_err code, const char *fmt, ...) LT_PRINTF(2, 3);

/* Puts "prefix: " in front of the recorded sentence; returns the recorded code. */
lt_err lt_fail_in(const char *prefix_fmt, ...) LT_PRINTF(1, 2);

const char *lt_err_text(void);               /* the sentence of the last lt_fail of this thread */
void lt_err_take(lt_err_record *out);        /* copies this thread's record and clears it */
lt_err lt_err_give(const lt_err_record *in); /* makes `in` this thread's record; returns its code */
int lt_err_exit_code(lt_err err);            /* 0, 1, 2, 65 or 75 */

/* LT_TRY(err = call(...)): go to the function's one label `fail` unless LT_OK. */
#define LT_TRY(assignment)                                                                         \
    do {                                                                                           \
        if ((assignment) != LT_OK)                                                                 \
            goto fail;                                                                             \
    } while (0)

/* LT_BUG_ON(condition that must never hold): always on, prints the condition and aborts. */
#define LT_BUG_ON(cond)                                                                            \
    do {                                                                                           \
        if (__builtin_expect(!!(cond), 0))                                                         \
            lt_bug(__FILE__, __LINE__, __func__, #cond);                                           \
    } while (0)
LT_NORETURN void lt_bug(const char *file, int line, const char *func, const char *what);

#ifdef __cplusplus
}
#endif
#endif
