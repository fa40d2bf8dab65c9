/* ckpt_fixture.h - a small checkpoint that the tests of lib/ckpt save, break and read.
 *
 * Three tensors (a conv1d matrix, a matrix, a vector) with both moments; element i of tensor t in
 * group g is fixture_value(g, t, i, step), so any range can be checked without the original. */
#ifndef CKPT_FIXTURE_H
#define CKPT_FIXTURE_H

#include "base/file.h"
#include "ckpt/checkpoint.h"
#include "lt_test.h"
#include "save_fixture.h"

#include <stdlib.h>

enum { FIX_TENSORS = 3, FIX_GROUPS = 3, FIX_SLICES = FIX_TENSORS * FIX_GROUPS, FIX_MOST = 35 };

static const lt_ckpt_tensor fix_tensors[FIX_TENSORS] = {
    { "h.0.c_fc.weight", LT_F32, 2, { 7, 5 }, LT_HF_CONV1D, true },
    { "wte.weight", LT_F32, 2, { 6, 4 }, LT_HF_LINEAR, true },
    { "ln_f.bias", LT_F32, 1, { 9, 0 }, LT_HF_LINEAR, true },
};
static const char *const fix_groups[FIX_GROUPS] = { LT_CKPT_WEIGHTS, "exp_avg", "exp_avg_sq" };

static inline float fixture_value(int group, int tensor, uint64_t i, uint64_t step)
{
    return (float)(group * 1000 + tensor * 100) + (float)i + (float)step / 1024.0f;
}

typedef struct fixture {
    float data[FIX_SLICES][FIX_MOST];
    lt_ckpt_slice slices[FIX_SLICES];
    lt_ckpt_save_request rq;
} fixture;

static const char fix_config[] =
    "{\"n_positions\": 16, \"eos_token_id\": 0, \"dtype\": \"float32\"}";
static const char fix_state[] = "{\"cursor\": 12345}";
static const lt_ckpt_blob fix_blobs[] = {
    { "config.json", fix_config, sizeof fix_config - 1 },
    { "state.json", fix_state, sizeof fix_state - 1 },
    { "empty", "", 0 },
};

/* Rank `rank` of `world` gets an even cut of every tensor; f must stay while rq is used. */
static inline void fixture_init(fixture *f, uint64_t step, uint32_t rank, uint32_t world)
{
    size_t n = 0;

    for (int g = 0; g < FIX_GROUPS; g++)
        for (int t = 0; t < FIX_TENSORS; t++) {
            uint64_t total = lt_ckpt_tensor_count(&fix_tensors[t]);
            uint64_t first = total * rank / world, end = total * (rank + 1) / world;

            if (first == end)
                continue;
            for (uint64_t i = first; i < end; i++)
                f->data[n][i - first] = fixture_value(g, t, i, step);
            f->slices[n] = (lt_ckpt_slice){ .group = fix_groups[g],
                                            .name = fix_tensors[t].name,
                                            .dtype = LT_F32,
                                            .first = first,
                                            .count = end - first,
                                            .data = f->data[n] };
            n++;
        }
    f->rq = (lt_ckpt_save_request){ .step = { step, step * 8, step * 512, "test-run" },
                                    .tensors = fix_tensors,
                                    .n_tensors = FIX_TENSORS,
                                    .slices = f->slices,
                                    .n_slices = n,
                                    .blobs = fix_blobs,
                                    .n_blobs = 3,
                                    .rank = rank,
                                    .world = world };
}

static inline lt_err fixture_save(const char *dir, uint64_t step)
{
    fixture f;

    fixture_init(&f, step, 0, 1);
    return save_alone(dir, &f.rq, NULL);
}

/* The N-rank protocol, ranks one after the other. */
static inline lt_err fixture_save_world(const char *dir, uint64_t step, uint32_t world)
{
    lt_buf parts[16] = { { 0 } };
    const char *texts[16];
    char *tmp = NULL;
    bool published = false;
    fixture f;
    lt_err err;

    LT_TRY(err = lt_ckpt_begin(dir, step, &tmp));
    for (uint32_t r = 0; r < world; r++) {
        fixture_init(&f, step, r, world);
        LT_TRY(err = lt_ckpt_write(tmp, &f.rq, &parts[r]));
        texts[r] = lt_buf_cstr(&parts[r]);
    }
    fixture_init(&f, step, 0, world);
    LT_TRY(err = lt_ckpt_commit(tmp, &f.rq, texts, world, &published));
fail:
    if (tmp && !published)
        lt_ckpt_discard(tmp);
    for (uint32_t r = 0; r < world; r++)
        lt_buf_release(&parts[r]);
    free(tmp);
    return err;
}

/* Every element of every group reads as it was saved; LT_EMISMATCH when one differs. */
static inline lt_err fixture_read(const char *path, uint64_t step)
{
    lt_ckpt *c = NULL;
    lt_buf blob = { 0 };
    float got[FIX_MOST];
    lt_err err;

    LT_TRY(err = lt_ckpt_open(&c, path));
    for (int g = 0; g < FIX_GROUPS; g++)
        for (int t = 0; t < FIX_TENSORS; t++) {
            uint64_t n = lt_ckpt_tensor_count(&fix_tensors[t]);

            LT_TRY(err = lt_ckpt_read(c, fix_groups[g], fix_tensors[t].name, 0, n, got, LT_F32));
            for (uint64_t i = 0; i < n; i++)
                if (got[i] != fixture_value(g, t, i, step)) {
                    err = lt_fail(LT_EMISMATCH, "element %d of tensor %d differs", (int)i, t);
                    goto fail;
                }
        }
    for (size_t i = 0; i < 3; i++) {
        LT_TRY(err = lt_ckpt_blob_read(c, fix_blobs[i].name, &blob));
        if (blob.size != fix_blobs[i].size ||
            memcmp(blob.data, fix_blobs[i].data, blob.size) != 0) {
            err = lt_fail(LT_EMISMATCH, "blob %s differs", fix_blobs[i].name);
            goto fail;
        }
    }
    if (lt_ckpt_manifest(c)->step.step != step)
        err = lt_fail(LT_EMISMATCH, "the step differs");
fail:
    lt_buf_release(&blob);
    lt_ckpt_close(c);
    return err;
}

/* lt_test_tmp with its own memory, since those of a test outlive four calls. */
static inline const char *fixture_dir(char dst[512], const char *name)
{
    snprintf(dst, 512, "%s", lt_test_tmp(name));
    return dst;
}

#endif
