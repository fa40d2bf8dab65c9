/* base/mem.h - host memory.
 *
 * Small allocations of our own size die on failure (lt_new0, lt_strdup): nobody can go on without
 * them.  Sizes that come from data go through lt_alloc_array, which checks the product and returns
 * LT_ENOMEM.  lt_buf is the growing byte string of every writer and reader. */
#ifndef LT_BASE_MEM_H
#define LT_BASE_MEM_H

#include "base/err.h"

#include <stdarg.h>

void *lt_new0(size_t bytes);                             /* zeroed; dies on failure; free() it */
void *lt_new_array0(size_t n, size_t bytes);             /* the same for n elements */
char *lt_strdup(const char *s);                          /* dies on failure */
char *lt_asprintf(const char *fmt, ...) LT_PRINTF(1, 2); /* dies on failure */

/* Zeroed n * bytes for a count that a file or a user named; `what` names it in the error. */
LT_MUST_USE lt_err lt_alloc_array(void *out, uint64_t n, size_t bytes, const char *what);

/* a * b + c without wrap; false when it does not fit. */
bool lt_size_muladd(uint64_t a, uint64_t b, uint64_t c, uint64_t *out);

/* A growing byte string; {0} is empty.  data is NUL-terminated when size > 0 or after
 * lt_buf_cstr. */
typedef struct lt_buf {
    char *data;
    size_t size, capacity;
} lt_buf;
void lt_buf_release(lt_buf *b);
void lt_buf_clear(lt_buf *b); /* keeps the memory */
void lt_buf_reserve(lt_buf *b, size_t more);
void lt_buf_append(lt_buf *b, const void *data, size_t n);
void lt_buf_printf(lt_buf *b, const char *fmt, ...) LT_PRINTF(2, 3);
void lt_buf_vprintf(lt_buf *b, const char *fmt, va_list ap) LT_PRINTF(2, 0);
const char *lt_buf_cstr(lt_buf *b); /* never NULL */

/* Grows *array (element size bytes) so that it holds at least `need`; *capacity follows.  Dies. */
void lt_array_reserve(void *array, size_t *capacity, size_t need, size_t bytes);

/* Peak resident set of this process in bytes (getrusage), 0 if unknown. */
uint64_t lt_peak_rss(void);
/* Bytes of memory that this process can have without pushing others out, by the machine and by the
 * limits of its control groups; 0 if nobody can tell.  _below reads /proc and /sys of that root. */
uint64_t lt_memory_available(void);
uint64_t lt_memory_available_below(const char *root);

#define LT_ALIGN_UP(x, a) (((x) + ((a)-1)) / (a) * (a)) /* for any positive a */
#define LT_COUNT(array)   (sizeof(array) / sizeof((array)[0]))

#endif
