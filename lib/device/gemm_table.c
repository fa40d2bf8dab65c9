/* device/gemm_table.c - the table of chosen algorithms and its text. */
#include "device/gemm_table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TAIL = 21 }; /* " : F 0123456789abcdef" */

void lt_gemm_table_release(lt_gemm_table *t)
{
    free(t->items);
    *t = (lt_gemm_table){ 0 };
}

static lt_gemm_choice *find(const lt_gemm_table *t, const char *call)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->items[i].call, call) == 0)
            return &t->items[i];
    return NULL;
}

const lt_gemm_choice *lt_gemm_table_find(const lt_gemm_table *t, const char *call)
{
    return find(t, call);
}

void lt_gemm_table_put(lt_gemm_table *t, const lt_gemm_choice *choice)
{
    lt_gemm_choice *at = find(t, choice->call);

    if (!at) {
        if (t->n == LT_GEMM_TABLE_CALLS)
            return;
        lt_array_reserve(&t->items, &t->capacity, t->n + 1, sizeof *t->items);
        at = &t->items[t->n++];
    }
    *at = *choice;
}

void lt_gemm_table_write(const lt_gemm_table *t, const char *title, lt_buf *out)
{
    lt_buf_printf(out, "%s\n", title);
    for (size_t i = 0; i < t->n; i++)
        lt_buf_printf(out, "%s : %d %016" PRIx64 "\n", t->items[i].call, t->items[i].form,
                      t->items[i].fingerprint);
}

static bool is_word_text(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] < ' ' || s[i] > '~')
            return false;
    return true;
}

static bool parse_hex(const char *s, size_t n, uint64_t *out)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t x = 0;

    for (size_t i = 0; i < n; i++) {
        const char *digit = s[i] ? strchr(digits, s[i]) : NULL;

        if (!digit)
            return false;
        x = x << 4 | (uint64_t)(digit - digits);
    }
    *out = x;
    return true;
}

/* One line without its end. */
static bool parse_line(const char *line, size_t n, lt_gemm_choice *out)
{
    const char *tail;

    if (n <= TAIL || n - TAIL >= LT_GEMM_CALL_BYTES || !is_word_text(line, n))
        return false;
    tail = line + n - TAIL;
    if (memcmp(tail, " : ", 3) != 0 || tail[3] < '0' || tail[3] > '9' || tail[4] != ' ')
        return false;
    *out = (lt_gemm_choice){ .form = tail[3] - '0' };
    memcpy(out->call, line, n - TAIL);
    return parse_hex(tail + 5, TAIL - 5, &out->fingerprint);
}

/* Length of the line at `text`, its end not counted; false when it has none within n bytes. */
static bool line_length(const char *text, size_t n, size_t *length)
{
    const char *end = n ? memchr(text, '\n', n) : NULL;

    *length = end ? (size_t)(end - text) : 0;
    return end != NULL;
}

lt_err lt_gemm_table_read(lt_gemm_table *t, const char *title, const char *text, size_t n,
                          const char *source)
{
    lt_gemm_table lines = { 0 };
    lt_gemm_choice choice;
    size_t length, at, line = 1;
    lt_err err = LT_OK;

    if (n > LT_GEMM_TABLE_TEXT_BYTES)
        return lt_fail(LT_EFORMAT, "%s: expected at most %d bytes of GEMM choices, found %zu",
                       source, (int)LT_GEMM_TABLE_TEXT_BYTES, n);
    if (!line_length(text, n, &length) || !is_word_text(text, length))
        return lt_fail(LT_EFORMAT, "%s:1: expected \"%s\"", source, title);
    if (length != strlen(title) || memcmp(text, title, length) != 0)
        return lt_fail(LT_EMISMATCH, "%s:1: expected \"%s\", found \"%.*s\"", source, title,
                       length < 200 ? (int)length : 200, text);
    for (at = length + 1; at < n; at += length + 1) {
        line++;
        if (!line_length(text + at, n - at, &length) || !parse_line(text + at, length, &choice) ||
            lines.n == LT_GEMM_TABLE_CALLS) {
            err = lt_fail(LT_EFORMAT, "%s:%zu: expected a call, its form and 16 hex digits", source,
                          line);
            goto fail;
        }
        lt_gemm_table_put(&lines, &choice);
    }
    for (size_t i = 0; i < lines.n; i++)
        lt_gemm_table_put(t, &lines.items[i]);
fail:
    lt_gemm_table_release(&lines);
    return err;
}
