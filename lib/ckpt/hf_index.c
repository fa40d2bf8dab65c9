/* ckpt/hf_index.c - model.safetensors.index.json: {"metadata": ..., "weight_map": {tensor: file}}.
 * An untrusted file that names other files: only plain base names are accepted. */
#include "ckpt/hf_model.h"
#include "ckpt/json_scan.h"
#include "ckpt/safetensors.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FILES = 512, FILE_NAME_BYTES = 256 };

void lt_hf_index_release(lt_hf_index *index)
{
    for (size_t i = 0; i < index->n_files; i++)
        free(index->files[i]);
    for (size_t i = 0; i < index->n_entries; i++)
        free(index->entries[i].tensor);
    free(index->files);
    free(index->entries);
    *index = (lt_hf_index){ 0 };
}

/* Number of a file, entering it when it is new.  Neighbours mostly share a file. */
static lt_err enter_file(lt_hf_index *index, const lt_json_scan *s, const char *file, uint32_t *out)
{
    if (file[0] == '\0' || file[0] == '.' || strpbrk(file, "/\\"))
        return lt_json_scan_fail(s, "\"%s\" is not a plain file name", file);
    for (size_t i = index->n_files; i-- > 0;)
        if (strcmp(index->files[i], file) == 0) {
            *out = (uint32_t)i;
            return LT_OK;
        }
    if (index->n_files == MAX_FILES)
        return lt_json_scan_fail(s, "more than %d files", MAX_FILES);
    lt_array_reserve(&index->files, &index->file_capacity, index->n_files + 1,
                     sizeof *index->files);
    *out = (uint32_t)index->n_files;
    index->files[index->n_files++] = lt_strdup(file);
    return LT_OK;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct lt_hf_index_entry *)a)->tensor,
                  ((const struct lt_hf_index_entry *)b)->tensor);
}

static lt_err scan_weight_map(lt_hf_index *index, lt_json_scan *s)
{
    char tensor[LT_SAFETENSORS_NAME_BYTES + 1], file[FILE_NAME_BYTES];
    struct lt_hf_index_entry *e;
    lt_json_scan_in in;
    bool more;
    lt_err err;

    LT_TRY(err = lt_json_scan_open(s, '{', &in));
    for (;;) {
        LT_TRY(err = lt_json_scan_next(s, &in, &more));
        if (!more)
            break;
        if (index->n_entries == LT_SAFETENSORS_MAX_TENSORS)
            return lt_json_scan_fail(s, "more than %d tensors", LT_SAFETENSORS_MAX_TENSORS);
        LT_TRY(err = lt_json_scan_key(s, tensor, sizeof tensor));
        LT_TRY(err = lt_json_scan_string(s, file, sizeof file));
        lt_array_reserve(&index->entries, &index->entry_capacity, index->n_entries + 1, sizeof *e);
        e = &index->entries[index->n_entries];
        LT_TRY(err = enter_file(index, s, file, &e->file));
        e->tensor = lt_strdup(tensor);
        index->n_entries++;
    }
    if (index->n_entries == 0)
        return lt_json_scan_fail(s, "weight_map is empty");
    qsort(index->entries, index->n_entries, sizeof *e, compare_entries);
    for (size_t i = 1; i < index->n_entries; i++)
        if (compare_entries(&index->entries[i - 1], &index->entries[i]) == 0)
            return lt_json_scan_fail(s, "tensor %s stands twice", index->entries[i].tensor);
    return LT_OK;
fail:
    return err;
}

lt_err lt_hf_index_parse(lt_hf_index *out, const char *text, size_t n, const char *name)
{
    static const char *const keys[] = { "weight_map" };
    lt_json_scan s = { .text = text, .size = n, .name = name };
    lt_hf_index index = { 0 };
    lt_json_scan_in in;
    uint32_t seen = 0;
    int key;
    bool more;
    lt_err err;

    LT_TRY(err = lt_json_scan_open(&s, '{', &in));
    for (;;) {
        LT_TRY(err = lt_json_scan_next(&s, &in, &more));
        if (!more)
            break;
        LT_TRY(err = lt_json_scan_known_key(&s, keys, 1, &seen, &key));
        if (key == 0)
            LT_TRY(err = scan_weight_map(&index, &s));
        else
            LT_TRY(err = lt_json_scan_skip(&s));
    }
    LT_TRY(err = lt_json_scan_end(&s));
    if (!seen) {
        err = lt_json_scan_fail(&s, "no weight_map");
        goto fail;
    }
    *out = index;
    return LT_OK;
fail:
    lt_hf_index_release(&index);
    return err;
}
