/* ckpt/hf_model.c - matches the tensors of a Hugging Face folder with the parameter table. */
#include "ckpt/hf_model.h"
#include "base/file.h"
#include "ckpt/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_INDEX_BYTES = 100000000, SLAB_BYTES = 4 << 20 };

static const char PREFIX[] = "transformer.";

struct lt_hf_model {
    char *folder;
    lt_hf_index index; /* n_entries 0: one file holds everything */
    lt_safetensors **files;
    size_t n_files;
};

static lt_err read_index(lt_hf_model *m, const char *path)
{
    lt_buf text = { 0 };
    lt_file file = { 0 };
    lt_err err;

    LT_TRY(err = lt_file_open_read(&file, path)); /* refuses what is no regular file */
    LT_TRY(err = lt_file_read_all(&text, path, MAX_INDEX_BYTES));
    LT_TRY(err = lt_hf_index_parse(&m->index, text.data, text.size, path));
fail:
    lt_file_close(&file);
    lt_buf_release(&text);
    return err;
}

static lt_err open_file(lt_hf_model *m, const char *name)
{
    char *path = lt_path_join(m->folder, name);
    lt_err err = lt_safetensors_open(&m->files[m->n_files], path);

    if (err == LT_OK)
        m->n_files++;
    free(path);
    return err;
}

/* Every entry of the index is in the file it points to. */
static lt_err check_index(const lt_hf_model *m)
{
    for (size_t i = 0; i < m->index.n_entries; i++) {
        const struct lt_hf_index_entry *e = &m->index.entries[i];

        if (!lt_safetensors_find(m->files[e->file], e->tensor))
            return lt_fail(LT_EFORMAT, "%s: tensor %s is missing, the index says it is here",
                           lt_safetensors_path(m->files[e->file]), e->tensor);
    }
    return LT_OK;
}

lt_err lt_hf_model_open(lt_hf_model **out, const char *folder)
{
    lt_hf_model *m = lt_new0(sizeof *m);
    char *single = lt_path_join(folder, "model.safetensors");
    char *index = lt_path_join(folder, "model.safetensors.index.json");
    lt_err err;

    m->folder = lt_strdup(folder);
    if (!lt_path_exists(single) && !lt_path_exists(index)) {
        err = lt_fail(LT_ENOENT, "%s: holds neither model.safetensors nor its index.json", folder);
        goto fail;
    }
    if (lt_path_exists(single)) {
        m->files = lt_new0(sizeof *m->files);
        LT_TRY(err = open_file(m, "model.safetensors"));
    } else {
        LT_TRY(err = read_index(m, index));
        m->files = lt_new_array0(m->index.n_files, sizeof *m->files);
        for (size_t i = 0; i < m->index.n_files; i++)
            LT_TRY(err = open_file(m, m->index.files[i]));
        LT_TRY(err = check_index(m));
    }
    free(single);
    free(index);
    *out = m;
    return LT_OK;
fail:
    free(single);
    free(index);
    lt_hf_model_close(m);
    return err;
}

void lt_hf_model_close(lt_hf_model *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_files; i++)
        lt_safetensors_close(m->files[i]);
    lt_hf_index_release(&m->index);
    free(m->files);
    free(m->folder);
    free(m);
}

static bool has_prefix(const char *name)
{
    return strncmp(name, PREFIX, sizeof PREFIX - 1) == 0;
}

/* A tensor by the table's name, else with the prefix dropped or added. */
static const lt_safetensor *find(const lt_hf_model *m, const char *name,
                                 const lt_safetensors **file)
{
    char *other =
        has_prefix(name) ? lt_strdup(name + sizeof PREFIX - 1) : lt_asprintf("%s%s", PREFIX, name);
    const char *names[] = { name, other };
    const lt_safetensor *t = NULL;

    for (size_t k = 0; k < LT_COUNT(names) && !t; k++)
        for (size_t i = 0; i < m->n_files && !t; i++) {
            t = lt_safetensors_find(m->files[i], names[k]);
            *file = m->files[i];
        }
    free(other);
    return t;
}

/* The shape in the file. */
static int stored_shape(const lt_param *p, uint64_t dims[2])
{
    bool transposed = p->layout == LT_HF_CONV1D && p->n_dims == 2;

    dims[0] = (uint64_t)(p->n_dims == 1 || transposed ? p->cols : p->rows);
    dims[1] = (uint64_t)(transposed ? p->rows : p->cols);
    return p->n_dims;
}

static lt_err check_row(const lt_hf_model *m, const lt_param *p)
{
    char want[LT_SHAPE_TEXT_BYTES], have[LT_SHAPE_TEXT_BYTES];
    const lt_safetensors *file = NULL;
    const lt_safetensor *t = find(m, p->name, &file);
    uint64_t dims[2];
    int n_dims = stored_shape(p, dims);

    if (!t)
        return lt_fail(LT_EMISMATCH, "%s: tensor %s is missing", m->folder, p->name);
    if (t->n_dims != n_dims || memcmp(t->dims, dims, (size_t)n_dims * sizeof dims[0]) != 0)
        return lt_fail(LT_EMISMATCH, "%s: tensor %s: expected shape %s, found %s",
                       lt_safetensors_path(file), t->name, lt_shape_text(want, n_dims, dims),
                       lt_shape_text(have, t->n_dims, t->dims));
    if (t->dtype != LT_F32 && t->dtype != LT_F16 && t->dtype != LT_BF16)
        return lt_fail(LT_EMISMATCH, "%s: tensor %s: expected dtype F32, F16 or BF16, found %s",
                       lt_safetensors_path(file), t->name, t->dtype_name);
    return LT_OK;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);

    return n >= k && strcmp(s + n - k, end) == 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Everything that lies in the files has a row, or is known to need none. */
static lt_err check_extra(const lt_hf_model *m, const lt_param_table *table)
{
    size_t n = (size_t)table->n_params, n_matched = 0;
    const char **used = lt_new_array0(n, sizeof *used);
    lt_err err = LT_OK;

    for (size_t i = 0; i < n; i++) {
        const lt_safetensors *file;

        used[i] = find(m, table->params[i].name, &file)->name;
    }
    qsort(used, n, sizeof *used, compare_names);
    for (size_t i = 0; i < m->n_files && err == LT_OK; i++)
        for (size_t k = 0; k < lt_safetensors_count(m->files[i]) && err == LT_OK; k++) {
            const char *name = lt_safetensors_at(m->files[i], k)->name;

            if (bsearch(&name, used, n, sizeof *used, compare_names))
                n_matched++;
            else if (!ends_with(name, ".attn.bias") && !ends_with(name, ".attn.masked_bias") &&
                     strcmp(name, "lm_head.weight") != 0)
                err = lt_fail(LT_EMISMATCH, "%s: tensor %s does not belong to this model",
                              lt_safetensors_path(m->files[i]), name);
        }
    if (err == LT_OK && n_matched != n)
        err = lt_fail(LT_EFORMAT, "%s: a tensor lies in more than one file", m->folder);
    free(used);
    return err;
}

lt_err lt_hf_model_check(const lt_hf_model *m, const lt_param_table *table)
{
    lt_err err;

    for (int i = 0; i < table->n_params; i++)
        LT_TRY(err = check_row(m, &table->params[i]));
    LT_TRY(err = check_extra(m, table));
fail:
    return err;
}

/* File matrix (cols, rows), wanted elements of the (rows, cols) view: slabs of whole file rows are
 * read in order and scattered. */
static lt_err read_transposed(const lt_safetensors *file, const lt_safetensor *t, const lt_param *p,
                              uint64_t first, uint64_t n, float *dst)
{
    uint64_t rows = (uint64_t)p->rows, cols = (uint64_t)p->cols;
    uint64_t row_begin = first / cols, row_end = (first + n - 1) / cols + 1;
    uint64_t slab_rows = SLAB_BYTES / sizeof(float) / rows;
    float *slab = NULL;
    lt_err err;

    slab_rows = slab_rows ? slab_rows : 1;
    LT_TRY(err = lt_alloc_array(&slab, slab_rows * rows, sizeof *slab, p->name));
    for (uint64_t c0 = 0, k; c0 < cols; c0 += k) {
        k = slab_rows < cols - c0 ? slab_rows : cols - c0;
        LT_TRY(err = lt_safetensors_read(file, t, c0 * rows, k * rows, slab, LT_F32));
        for (uint64_t r = row_begin; r < row_end; r++)
            for (uint64_t c = 0; c < k; c++) {
                uint64_t element = r * cols + c0 + c;

                if (element >= first && element - first < n)
                    dst[element - first] = slab[c * rows + r];
            }
    }
fail:
    free(slab);
    return err;
}

lt_err lt_hf_model_read(const lt_hf_model *m, const lt_param *p, uint64_t first, uint64_t n,
                        float *dst)
{
    const lt_safetensors *file = NULL;
    const lt_safetensor *t = find(m, p->name, &file);

    LT_BUG_ON(!t || first > (uint64_t)p->count || n > (uint64_t)p->count - first ||
              t->count != (uint64_t)p->count);
    if (n == 0)
        return LT_OK;
    if (p->layout == LT_HF_CONV1D && p->n_dims == 2)
        return read_transposed(file, t, p, first, n, dst);
    return lt_safetensors_read(file, t, first, n, dst, LT_F32);
}
