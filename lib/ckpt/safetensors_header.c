/* ckpt/safetensors_header.c - the header rules of safetensors, one by one.
 *
 * Entries are kept in the order of the data, which makes "no holes, no overlap" one comparison per
 * neighbour; a second array sorted by name serves look-ups and finds duplicates. */
#include "ckpt/safetensors_header.h"
#include "ckpt/json_scan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Every element type of the format, also those that lt only has to step over. */
static const struct {
    const char *name;
    unsigned bits;
} element_types[] = {
    { "BOOL", 8 },    { "U8", 8 },   { "I8", 8 },      { "F8_E5M2", 8 }, { "F8_E4M3", 8 },
    { "F8_E8M0", 8 }, { "F4", 4 },   { "F6_E2M3", 6 }, { "F6_E3M2", 6 }, { "I16", 16 },
    { "U16", 16 },    { "F16", 16 }, { "BF16", 16 },   { "I32", 32 },    { "U32", 32 },
    { "F32", 32 },    { "F64", 64 }, { "I64", 64 },    { "U64", 64 },    { "C64", 64 },
};

/* Shape product times element size; sets count and bytes and compares with the span. */
static lt_err check_span(const lt_json_scan *s, lt_safetensor *t, unsigned bits, uint64_t begin,
                         uint64_t end)
{
    uint64_t total_bits;

    if (begin > end)
        return lt_json_scan_fail(s, "tensor %s: data_offsets [%" PRIu64 ", %" PRIu64 "] run back",
                                 t->name, begin, end);
    t->count = 1;
    for (int i = 0; i < t->n_dims; i++)
        if (!lt_size_muladd(t->count, t->dims[i], 0, &t->count))
            return lt_json_scan_fail(s, "tensor %s: the shape overflows 64 bits", t->name);
    if (!lt_size_muladd(t->count, bits, 0, &total_bits))
        return lt_json_scan_fail(s, "tensor %s: the shape overflows 64 bits", t->name);
    if (total_bits % 8 != 0 || total_bits / 8 != end - begin)
        return lt_json_scan_fail(
            s, "tensor %s: data_offsets span %" PRIu64 " bytes, %s of this shape has %" PRIu64,
            t->name, end - begin, t->dtype_name, total_bits / 8);
    t->begin = begin;
    t->bytes = end - begin;
    return LT_OK;
}

static lt_err scan_dtype(lt_json_scan *s, lt_safetensor *t, unsigned *bits)
{
    char text[16];
    lt_err err;

    LT_TRY(err = lt_json_scan_string(s, text, sizeof text));
    for (size_t i = 0; i < LT_COUNT(element_types); i++) {
        if (strcmp(text, element_types[i].name) != 0)
            continue;
        t->dtype_name = element_types[i].name;
        *bits = element_types[i].bits;
        if (!lt_dtype_from_safetensors(&t->dtype, text))
            t->dtype = LT_N_DTYPES;
        return LT_OK;
    }
    return lt_json_scan_fail(s, "tensor %s: unknown dtype \"%s\"", t->name, text);
fail:
    return err;
}

/* An array of at most `max` unsigned integers. */
static lt_err scan_numbers(lt_json_scan *s, const char *what, uint64_t *out, int max, int *n)
{
    lt_json_scan_in in;
    bool more;
    lt_err err;

    *n = 0;
    LT_TRY(err = lt_json_scan_open(s, '[', &in));
    for (;;) {
        LT_TRY(err = lt_json_scan_next(s, &in, &more));
        if (!more)
            return LT_OK;
        if (*n == max)
            return lt_json_scan_fail(s, "%s has more than %d numbers", what, max);
        LT_TRY(err = lt_json_scan_u64(s, &out[(*n)++]));
    }
fail:
    return err;
}

/* {"dtype": ..., "shape": ..., "data_offsets": ...} of a tensor whose name is known. */
static lt_err scan_tensor(lt_json_scan *s, lt_safetensor *t)
{
    static const char *const keys[] = { "dtype", "shape", "data_offsets" };
    lt_json_scan_in in;
    uint64_t offsets[2];
    uint32_t seen = 0;
    unsigned bits = 0;
    int key, n_offsets = 0;
    bool more;
    lt_err err;

    LT_TRY(err = lt_json_scan_open(s, '{', &in));
    for (;;) {
        LT_TRY(err = lt_json_scan_next(s, &in, &more));
        if (!more)
            break;
        LT_TRY(err = lt_json_scan_known_key(s, keys, 3, &seen, &key));
        if (key == 0)
            LT_TRY(err = scan_dtype(s, t, &bits));
        else if (key == 1)
            LT_TRY(err = scan_numbers(s, "shape", t->dims, LT_SAFETENSORS_RANK, &t->n_dims));
        else if (key == 2)
            LT_TRY(err = scan_numbers(s, "data_offsets", offsets, 2, &n_offsets));
        else
            return lt_json_scan_fail(s, "tensor %s: unknown member", t->name);
    }
    if (seen != 7 || n_offsets != 2)
        return lt_json_scan_fail(s, "tensor %s: expected dtype, shape and two data_offsets",
                                 t->name);
    return check_span(s, t, bits, offsets[0], offsets[1]);
fail:
    return err;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(((const struct lt_safetensors_pair *)a)->key,
                  ((const struct lt_safetensors_pair *)b)->key);
}

static lt_err scan_metadata(lt_safetensors_header *h, lt_json_scan *s, char *text, size_t capacity)
{
    lt_json_scan_in in;
    bool more;
    lt_err err;

    LT_TRY(err = lt_json_scan_open(s, '{', &in));
    for (;;) {
        struct lt_safetensors_pair *m;

        LT_TRY(err = lt_json_scan_next(s, &in, &more));
        if (!more)
            break;
        LT_TRY(err = lt_json_scan_key(s, text, capacity));
        lt_array_reserve(&h->metadata, &h->metadata_capacity, h->n_metadata + 1, sizeof *m);
        m = &h->metadata[h->n_metadata++];
        *m = (struct lt_safetensors_pair){ .key = lt_strdup(text) };
        LT_TRY(err = lt_json_scan_string(s, text, capacity));
        m->value = lt_strdup(text);
    }
    if (h->n_metadata > 0)
        qsort(h->metadata, h->n_metadata, sizeof *h->metadata, compare_keys);
    for (size_t i = 1; i < h->n_metadata; i++)
        if (strcmp(h->metadata[i - 1].key, h->metadata[i].key) == 0)
            return lt_json_scan_fail(s, "__metadata__: \"%s\" stands twice", h->metadata[i].key);
    return LT_OK;
fail:
    return err;
}

/* The members of the header object. */
static lt_err scan_header(lt_safetensors_header *h, lt_json_scan *s, char *text, size_t capacity)
{
    lt_json_scan_in in;
    bool more, has_metadata = false;
    lt_err err;

    if (s->size == 0 || s->text[0] != '{') /* the format allows no white space here */
        return lt_json_scan_fail(s, "the header does not start with '{'");
    LT_TRY(err = lt_json_scan_open(s, '{', &in));
    for (;;) {
        lt_safetensor *t;

        LT_TRY(err = lt_json_scan_next(s, &in, &more));
        if (!more)
            return lt_json_scan_end(s);
        LT_TRY(err = lt_json_scan_key(s, text, capacity));
        if (strcmp(text, "__metadata__") == 0) {
            if (has_metadata)
                return lt_json_scan_fail(s, "__metadata__ stands twice");
            has_metadata = true;
            LT_TRY(err = scan_metadata(h, s, text, capacity));
            continue;
        }
        if (strlen(text) > LT_SAFETENSORS_NAME_BYTES || text[0] == '\0')
            return lt_json_scan_fail(s, "a tensor name has %zu bytes, expected 1 to %d",
                                     strlen(text), LT_SAFETENSORS_NAME_BYTES);
        if (h->n_tensors == LT_SAFETENSORS_MAX_TENSORS)
            return lt_json_scan_fail(s, "more than %d tensors", LT_SAFETENSORS_MAX_TENSORS);
        lt_array_reserve(&h->tensors, &h->tensor_capacity, h->n_tensors + 1, sizeof *t);
        t = &h->tensors[h->n_tensors++];
        *t = (lt_safetensor){ .name = lt_strdup(text) };
        LT_TRY(err = scan_tensor(s, t));
    }
fail:
    return err;
}

static int compare_spans(const void *a, const void *b)
{
    const lt_safetensor *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const lt_safetensor *const *)a)->name,
                  (*(const lt_safetensor *const *)b)->name);
}

/* No holes, no overlap, no duplicates, ends with the file; offsets become those of the file. */
static lt_err check_layout(lt_safetensors_header *h, uint64_t data_begin, uint64_t data_bytes,
                           const char *name)
{
    uint64_t at = 0;
    lt_err err;

    if (h->n_tensors > 0)
        qsort(h->tensors, h->n_tensors, sizeof *h->tensors, compare_spans);
    LT_TRY(err = lt_alloc_array(&h->by_name, h->n_tensors, sizeof *h->by_name, name));
    for (size_t i = 0; i < h->n_tensors; i++) {
        lt_safetensor *t = &h->tensors[i];

        if (t->begin != at)
            return lt_fail(LT_EFORMAT,
                           "%s: tensor %s: data starts at %" PRIu64 ", expected %" PRIu64
                           " (%s the tensor before it)",
                           name, t->name, t->begin, at,
                           t->begin < at ? "overlaps" : "a hole after");
        if (t->bytes > data_bytes - at)
            return lt_fail(LT_EFORMAT,
                           "%s: truncated: tensor %s ends at byte %" PRIu64
                           " of the data, the file holds %" PRIu64,
                           name, t->name, t->begin + t->bytes, data_bytes);
        at += t->bytes;
        t->begin += data_begin;
        h->by_name[i] = t;
    }
    if (at != data_bytes)
        return lt_fail(LT_EFORMAT,
                       "%s: %" PRIu64 " bytes after the last tensor, which ends at %" PRIu64, name,
                       data_bytes - at, at);
    if (h->n_tensors > 0)
        qsort(h->by_name, h->n_tensors, sizeof *h->by_name, compare_names);
    for (size_t i = 1; i < h->n_tensors; i++)
        if (strcmp(h->by_name[i - 1]->name, h->by_name[i]->name) == 0)
            return lt_fail(LT_EFORMAT, "%s: tensor %s stands twice", name, h->by_name[i]->name);
    return LT_OK;
fail:
    return err;
}

lt_err lt_safetensors_header_parse(lt_safetensors_header *h, const char *text, uint64_t n,
                                   uint64_t file_size, const char *name)
{
    const uint64_t prefix = LT_SAFETENSORS_PREFIX;
    lt_json_scan s = { .text = text, .size = (size_t)n, .name = name, .base = prefix };
    size_t capacity = (size_t)n + 1; /* no string of it can be longer */
    char *scratch = NULL;
    lt_err err;

    LT_TRY(err = lt_alloc_array(&scratch, capacity, 1, name));
    LT_TRY(err = scan_header(h, &s, scratch, capacity));
    LT_TRY(err = check_layout(h, prefix + n, file_size - prefix - n, name));
fail:
    free(scratch);
    return err;
}

void lt_safetensors_header_release(lt_safetensors_header *h)
{
    for (size_t i = 0; i < h->n_tensors; i++)
        free((void *)h->tensors[i].name);
    for (size_t i = 0; i < h->n_metadata; i++) {
        free(h->metadata[i].key);
        free(h->metadata[i].value);
    }
    free(h->tensors);
    free(h->by_name);
    free(h->metadata);
    *h = (lt_safetensors_header){ 0 };
}

const lt_safetensor *lt_safetensors_header_find(const lt_safetensors_header *h, const char *name)
{
    const lt_safetensor key = { .name = name }, *p = &key;
    const lt_safetensor **found = NULL;

    if (h->n_tensors > 0)
        found = bsearch(&p, h->by_name, h->n_tensors, sizeof *h->by_name, compare_names);
    return found ? *found : NULL;
}
