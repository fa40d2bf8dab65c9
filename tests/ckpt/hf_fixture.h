/* hf_fixture.h - a Hugging Face folder imported into a checkpoint, as a trainer does it. */
#ifndef HF_FIXTURE_H
#define HF_FIXTURE_H

#include "base/file.h"
#include "ckpt/checkpoint_save.h"
#include "ckpt/hf_export.h"
#include "ckpt/hf_model.h"
#include "lt_test.h"

#include <stdlib.h>

enum { HF_MOST = 256, HF_BLOBS = 3 };

typedef struct hf_fixture {
    lt_model_config config;
    lt_param_table *table;
    lt_hf_model *model;
    lt_ckpt_tensor tensors[HF_MOST];
    lt_buf blobs[HF_BLOBS];
} hf_fixture;

static const char *const hf_blob_names[HF_BLOBS] = { "config.json", "generation_config.json",
                                                     "tokenizer.json" };

static inline void hf_fixture_release(hf_fixture *f)
{
    for (int i = 0; i < HF_BLOBS; i++)
        lt_buf_release(&f->blobs[i]);
    lt_hf_model_close(f->model);
    lt_param_table_free(f->table);
    *f = (hf_fixture){ 0 };
}

/* Opens and checks; tokenizer.json may be absent. */
static inline lt_err hf_fixture_open(hf_fixture *f, const char *folder)
{
    double dropout;
    char *path = lt_path_join(folder, "config.json");
    lt_err err;

    *f = (hf_fixture){ 0 };
    LT_TRY(err = lt_model_config_from_hf(&f->config, &dropout, path));
    f->table = lt_param_table_new(&f->config);
    LT_BUG_ON(f->table->n_params > HF_MOST);
    LT_TRY(err = lt_hf_model_open(&f->model, folder));
    LT_TRY(err = lt_hf_model_check(f->model, f->table));
    for (int i = 0; i < f->table->n_params; i++)
        f->tensors[i] = lt_ckpt_tensor_of(&f->table->params[i], LT_F32);
    for (int i = 0; i < HF_BLOBS; i++) {
        char *blob = lt_path_join(folder, hf_blob_names[i]);

        if (lt_path_exists(blob))
            err = err == LT_OK ? lt_file_read_all(&f->blobs[i], blob, 1 << 26) : err;
        free(blob);
    }
fail:
    free(path);
    if (err != LT_OK)
        hf_fixture_release(f);
    return err;
}

/* One rank's even cut of all weights, and the first moment of ones. */
static inline lt_err hf_fixture_write(const hf_fixture *f, const char *tmp,
                                      lt_ckpt_save_request *rq, lt_buf *part)
{
    int n = f->table->n_params;
    lt_ckpt_slice *slices = lt_new_array0((size_t)n * 2, sizeof *slices);
    size_t n_slices = 0;
    lt_err err = LT_OK;

    for (int i = 0; i < n; i++) {
        const lt_param *p = &f->table->params[i];
        uint64_t first = (uint64_t)p->count * rq->rank / rq->world;
        uint64_t count = (uint64_t)p->count * (rq->rank + 1) / rq->world - first;
        float *data = lt_new_array0((size_t)count, sizeof *data), *ones;

        LT_TRY(err = lt_hf_model_read(f->model, p, first, count, data));
        slices[n_slices++] =
            (lt_ckpt_slice){ LT_CKPT_WEIGHTS, p->name, LT_F32, first, count, data };
        ones = lt_new_array0((size_t)count, sizeof *ones);
        for (uint64_t k = 0; k < count; k++)
            ones[k] = 1;
        slices[n_slices++] = (lt_ckpt_slice){ "exp_avg", p->name, LT_F32, first, count, ones };
    }
    rq->slices = slices;
    rq->n_slices = n_slices;
    err = lt_ckpt_write(tmp, rq, part);
fail:
    for (size_t i = 0; i < n_slices; i++)
        free((void *)slices[i].data);
    free(slices);
    rq->slices = NULL;
    return err;
}

/* DIR/step-%08d from the folder, written by `world` ranks. */
static inline lt_err hf_fixture_save(const hf_fixture *f, const char *dir, uint64_t step,
                                     uint32_t world)
{
    lt_ckpt_blob blobs[HF_BLOBS];
    lt_ckpt_save_request rq = { .step = { step, step * 4, step * 64, "golden" },
                                .tensors = f->tensors,
                                .n_tensors = (size_t)f->table->n_params,
                                .blobs = blobs,
                                .world = world };
    lt_buf parts[8] = { { 0 } };
    const char *texts[8];
    char *tmp = NULL;
    bool published = false;
    lt_err err;

    LT_BUG_ON(world > 8);
    for (int i = 0; i < HF_BLOBS; i++)
        if (f->blobs[i].size > 0)
            blobs[rq.n_blobs++] =
                (lt_ckpt_blob){ hf_blob_names[i], f->blobs[i].data, f->blobs[i].size };
    LT_TRY(err = lt_ckpt_begin(dir, step, &tmp));
    for (rq.rank = 0; rq.rank < world; rq.rank++) {
        LT_TRY(err = hf_fixture_write(f, tmp, &rq, &parts[rq.rank]));
        texts[rq.rank] = lt_buf_cstr(&parts[rq.rank]);
    }
    LT_TRY(err = lt_ckpt_commit(tmp, &rq, texts, world, &published));
fail:
    if (tmp && !published)
        lt_ckpt_discard(tmp);
    for (uint32_t r = 0; r < world; r++)
        lt_buf_release(&parts[r]);
    free(tmp);
    return err;
}

/* Are the two files equal byte for byte? */
static inline bool same_bytes(const char *a, const char *b)
{
    lt_buf x = { 0 }, y = { 0 };
    bool same = lt_file_read_all(&x, a, 1 << 28) == LT_OK &&
                lt_file_read_all(&y, b, 1 << 28) == LT_OK && x.size == y.size &&
                memcmp(x.data, y.data, x.size) == 0;

    lt_buf_release(&x);
    lt_buf_release(&y);
    return same;
}

#endif
