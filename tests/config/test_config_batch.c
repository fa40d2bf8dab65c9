/* test_config_batch.c - the batch equation: any two give the third, and its sentences. */
#include "config_case.h"

typedef struct batch {
    int micro, accum, global; /* 0: not given */
    int64_t world, want[3];   /* micro, accum, global */
} batch;

static lt_err resolve(lt_config **out, const batch *b)
{
    char yaml[256];
    int n = snprintf(yaml, sizeof yaml, "training:\n  seed: 1\n");
    lt_err err;

    if (b->micro)
        n += snprintf(yaml + n, sizeof yaml - (size_t)n, "  batch_size: %d\n", b->micro);
    if (b->accum)
        n += snprintf(yaml + n, sizeof yaml - (size_t)n, "  gradient_accumulation_steps: %d\n",
                      b->accum);
    if (b->global)
        n += snprintf(yaml + n, sizeof yaml - (size_t)n, "  global_batch_size: %d\n", b->global);
    LT_TRY(err = parse(out, yaml));
    return lt_config_resolve_batch(*out, b->world);
fail:
    return err;
}

LT_TEST(config_batch_any_two_give_the_third)
{
    static const batch cases[] = {
        { 8, 4, 0, 2, { 8, 4, 64 } },
        { 8, 0, 64, 2, { 8, 4, 64 } },
        { 0, 4, 64, 2, { 8, 4, 64 } },
        { 8, 4, 64, 2, { 8, 4, 64 } },
        { 8, 0, 0, 3, { 8, 1, 24 } },
        { 0, 0, 24, 3, { 8, 1, 24 } },
        { 0, 0, 0, 2, { 8, 1, 16 } },
        { 0, 4, 0, 2, { 8, 4, 64 } },
        { 1048576, 1048576, 0, 1 << 20, { 1048576, 1048576, 1LL << 60 } },
    };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        lt_config *c = NULL;

        LT_CHECK_OK(resolve(&c, &cases[i]));
        LT_CHECK_INT(c->training.batch_size, cases[i].want[0]);
        LT_CHECK_INT(c->training.gradient_accumulation_steps, cases[i].want[1]);
        LT_CHECK_INT(c->training.global_batch_size, cases[i].want[2]);
        LT_CHECK_OK(lt_config_resolve_batch(c, cases[i].world)); /* again: nothing changes */
        LT_CHECK_INT(c->training.global_batch_size, cases[i].want[2]);
        lt_config_free(c);
    }
}

LT_TEST(config_batch_follows_the_ranks)
{
    lt_config *c = NULL;

    LT_CHECK_OK(parse(&c, "training: {batch_size: 2, global_batch_size: 48}\n"));
    LT_CHECK_OK(lt_config_resolve_batch(c, 2));
    LT_CHECK_INT(c->training.gradient_accumulation_steps, 12);
    LT_CHECK_OK(lt_config_resolve_batch(c, 8));
    LT_CHECK_INT(c->training.gradient_accumulation_steps, 3);
    lt_config_free(c);
}

LT_TEST(config_batch_refuses_with_the_equation)
{
    static const struct {
        batch b;
        const char *sentence;
    } cases[] = {
        { { .micro = 8, .global = 100, .world = 2 },
          "training.global_batch_size 100 (c.yaml:4) is no multiple of training.batch_size 8 "
          "(c.yaml:3) x 2 ranks = 16; nearest that are: 96 and 112" },
        { { .accum = 3, .global = 100, .world = 2 },
          "training.global_batch_size 100 (c.yaml:4) is no multiple of "
          "training.gradient_accumulation_steps 3 (c.yaml:3) x 2 ranks = 6; nearest that are: 96 "
          "and 102" },
        { { .global = 100, .world = 3 },
          "training.global_batch_size 100 (c.yaml:3) is no multiple of 3 ranks; nearest that "
          "are: 99 and 102" },
        { { .micro = 8, .global = 4, .world = 2 },
          "training.global_batch_size 4 (c.yaml:4) is no multiple of training.batch_size 8 "
          "(c.yaml:3) x 2 ranks = 16; nearest that are: 16" },
        { { .micro = 8, .accum = 3, .global = 64, .world = 2 },
          "training.global_batch_size 64 (c.yaml:5) must be training.batch_size 8 (c.yaml:3) x "
          "training.gradient_accumulation_steps 3 (c.yaml:4) x 2 ranks = 48; leave one of the "
          "three out" },
    };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        lt_config *c = NULL;

        LT_CHECK_INT(resolve(&c, &cases[i].b), LT_EUSAGE);
        LT_CHECK_STR(lt_err_text(), cases[i].sentence);
        lt_config_free(c);
    }
}
