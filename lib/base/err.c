/* base/err.c - the per-thread error record. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local lt_err_record current;

lt_err lt_fail(lt_err code, const char *fmt, ...)
{
    /* Format into a second buffer: an argument may be lt_err_text() itself. */
    char text[LT_ERR_TEXT_BYTES];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    memcpy(current.text, text, sizeof text);
    current.code = code;
    return code;
}

lt_err lt_fail_in(const char *prefix_fmt, ...)
{
    char prefix[LT_ERR_TEXT_BYTES / 2], text[LT_ERR_TEXT_BYTES];
    va_list ap;

    va_start(ap, prefix_fmt);
    vsnprintf(prefix, sizeof prefix, prefix_fmt, ap);
    va_end(ap);
    memcpy(text, current.text, sizeof text);
    return lt_fail(current.code, "%s: %.*s", prefix, (int)(sizeof text - sizeof prefix), text);
}

const char *lt_err_text(void)
{
    return current.text;
}

void lt_err_take(lt_err_record *out)
{
    *out = current;
    current.code = LT_OK;
    current.text[0] = '\0';
}

lt_err lt_err_give(const lt_err_record *in)
{
    current = *in;
    return current.code;
}

int lt_err_exit_code(lt_err err)
{
    switch (err) {
    case LT_OK:
        return 0;
    case LT_EUSAGE:
        return 2;
    case LT_EFORMAT:
        return 65;
    case LT_ERESTART:
        return 75;
    default:
        return 1;
    }
}

void lt_bug(const char *file, int line, const char *func, const char *what)
{
    fprintf(stderr, "lt: bug at %s:%d in %s: %s\n", file, line, func, what);
    abort();
}
