/* ranks_fixture.h - a whole tensor space in memory, saved by any number of ranks cut at random.
 *
 * Ranks borrow ranges of the space, so a cut needs no data of its own.  Seed 0 cuts evenly and in
 * rank order; any other seed draws the borders, the rank of each range and the order of the
 * slices. */
#ifndef RANKS_FIXTURE_H
#define RANKS_FIXTURE_H

#include "base/file.h"
#include "base/rng.h"
#include "ckpt/checkpoint.h"
#include "ckpt/checkpoint_save.h"
#include "lt_test.h"

#include <stdlib.h>

enum { SPACE_TENSORS = 64, SPACE_GROUPS = 3, SPACE_WORLD = 8 };

static const struct {
    const char *name;
    lt_dtype dtype;
} space_groups[SPACE_GROUPS] = { { LT_CKPT_WEIGHTS, LT_F32 },
                                 { "exp_avg", LT_F32 },
                                 { "exp_avg_sq", LT_BF16 } };

typedef struct space {
    lt_ckpt_tensor tensors[SPACE_TENSORS];
    size_t n;
    void *data[SPACE_GROUPS][SPACE_TENSORS]; /* owned; NULL: the group does not hold the tensor */
    const lt_ckpt_blob *blobs;
    size_t n_blobs;
    const char *run_id;
    uint64_t samples; /* saved beside the step */
} space;

static const lt_ckpt_tensor space_small[] = {
    { "h.0.c_fc.weight", LT_F32, 2, { 13, 11 }, LT_HF_CONV1D, true },
    { "wte.weight", LT_F32, 2, { 32, 5 }, LT_HF_LINEAR, true },
    { "ln_f.weight", LT_F32, 1, { 7, 0 }, LT_HF_LINEAR, true },
    { "scale", LT_F32, 1, { 1, 0 }, LT_HF_LINEAR, false },
};
static const char space_state[] = "{\"cursor\": 12345}";
static const lt_ckpt_blob space_blobs[] = { { "state.json", space_state, sizeof space_state - 1 },
                                            { "empty", "", 0 } };

/* A small space, its matrices with `times` as many rows; another salt gives other values in every
 * element. */
static inline void space_init_rows(space *s, uint64_t salt, uint64_t times)
{
    *s = (space){ .n = LT_COUNT(space_small),
                  .blobs = space_blobs,
                  .n_blobs = LT_COUNT(space_blobs),
                  .run_id = "test-run",
                  .samples = salt };
    memcpy(s->tensors, space_small, sizeof space_small);
    for (size_t t = 0; t < s->n; t++)
        s->tensors[t].dims[0] *= s->tensors[t].n_dims == 2 ? times : 1;
    for (size_t g = 0; g < SPACE_GROUPS; g++)
        for (size_t t = 0; t < s->n; t++) {
            size_t count = (size_t)lt_ckpt_tensor_count(&s->tensors[t]);
            float *values = lt_new_array0(count, sizeof *values);

            for (size_t i = 0; i < count; i++)
                values[i] = (float)lt_random_normal(salt, g * SPACE_TENSORS + t, i);
            s->data[g][t] = lt_new_array0(count, lt_dtype_bytes(space_groups[g].dtype));
            lt_convert(s->data[g][t], space_groups[g].dtype, values, LT_F32, count);
            free(values);
        }
}

static inline void space_init(space *s, uint64_t salt)
{
    space_init_rows(s, salt, 1);
}

static inline void space_release(space *s)
{
    for (size_t g = 0; g < SPACE_GROUPS; g++)
        for (size_t t = 0; t < s->n; t++)
            free(s->data[g][t]);
    *s = (space){ 0 };
}

/* Range [first, end) of n elements that `rank` gets of the item-th tensor. */
static inline void space_cut(uint64_t n, uint64_t seed, uint64_t item, uint32_t rank,
                             uint32_t world, uint64_t *first, uint64_t *end)
{
    uint64_t border[SPACE_WORLD + 1] = { 0 };
    uint32_t place[SPACE_WORLD];

    for (uint32_t r = 0; r < world; r++) {
        place[r] = r;
        border[r + 1] = n * (r + 1) / world;
    }
    for (uint32_t r = 1; seed != 0 && r < world; r++) { /* insert a random border, swap places */
        uint64_t at = lt_random_u64(seed, item, r) % (n + 1);
        uint32_t k = r, other = (uint32_t)(lt_random_u64(seed, ~item, r) % (r + 1));

        for (; k > 1 && border[k - 1] > at; k--)
            border[k] = border[k - 1];
        border[k] = at;
        place[r] = place[other];
        place[other] = r;
    }
    *first = border[place[rank]];
    *end = border[place[rank] + 1];
}

typedef struct space_rank {
    lt_ckpt_slice slices[SPACE_GROUPS * SPACE_TENSORS];
    lt_ckpt_save_request rq;
} space_rank;

/* What one rank saves; r borrows from s and must stay while its request is used. */
static inline const lt_ckpt_save_request *space_request(const space *s, space_rank *r,
                                                        uint64_t step, uint64_t seed, uint32_t rank,
                                                        uint32_t world)
{
    size_t n = 0, all = SPACE_GROUPS * s->n;

    for (size_t k = 0; k < all; k++) {
        size_t item = seed ? (k + seed * 5) % all : k;
        size_t g = item / s->n, t = item % s->n;
        uint64_t first, end;

        space_cut(lt_ckpt_tensor_count(&s->tensors[t]), seed, item, rank, world, &first, &end);
        if (first == end || !s->data[g][t])
            continue;
        r->slices[n++] = (lt_ckpt_slice){ .group = space_groups[g].name,
                                          .name = s->tensors[t].name,
                                          .dtype = space_groups[g].dtype,
                                          .first = first,
                                          .count = end - first,
                                          .data = (char *)s->data[g][t] +
                                                  first * lt_dtype_bytes(space_groups[g].dtype) };
    }
    r->rq = (lt_ckpt_save_request){ .step = { step, s->samples, step * 512, s->run_id },
                                    .tensors = s->tensors,
                                    .n_tensors = s->n,
                                    .slices = r->slices,
                                    .n_slices = n,
                                    .blobs = s->blobs,
                                    .n_blobs = s->n_blobs,
                                    .rank = rank,
                                    .world = world };
    return &r->rq;
}

/* DIR/step-%08d by `world` ranks, one after the other. */
static inline lt_err space_save(const space *s, const char *dir, uint64_t step, uint64_t seed,
                                uint32_t world)
{
    lt_buf parts[SPACE_WORLD] = { { 0 } };
    const char *texts[SPACE_WORLD];
    char *tmp = NULL;
    bool published = false;
    space_rank r;
    lt_err err;

    LT_TRY(err = lt_ckpt_begin(dir, step, &tmp));
    for (uint32_t k = world; k-- > 0;) {
        LT_TRY(err = lt_ckpt_write(tmp, space_request(s, &r, step, seed, k, world), &parts[k]));
        texts[k] = lt_buf_cstr(&parts[k]);
    }
    LT_TRY(err = lt_ckpt_commit(tmp, &r.rq, texts, world, &published));
fail:
    if (tmp && !published)
        lt_ckpt_discard(tmp);
    for (uint32_t k = 0; k < world; k++)
        lt_buf_release(&parts[k]);
    free(tmp);
    return err;
}

/* What `world` ranks read, each its own cut, is what the space holds; LT_EMISMATCH if not. */
static inline lt_err space_compare(const space *s, lt_ckpt *c, uint64_t seed, uint32_t world)
{
    space_rank r;
    lt_err err = LT_OK;

    for (uint32_t k = 0; k < world && err == LT_OK; k++) {
        space_request(s, &r, 0, seed, k, world);
        for (size_t i = 0; i < r.rq.n_slices && err == LT_OK; i++) {
            const lt_ckpt_slice *p = &r.slices[i];
            size_t bytes = (size_t)p->count * lt_dtype_bytes(p->dtype);
            char *got = lt_new0(bytes);

            err = lt_ckpt_read(c, p->group, p->name, p->first, p->count, got, p->dtype);
            if (err == LT_OK && memcmp(got, p->data, bytes) != 0)
                err = lt_fail(LT_EMISMATCH, "%s of %s differs", p->group, p->name);
            free(got);
        }
    }
    return err;
}

/* Opens, verifies and compares a step folder. */
static inline lt_err space_check(const space *s, const char *path)
{
    lt_ckpt *c = NULL;
    lt_err err;

    LT_TRY(err = lt_ckpt_open(&c, path));
    LT_TRY(err = lt_ckpt_verify(c, NULL));
    LT_TRY(err = space_compare(s, c, 0, 1));
fail:
    lt_ckpt_close(c);
    return err;
}

#endif
