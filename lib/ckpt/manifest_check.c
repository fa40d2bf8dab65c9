/* ckpt/manifest_check.c - judges the tables of a MANIFEST and sorts them for look-up.
 *
 * The one idea: sort all slices by (group, tensor, first element).  Then complete coverage without
 * overlap is "each starts where the one before it ended", for any number of ranks. */
#include "ckpt/manifest_check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool lt_ckpt_dtype_ok(lt_dtype t)
{
    return t == LT_F32 || t == LT_BF16 || t == LT_F16;
}

bool lt_ckpt_file_name_ok(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    return n > 0 && n < LT_CKPT_WORD_BYTES && name[n] == '\0' && name[0] != '.' &&
           strcmp(name, LT_MANIFEST_NAME) != 0;
}

bool lt_ckpt_group_name_ok(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return n > 0 && n <= 32 && name[n] == '\0';
}

uint64_t lt_ckpt_tensor_count(const lt_ckpt_tensor *t)
{
    return t->n_dims == 2 ? t->dims[0] * t->dims[1] : t->dims[0];
}

static int compare_tensor_names(const void *a, const void *b, void *tensors)
{
    const lt_ckpt_tensor *t = tensors;

    return strcmp(t[*(const uint32_t *)a].name, t[*(const uint32_t *)b].name);
}

static lt_err check_tensors(lt_manifest *m, const char *name)
{
    uint64_t bytes;
    lt_err err;

    if (m->n_tensors == 0)
        return lt_fail(LT_EFORMAT, "%s: no tensors", name);
    LT_TRY(err = lt_alloc_array(&m->by_name, m->n_tensors, sizeof *m->by_name, name));
    for (size_t i = 0; i < m->n_tensors; i++) {
        const lt_ckpt_tensor *t = &m->tensors[i];

        if (t->name[0] == '\0' || t->n_dims == 0)
            return lt_fail(LT_EFORMAT, "%s: tensor \"%s\": no %s", name, t->name,
                           t->name[0] ? "shape" : "name");
        bytes = sizeof(double); /* room for any element type */
        for (int d = 0; d < t->n_dims; d++)
            if (t->dims[d] == 0 || !lt_size_muladd(bytes, t->dims[d], 0, &bytes))
                return lt_fail(LT_EFORMAT, "%s: tensor %s: %s shape", name, t->name,
                               t->dims[d] ? "an overflowing" : "a zero-sized");
        m->by_name[i] = (uint32_t)i;
    }
    qsort_r(m->by_name, m->n_tensors, sizeof *m->by_name, compare_tensor_names, m->tensors);
    for (size_t i = 1; i < m->n_tensors; i++)
        if (strcmp(m->tensors[m->by_name[i - 1]].name, m->tensors[m->by_name[i]].name) == 0)
            return lt_fail(LT_EFORMAT, "%s: tensor %s stands twice", name,
                           m->tensors[m->by_name[i]].name);
    return LT_OK;
fail:
    return err;
}

static lt_err check_slice(const lt_manifest *m, const lt_manifest_file *f,
                          const lt_manifest_slice *s, const char *name)
{
    uint64_t end, total;

    if (s->tensor >= m->n_tensors)
        return lt_fail(LT_EFORMAT, "%s: %s: slice of tensor number %" PRIu32 " of %zu", name,
                       f->name, s->tensor, m->n_tensors);
    total = lt_ckpt_tensor_count(&m->tensors[s->tensor]);
    if (s->count == 0 || s->first > total || s->count > total - s->first)
        return lt_fail(LT_EFORMAT,
                       "%s: %s: tensor %s: slice of %" PRIu64 " elements at %" PRIu64
                       ", the tensor has %" PRIu64,
                       name, f->name, m->tensors[s->tensor].name, s->count, s->first, total);
    if (!lt_size_muladd(s->count, lt_dtype_bytes(s->dtype), s->offset, &end) || end > f->size)
        return lt_fail(LT_EFORMAT,
                       "%s: %s: tensor %s: slice of %" PRIu64 " elements at byte %" PRIu64
                       " goes beyond the file's %" PRIu64,
                       name, f->name, m->tensors[s->tensor].name, s->count, s->offset, f->size);
    return LT_OK;
}

/* Each where it may be, and no more bytes in all than the file has: a small file never stands for a
 * large model. */
static lt_err check_slices(const lt_manifest *m, const lt_manifest_file *f, const char *name)
{
    uint64_t left = f->size, bytes;
    lt_err err = LT_OK;

    for (size_t k = 0; k < f->n_slices; k++) {
        LT_TRY(err = check_slice(m, f, &f->slices[k], name));
        bytes = f->slices[k].count * lt_dtype_bytes(f->slices[k].dtype);
        if (bytes > left)
            return lt_fail(LT_EFORMAT,
                           "%s: %s: slices overlap: more bytes than the file's %" PRIu64, name,
                           f->name, f->size);
        left -= bytes;
    }
fail:
    return err;
}

static int compare_file_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static lt_err check_file_names(const lt_manifest *m, const char *name)
{
    char **names;
    lt_err err;

    LT_TRY(err = lt_alloc_array(&names, m->n_files, sizeof *names, name));
    for (size_t i = 0; i < m->n_files; i++)
        names[i] = m->files[i].name;
    qsort(names, m->n_files, sizeof *names, compare_file_names);
    for (size_t i = 1; i < m->n_files && err == LT_OK; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            err = lt_fail(LT_EFORMAT, "%s: file %s stands twice", name, names[i]);
    free(names);
fail:
    return err;
}

static lt_err check_files(lt_manifest *m, const char *name)
{
    uint64_t total = 0;
    lt_err err;

    for (size_t i = 0; i < m->n_files; i++) {
        const lt_manifest_file *f = &m->files[i];
        uint64_t blocks = f->size / LT_CKPT_BLOCK + (f->size % LT_CKPT_BLOCK != 0);

        if (!lt_ckpt_file_name_ok(f->name))
            return lt_fail(LT_EFORMAT, "%s: \"%s\" is not a plain file name", name, f->name);
        if (f->group && !lt_ckpt_group_name_ok(f->group))
            return lt_fail(LT_EFORMAT, "%s: %s: \"%s\" is not a group name", name, f->name,
                           f->group);
        if (f->group && f->rank >= m->world)
            return lt_fail(LT_EFORMAT, "%s: %s: rank %" PRIu32 " of %" PRIu32, name, f->name,
                           f->rank, m->world);
        if (f->n_blocks != blocks)
            return lt_fail(LT_EFORMAT, "%s: %s: %zu sums for %" PRIu64 " bytes, expected %" PRIu64,
                           name, f->name, f->n_blocks, f->size, blocks);
        if (!lt_size_muladd(1, f->size, total, &total))
            return lt_fail(LT_EFORMAT, "%s: the sizes overflow 64 bits", name);
        LT_TRY(err = check_slices(m, f, name));
        m->n_pieces += f->n_slices;
    }
    return check_file_names(m, name);
fail:
    return err;
}

static int compare_pieces(const void *a, const void *b)
{
    const lt_manifest_piece *x = a, *y = b;
    int order = strcmp(x->group, y->group);

    if (order != 0)
        return order;
    if (x->slice.tensor != y->slice.tensor)
        return x->slice.tensor < y->slice.tensor ? -1 : 1;
    return (x->slice.first > y->slice.first) - (x->slice.first < y->slice.first);
}

static lt_err collect_pieces(lt_manifest *m, const char *name)
{
    size_t n = 0;
    lt_err err;

    LT_TRY(err = lt_alloc_array(&m->pieces, m->n_pieces, sizeof *m->pieces, name));
    for (size_t i = 0; i < m->n_files; i++)
        for (size_t k = 0; k < m->files[i].n_slices; k++)
            m->pieces[n++] = (lt_manifest_piece){ .group = m->files[i].group,
                                                  .slice = m->files[i].slices[k],
                                                  .file = (uint32_t)i };
    if (n > 0)
        qsort(m->pieces, n, sizeof *m->pieces, compare_pieces);
fail:
    return err;
}

static bool same_tensor(const lt_manifest_piece *a, const lt_manifest_piece *b)
{
    return a->slice.tensor == b->slice.tensor && strcmp(a->group, b->group) == 0;
}

/* Every tensor that a group holds is whole; "weights" holds every tensor. */
static lt_err check_coverage(const lt_manifest *m, const char *name)
{
    size_t n_weights = 0;

    for (size_t i = 0, k; i < m->n_pieces; i = k) {
        const lt_manifest_piece *p = &m->pieces[i];
        const lt_ckpt_tensor *t = &m->tensors[p->slice.tensor];
        uint64_t at = 0, total = lt_ckpt_tensor_count(t);
        bool meet = true;

        for (k = i; k < m->n_pieces && same_tensor(p, &m->pieces[k]) && meet; k++) {
            meet = m->pieces[k].slice.first == at;
            at += meet ? m->pieces[k].slice.count : 0;
        }
        if (!meet || at != total)
            return lt_fail(LT_EFORMAT,
                           "%s: group %s: tensor %s: slices meet up to element %" PRIu64
                           " of %" PRIu64 ", then leave a hole or overlap",
                           name, p->group, t->name, at, total);
        n_weights += strcmp(p->group, LT_CKPT_WEIGHTS) == 0;
    }
    if (n_weights != m->n_tensors)
        return lt_fail(LT_EFORMAT, "%s: group " LT_CKPT_WEIGHTS " holds %zu of %zu tensors", name,
                       n_weights, m->n_tensors);
    return LT_OK;
}

lt_err lt_manifest_check(lt_manifest *m, const char *name)
{
    lt_err err;

    if (strspn(m->attempt, "0123456789abcdef") != LT_CKPT_ATTEMPT_BYTES - 1)
        return lt_fail(LT_EFORMAT, "%s: attempt \"%s\" is not 16 hex digits", name, m->attempt);
    LT_TRY(err = check_tensors(m, name));
    LT_TRY(err = check_files(m, name));
    LT_TRY(err = collect_pieces(m, name));
    LT_TRY(err = check_coverage(m, name));
fail:
    return err;
}

int64_t lt_manifest_tensor(const lt_manifest *m, const char *name)
{
    size_t low = 0, high = m->n_tensors;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(name, m->tensors[m->by_name[mid]].name);

        if (order == 0)
            return m->by_name[mid];
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return -1;
}

int64_t lt_manifest_file_index(const lt_manifest *m, const char *name)
{
    for (size_t i = 0; i < m->n_files; i++)
        if (strcmp(m->files[i].name, name) == 0)
            return (int64_t)i;
    return -1;
}

const lt_manifest_piece *lt_manifest_pieces(const lt_manifest *m, const char *group,
                                            uint32_t tensor, size_t *n)
{
    const lt_manifest_piece key = { .group = group, .slice = { .tensor = tensor } };
    const lt_manifest_piece *p = NULL;

    *n = 0;
    if (m->n_pieces > 0) /* the first slice starts at element 0: coverage was checked */
        p = bsearch(&key, m->pieces, m->n_pieces, sizeof key, compare_pieces);
    if (!p)
        return NULL;
    while (p + *n < m->pieces + m->n_pieces && same_tensor(p, p + *n))
        ++*n;
    return p;
}
