/* ckpt/safetensors.c - the reader: the prefix, then the header, then ranges of data.
 *
 *     8 bytes N, little endian | N bytes JSON | data */
#include "ckpt/safetensors.h"
#include "base/file.h"
#include "ckpt/safetensors_header.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BOUNCE_BYTES = 1 << 16 };

struct lt_safetensors {
    lt_file file; /* closed when parsed from memory */
    char *name;
    lt_safetensors_header header;
};

const char *lt_shape_text(char dst[LT_SHAPE_TEXT_BYTES], int n_dims, const uint64_t *dims)
{
    size_t n = 0;

    dst[n++] = '[';
    for (int i = 0; i < n_dims; i++)
        n += (size_t)snprintf(dst + n, LT_SHAPE_TEXT_BYTES - n, "%s%" PRIu64, i ? ", " : "",
                              dims[i]);
    dst[n++] = ']';
    dst[n] = '\0';
    return dst;
}

/* Little endian N; checked against the limit and the file. */
static lt_err header_bytes(const uint8_t prefix[LT_SAFETENSORS_PREFIX], uint64_t file_size,
                           const char *name, uint64_t *n)
{
    *n = 0;
    for (int i = LT_SAFETENSORS_PREFIX; i-- > 0;)
        *n = *n << 8 | prefix[i];
    if (*n > LT_SAFETENSORS_MAX_HEADER)
        return lt_fail(LT_EFORMAT, "%s: header of %" PRIu64 " bytes, expected at most %d", name, *n,
                       LT_SAFETENSORS_MAX_HEADER);
    if (*n > file_size - LT_SAFETENSORS_PREFIX)
        return lt_fail(LT_EFORMAT,
                       "%s: truncated: header of %" PRIu64 " bytes, the file has %" PRIu64, name,
                       *n, file_size);
    return LT_OK;
}

lt_err lt_safetensors_parse(lt_safetensors **out, const void *bytes, size_t n, uint64_t file_size,
                            const char *name)
{
    lt_safetensors *st;
    uint64_t header;
    lt_err err;

    if (n < LT_SAFETENSORS_PREFIX || n > file_size)
        return lt_fail(LT_EFORMAT, "%s: truncated: %zu bytes, a safetensors file has at least 8",
                       name, n);
    st = lt_new0(sizeof *st);
    st->name = lt_strdup(name);
    LT_TRY(err = header_bytes(bytes, file_size, name, &header));
    if (header > n - LT_SAFETENSORS_PREFIX) {
        err = lt_fail(LT_EFORMAT, "%s: truncated: header of %" PRIu64 " bytes, found %zu", name,
                      header, n - LT_SAFETENSORS_PREFIX);
        goto fail;
    }
    LT_TRY(err = lt_safetensors_header_parse(
               &st->header, (const char *)bytes + LT_SAFETENSORS_PREFIX, header, file_size, name));
    *out = st;
    return LT_OK;
fail:
    lt_safetensors_close(st);
    return err;
}

lt_err lt_safetensors_open(lt_safetensors **out, const char *path)
{
    lt_safetensors *st = lt_new0(sizeof *st);
    uint8_t prefix[LT_SAFETENSORS_PREFIX];
    char *text = NULL;
    uint64_t n;
    lt_err err;

    st->name = lt_strdup(path);
    LT_TRY(err = lt_file_open_read(&st->file, path));
    LT_TRY(err = lt_file_pread(&st->file, 0, prefix, sizeof prefix));
    LT_TRY(err = header_bytes(prefix, st->file.size, path, &n));
    LT_TRY(err = lt_alloc_array(&text, n, 1, path));
    LT_TRY(err = lt_file_pread(&st->file, LT_SAFETENSORS_PREFIX, text, (size_t)n));
    LT_TRY(err = lt_safetensors_header_parse(&st->header, text, n, st->file.size, path));
    free(text);
    *out = st;
    return LT_OK;
fail:
    free(text);
    lt_safetensors_close(st);
    return err;
}

void lt_safetensors_close(lt_safetensors *st)
{
    if (!st)
        return;
    lt_safetensors_header_release(&st->header);
    free(st->name);
    lt_file_close(&st->file);
    free(st);
}

const char *lt_safetensors_path(const lt_safetensors *st)
{
    return st->name;
}

size_t lt_safetensors_count(const lt_safetensors *st)
{
    return st->header.n_tensors;
}

const lt_safetensor *lt_safetensors_at(const lt_safetensors *st, size_t i)
{
    LT_BUG_ON(i >= st->header.n_tensors);
    return &st->header.tensors[i];
}

const lt_safetensor *lt_safetensors_find(const lt_safetensors *st, const char *name)
{
    return lt_safetensors_header_find(&st->header, name);
}

const char *lt_safetensors_metadata(const lt_safetensors *st, const char *key)
{
    for (size_t i = 0; i < st->header.n_metadata; i++)
        if (strcmp(st->header.metadata[i].key, key) == 0)
            return st->header.metadata[i].value;
    return NULL;
}

lt_err lt_safetensors_read(const lt_safetensors *st, const lt_safetensor *t, uint64_t first,
                           uint64_t n, void *dst, lt_dtype dst_dtype)
{
    uint64_t bounce[BOUNCE_BYTES / 8]; /* aligned for any type; the file need not be */
    size_t from_bytes, to_bytes;
    lt_err err;

    LT_BUG_ON(first > t->count || n > t->count - first || !st->file.path);
    if (t->dtype == LT_N_DTYPES)
        return lt_fail(LT_ENOTSUP, "%s: tensor %s: lt cannot read dtype %s", st->name, t->name,
                       t->dtype_name);
    from_bytes = lt_dtype_bytes(t->dtype);
    to_bytes = lt_dtype_bytes(dst_dtype);
    if (t->dtype == dst_dtype)
        return lt_file_pread(&st->file, t->begin + first * from_bytes, dst, n * from_bytes);
    for (uint64_t done = 0, k; done < n; done += k) {
        k = BOUNCE_BYTES / from_bytes;
        if (k > n - done)
            k = n - done;
        LT_TRY(err = lt_file_pread(&st->file, t->begin + (first + done) * from_bytes, bounce,
                                   k * from_bytes));
        lt_convert((char *)dst + done * to_bytes, dst_dtype, bounce, t->dtype, k);
    }
    return LT_OK;
fail:
    return err;
}
