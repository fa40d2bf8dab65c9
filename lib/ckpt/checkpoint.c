/* ckpt/checkpoint.c - the logical tensor space over verified bytes. */
#include "ckpt/checkpoint.h"
#include "base/file.h"
#include "ckpt/checkpoint_blocks.h"
#include "ckpt/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BOUNCE_BYTES = 1 << 16, MAX_BLOB_BYTES = 1 << 30 };

struct lt_ckpt {
    char *path;
    lt_manifest *m;
    lt_ckpt_blocks *blocks;
};

static lt_err read_manifest(lt_manifest **out, const char *path)
{
    lt_file file = { 0 };
    char *text = NULL;
    lt_err err;

    LT_TRY(err = lt_file_open_read(&file, path));
    if (file.size > LT_MANIFEST_MAX_BYTES) {
        err = lt_fail(LT_EFORMAT, "%s: %" PRIu64 " bytes, expected at most %d", path, file.size,
                      LT_MANIFEST_MAX_BYTES);
        goto fail;
    }
    LT_TRY(err = lt_alloc_array(&text, file.size, 1, path));
    LT_TRY(err = lt_file_pread(&file, 0, text, (size_t)file.size));
    LT_TRY(err = lt_manifest_parse(out, text, (size_t)file.size, path));
fail:
    free(text);
    lt_file_close(&file);
    return err;
}

lt_err lt_ckpt_open(lt_ckpt **out, const char *path)
{
    lt_ckpt *c = lt_new0(sizeof *c);
    char *manifest = lt_path_join(path, LT_MANIFEST_NAME);
    lt_err err;

    c->path = lt_strdup(path);
    for (size_t n = strlen(path); n > 1 && c->path[n - 1] == '/'; n--)
        c->path[n - 1] = '\0';
    LT_TRY(err = read_manifest(&c->m, manifest));
    LT_TRY(err = lt_ckpt_blocks_open(&c->blocks, c->path, c->m));
    free(manifest);
    *out = c;
    return LT_OK;
fail:
    free(manifest);
    lt_ckpt_close(c);
    return err;
}

void lt_ckpt_close(lt_ckpt *c)
{
    if (!c)
        return;
    lt_ckpt_blocks_close(c->blocks);
    lt_manifest_free(c->m);
    free(c->path);
    free(c);
}

const char *lt_ckpt_path(const lt_ckpt *c)
{
    return c->path;
}

const lt_manifest *lt_ckpt_manifest(const lt_ckpt *c)
{
    return c->m;
}

static lt_err check_tensor(const lt_ckpt *c, const lt_ckpt_tensor *want)
{
    int64_t index = lt_manifest_tensor(c->m, want->name);
    char a[LT_SHAPE_TEXT_BYTES], b[LT_SHAPE_TEXT_BYTES];
    const lt_ckpt_tensor *have;

    if (index < 0)
        return lt_fail(LT_EMISMATCH, "%s: tensor %s is missing", c->path, want->name);
    have = &c->m->tensors[index];
    if (have->n_dims != want->n_dims ||
        memcmp(have->dims, want->dims, (size_t)want->n_dims * sizeof want->dims[0]) != 0)
        return lt_fail(LT_EMISMATCH, "%s: tensor %s: expected shape %s, found %s", c->path,
                       want->name, lt_shape_text(a, want->n_dims, want->dims),
                       lt_shape_text(b, have->n_dims, have->dims));
    if (have->layout != want->layout)
        return lt_fail(LT_EMISMATCH, "%s: tensor %s: the Hugging Face layout differs", c->path,
                       want->name);
    return LT_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

lt_err lt_ckpt_check(const lt_ckpt *c, const lt_ckpt_tensor *expected, size_t n)
{
    const char **names;
    lt_err err;

    LT_TRY(err = lt_alloc_array(&names, n, sizeof *names, c->path));
    for (size_t i = 0; i < n && err == LT_OK; i++) {
        err = check_tensor(c, &expected[i]);
        names[i] = expected[i].name;
    }
    if (n > 0 && err == LT_OK)
        qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 0; i < c->m->n_tensors && err == LT_OK; i++)
        if (!bsearch(&c->m->tensors[i].name, names, n, sizeof *names, compare_names))
            err = lt_fail(LT_EMISMATCH, "%s: tensor %s does not belong to this model", c->path,
                          c->m->tensors[i].name);
    free(names);
fail:
    return err;
}

/* Elements [first, first + n) of one slice, converted. */
static lt_err read_slice(lt_ckpt *c, const lt_manifest_piece *p, uint64_t first, uint64_t n,
                         char *dst, lt_dtype dst_dtype)
{
    uint64_t bounce[BOUNCE_BYTES / 8]; /* aligned for any type; the file need not be */
    size_t from_bytes = lt_dtype_bytes(p->slice.dtype), to_bytes = lt_dtype_bytes(dst_dtype);
    uint64_t offset = p->slice.offset + first * from_bytes;
    lt_err err;

    if (p->slice.dtype == dst_dtype)
        return lt_ckpt_blocks_read(c->blocks, p->file, offset, dst, n * from_bytes);
    for (uint64_t done = 0, k; done < n; done += k) {
        k = BOUNCE_BYTES / from_bytes;
        if (k > n - done)
            k = n - done;
        LT_TRY(err = lt_ckpt_blocks_read(c->blocks, p->file, offset + done * from_bytes, bounce,
                                         k * from_bytes));
        lt_convert(dst + done * to_bytes, dst_dtype, bounce, p->slice.dtype, k);
    }
    return LT_OK;
fail:
    return err;
}

lt_err lt_ckpt_read(lt_ckpt *c, const char *group, const char *name, uint64_t first, uint64_t count,
                    void *dst, lt_dtype dst_dtype)
{
    int64_t index = lt_manifest_tensor(c->m, name);
    const lt_manifest_piece *p;
    uint64_t total;
    size_t n_pieces;
    char *to = dst;
    lt_err err;

    if (index < 0)
        return lt_fail(LT_ENOENT, "%s: no tensor %s", c->path, name);
    total = lt_ckpt_tensor_count(&c->m->tensors[index]);
    if (first > total || count > total - first)
        return lt_fail(LT_EMISMATCH,
                       "%s: tensor %s: elements %" PRIu64 " to %" PRIu64
                       " asked for, it has %" PRIu64,
                       c->path, name, first, first + count, total);
    p = lt_manifest_pieces(c->m, group, (uint32_t)index, &n_pieces);
    if (n_pieces == 0)
        return lt_fail(LT_ENOENT, "%s: group %s does not hold tensor %s", c->path, group, name);
    for (size_t i = 0; i < n_pieces && count > 0; i++) {
        const lt_manifest_slice *s = &p[i].slice;
        uint64_t n;

        if (first >= s->first + s->count)
            continue;
        n = s->first + s->count - first;
        n = n < count ? n : count;
        LT_TRY(err = read_slice(c, &p[i], first - s->first, n, to, dst_dtype));
        to += n * lt_dtype_bytes(dst_dtype);
        first += n;
        count -= n;
    }
    return LT_OK;
fail:
    return err;
}

/* Index of a blob's file, -1 if there is none. */
static int64_t find_blob(const lt_ckpt *c, const char *name)
{
    int64_t file = lt_manifest_file_index(c->m, name);

    return file >= 0 && !c->m->files[file].group ? file : -1;
}

bool lt_ckpt_has_blob(const lt_ckpt *c, const char *name)
{
    return find_blob(c, name) >= 0;
}

lt_err lt_ckpt_blob_read(lt_ckpt *c, const char *name, lt_buf *out)
{
    int64_t file = find_blob(c, name);
    lt_buf b = { 0 };
    uint64_t size;
    lt_err err;

    if (file < 0)
        return lt_fail(LT_ENOENT, "%s: holds no file %s", c->path, name);
    size = c->m->files[file].size;
    if (size > MAX_BLOB_BYTES)
        return lt_fail(LT_EFORMAT, "%s/%s: %" PRIu64 " bytes, expected at most %d", c->path, name,
                       size, MAX_BLOB_BYTES);
    lt_buf_reserve(&b, (size_t)size);
    LT_TRY(err = lt_ckpt_blocks_read(c->blocks, (size_t)file, 0, b.data, (size_t)size));
    b.size = (size_t)size;
    b.data[size] = '\0';
    lt_buf_release(out);
    *out = b;
    return LT_OK;
fail:
    lt_buf_release(&b);
    return err;
}

/* ---- verify ---- */

/* Metadata `key` of an open slice file is `want`. */
static lt_err check_metadata(const lt_safetensors *st, const char *key, const char *want)
{
    const char *found = lt_safetensors_metadata(st, key);

    if (!found || strcmp(found, want) != 0)
        return lt_fail(LT_EFORMAT, "%s: header: %s is \"%s\", the MANIFEST says \"%s\"",
                       lt_safetensors_path(st), key, found ? found : "(absent)", want);
    return LT_OK;
}

/* The header of a slice file tells the same story as the manifest. */
static lt_err check_header(const lt_ckpt *c, const lt_manifest_file *f)
{
    char *path = lt_path_join(c->path, f->name), rank[16];
    lt_safetensors *st = NULL;
    lt_err err;

    snprintf(rank, sizeof rank, "%" PRIu32, f->rank);
    LT_TRY(err = lt_safetensors_open(&st, path));
    LT_TRY(err = check_metadata(st, "attempt", c->m->attempt));
    LT_TRY(err = check_metadata(st, "group", f->group));
    LT_TRY(err = check_metadata(st, "rank", rank));
    for (size_t i = 0; i < f->n_slices; i++) {
        const lt_manifest_slice *s = &f->slices[i];
        const char *name = c->m->tensors[s->tensor].name;
        const lt_safetensor *t = lt_safetensors_find(st, name);

        if (!t || t->dtype != s->dtype || t->count != s->count || t->begin != s->offset) {
            err = lt_fail(LT_EFORMAT, "%s: header: tensor %s is not where the MANIFEST says", path,
                          name);
            goto fail;
        }
    }
fail:
    lt_safetensors_close(st);
    free(path);
    return err;
}

typedef struct damage_list {
    lt_ckpt_watch *watch;
    lt_err_record first;
    uint64_t n;
} damage_list;

/* Notes a fault of the file; anything else than damage ends the search. */
static lt_err note(damage_list *d, lt_err err)
{
    if (err != LT_EFORMAT)
        return err;
    if (d->watch && d->watch->damage)
        d->watch->damage(d->watch, lt_err_text());
    if (d->n++ == 0)
        lt_err_take(&d->first);
    return LT_OK;
}

lt_err lt_ckpt_verify(lt_ckpt *c, lt_ckpt_watch *watch)
{
    damage_list d = { .watch = watch };
    uint64_t done = 0, total = 0, before;
    lt_err err;

    for (size_t i = 0; i < c->m->n_files; i++)
        total += c->m->files[i].size;
    for (size_t i = 0; i < c->m->n_files; i++) {
        const lt_manifest_file *f = &c->m->files[i];

        before = d.n;
        for (uint64_t k = 0; k < f->n_blocks; k++) {
            LT_TRY(err = note(&d, lt_ckpt_blocks_verify(c->blocks, i, k)));
            done += f->size - k * LT_CKPT_BLOCK < LT_CKPT_BLOCK ? f->size - k * LT_CKPT_BLOCK
                                                                : LT_CKPT_BLOCK;
            if (watch && watch->progress)
                watch->progress(watch, done, total);
        }
        if (f->group && d.n == before)
            LT_TRY(err = note(&d, check_header(c, f)));
    }
    if (d.n == 0)
        return LT_OK;
    if (d.n > 1)
        return lt_fail(LT_EFORMAT, "%s (and %" PRIu64 " more damaged places)", d.first.text,
                       d.n - 1);
    return lt_err_give(&d.first);
fail:
    return err;
}
