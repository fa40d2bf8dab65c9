/* train_fixture.h - a tiny GPT-2 on the CPU and random token batches, for the tests of train/.
 *
 * Rows of a micro-batch are B * T; a batch owns its arrays.  The data set of the tests that need
 * one is tests/data/train (280 token ids, made by make_data.sh there). */
#ifndef LT_TESTS_TRAIN_FIXTURE_H
#define LT_TESTS_TRAIN_FIXTURE_H

#include "base/rng.h"
#include "lt_test.h"
#include "tiny_gpt2.h"
#include "train/engine.h"

#include <stdlib.h>

enum { FIX_VOCAB = 61, FIX_T = 8, FIX_ROWS = 64 };

typedef struct fix_batch {
    int32_t ids[FIX_ROWS], targets[FIX_ROWS], positions[FIX_ROWS], doc_start[FIX_ROWS];
} fix_batch;

static inline lt_model_config fix_config(void)
{
    return tiny_gpt2(FIX_VOCAB, 16, 24, 3, 40);
}

/* Options of a training engine with micro-batches of n_batch sequences; *config stays borrowed. */
static inline lt_engine_options fix_options(const lt_model_config *config, int64_t n_batch)
{
    return (lt_engine_options){
        .config = config,
        .shape = { .n_batch = n_batch,
                   .seq = FIX_T,
                   .act = LT_F32,
                   .grad = LT_F32,
                   .uses = { [LT_USE_TRAIN] = true, [LT_USE_EVALUATE] = true } },
        .device = "cpu",
        .dev = { .n_threads = 2, .deterministic = true },
        .optim = { .beta1 = 0.9f,
                   .beta2 = 0.95f,
                   .eps = 1e-8f,
                   .weight_decay = 0.1f,
                   .decoupled = true,
                   .max_norm = 1.0f },
        .training = true
    };
}

/* Random tokens; every ninth target is not counted. */
static inline int64_t fix_fill(fix_batch *b, int64_t rows, uint64_t seed)
{
    int64_t counted = 0;

    for (int64_t i = 0; i < rows; i++) {
        b->ids[i] = (int32_t)(lt_random_u64(seed, 0, (uint64_t)i) % FIX_VOCAB);
        b->targets[i] =
            i % 9 == 8 ? -100 : (int32_t)(lt_random_u64(seed, 1, (uint64_t)i) % FIX_VOCAB);
        b->positions[i] = (int32_t)(i % FIX_T);
        b->doc_start[i] = 0;
        counted += b->targets[i] >= 0;
    }
    return counted;
}

static inline lt_engine_batch fix_micro(const fix_batch *b, int64_t first_row)
{
    return (lt_engine_batch){ .ids = b->ids + first_row,
                              .targets = b->targets + first_row,
                              .positions = b->positions + first_row };
}

/* Elements of one class (master weights, moments) of all parameters, joined; free() it. */
static inline lt_err fix_values(lt_engine *e, lt_zero_class which, float **out, size_t *n)
{
    int n_pieces = 0;
    lt_zero_piece *pieces =
        lt_zero_plan_pieces(lt_engine_zero_plan(e), lt_engine_table(e), &n_pieces);
    size_t total = 0, at = 0;
    lt_err err = LT_OK;

    for (int i = 0; i < n_pieces; i++)
        total += (size_t)pieces[i].count;
    *out = lt_new_array0(total, sizeof **out);
    *n = total;
    for (int i = 0; i < n_pieces && err == LT_OK; i++) {
        err = lt_zero_read(lt_engine_store(e), which, &pieces[i], *out + at);
        at += (size_t)pieces[i].count;
    }
    free(pieces);
    return err;
}

#endif
