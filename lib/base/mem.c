/* base/mem.c - checked allocation and the byte string. */
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

LT_NORETURN static void die_of_memory(size_t bytes)
{
    fprintf(stderr, "lt: out of memory asking for %zu bytes\n", bytes);
    exit(1);
}

void *lt_new0(size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);

    if (!p)
        die_of_memory(bytes);
    return p;
}

void *lt_new_array0(size_t n, size_t bytes)
{
    void *p = calloc(n ? n : 1, bytes);

    if (!p)
        die_of_memory(n * bytes);
    return p;
}

char *lt_strdup(const char *s)
{
    char *p = strdup(s);

    if (!p)
        die_of_memory(strlen(s) + 1);
    return p;
}

char *lt_asprintf(const char *fmt, ...)
{
    char *p = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&p, fmt, ap) < 0)
        die_of_memory(0);
    va_end(ap);
    return p;
}

bool lt_size_muladd(uint64_t a, uint64_t b, uint64_t c, uint64_t *out)
{
    uint64_t product;

    return !__builtin_mul_overflow(a, b, &product) && !__builtin_add_overflow(product, c, out);
}

lt_err lt_alloc_array(void *out, uint64_t n, size_t bytes, const char *what)
{
    uint64_t total;
    void *p = NULL;

    if (lt_size_muladd(n, bytes, 0, &total) && total <= SIZE_MAX / 2)
        p = calloc(n ? (size_t)n : 1, bytes);
    if (!p)
        return lt_fail(LT_ENOMEM, "%s: no memory for %llu elements of %zu bytes", what,
                       (unsigned long long)n, bytes);
    *(void **)out = p;
    return LT_OK;
}

void lt_array_reserve(void *array, size_t *capacity, size_t need, size_t bytes)
{
    void **p = array;
    size_t grown;

    if (need <= *capacity)
        return;
    grown = *capacity + *capacity / 2 + 16;
    if (grown < need)
        grown = need;
    *p = reallocarray(*p, grown, bytes);
    if (!*p)
        die_of_memory(grown * bytes);
    *capacity = grown;
}

void lt_buf_release(lt_buf *b)
{
    free(b->data);
    *b = (lt_buf){ 0 };
}

void lt_buf_clear(lt_buf *b)
{
    b->size = 0;
    if (b->data)
        b->data[0] = '\0';
}

void lt_buf_reserve(lt_buf *b, size_t more)
{
    LT_BUG_ON(b->size + more + 1 < more);
    lt_array_reserve(&b->data, &b->capacity, b->size + more + 1, 1);
}

void lt_buf_append(lt_buf *b, const void *data, size_t n)
{
    lt_buf_reserve(b, n);
    if (n)
        memcpy(b->data + b->size, data, n);
    b->size += n;
    b->data[b->size] = '\0';
}

void lt_buf_vprintf(lt_buf *b, const char *fmt, va_list ap)
{
    va_list again;
    int n;

    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    LT_BUG_ON(n < 0);
    lt_buf_reserve(b, (size_t)n);
    vsnprintf(b->data + b->size, (size_t)n + 1, fmt, ap);
    b->size += (size_t)n;
}

void lt_buf_printf(lt_buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    lt_buf_vprintf(b, fmt, ap);
    va_end(ap);
}

const char *lt_buf_cstr(lt_buf *b)
{
    if (!b->data)
        lt_buf_append(b, "", 0);
    return b->data;
}

uint64_t lt_peak_rss(void)
{
    struct rusage use;

    return getrusage(RUSAGE_SELF, &use) == 0 ? (uint64_t)use.ru_maxrss * 1024 : 0;
}
