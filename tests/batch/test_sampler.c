/* test_sampler.c - the keyed permutation and the order of samples. */
#include "batch/sampler.h"

#include "base/mem.h"
#include "lt_test.h"

#include <stdlib.h>

LT_TEST(perm_is_a_bijection)
{
    static const uint64_t sizes[] = { 1, 2, 3, 4, 5, 7, 8, 9, 100, 1000003, (1 << 20) + 1 };

    for (size_t i = 0; i < LT_COUNT(sizes); i++) {
        uint8_t *seen = lt_new0(sizes[i]);
        lt_perm p = lt_perm_make(sizes[i], 42, 1, i);
        uint64_t bad = 0;

        for (uint64_t x = 0; x < sizes[i]; x++) {
            uint64_t y = lt_perm_at(&p, x);

            bad += y >= sizes[i] || seen[y]++;
        }
        free(seen);
        LT_CHECK_INT(bad, 0);
    }
}

LT_TEST(perm_works_up_to_64_bits)
{
    static const uint64_t sizes[] = { UINT64_C(1) << 40, (UINT64_C(1) << 63) + 1, UINT64_MAX };

    for (size_t i = 0; i < LT_COUNT(sizes); i++) {
        lt_perm p = lt_perm_make(sizes[i], 1, 2, 3);

        for (uint64_t x = 0; x < 1000; x++)
            LT_CHECK(lt_perm_at(&p, x) < sizes[i] && lt_perm_at(&p, sizes[i] - 1 - x) < sizes[i] &&
                     lt_perm_at(&p, x) != lt_perm_at(&p, x + 1));
    }
}

/* Chi-square of (x, perm(x)) over 64 x 64 bins: 4095 degrees of freedom, deviation about 90; half
 * of the margins are fixed, so values near 3969 are expected. */
LT_TEST(perm_looks_random)
{
    enum { N = 1 << 18, BINS = 64 };
    static uint32_t count[BINS][BINS];
    lt_perm p = lt_perm_make(N, 7, 0, 0);
    double chi = 0, each = (double)N / (BINS * BINS), lag = 0;

    memset(count, 0, sizeof count);
    for (uint64_t x = 0; x < N; x++) {
        double here = (double)lt_perm_at(&p, x) / N - 0.5;

        count[x * BINS / N][lt_perm_at(&p, x) * BINS / N]++;
        lag += here * ((double)lt_perm_at(&p, (x + 1) % N) / N - 0.5);
    }
    for (int a = 0; a < BINS; a++)
        for (int b = 0; b < BINS; b++)
            chi += (count[a][b] - each) * (count[a][b] - each) / each;
    LT_CHECK_NEAR(chi, 3969, 450);
    LT_CHECK_NEAR(lag / N * 12, 0, 0.01); /* lag-1 correlation */
}

LT_TEST(perm_depends_on_seed_stream_and_epoch)
{
    lt_perm a = lt_perm_make(1000, 1, 1, 1),
            b[3] = { lt_perm_make(1000, 2, 1, 1), lt_perm_make(1000, 1, 2, 1),
                     lt_perm_make(1000, 1, 1, 2) };

    for (int i = 0; i < 3; i++) {
        int same = 0;

        for (uint64_t x = 0; x < 1000; x++)
            same += lt_perm_at(&a, x) == lt_perm_at(&b[i], x);
        LT_CHECK(same < 10);
    }
}

/* The order is written into run configurations and checkpoints: it must never change. */
LT_TEST(sampler_order_is_fixed_for_ever)
{
    static const uint64_t golden[] = { 88416, 55648, 79116, 48012, 70546, 98322, 14909, 39485 };
    lt_sampler s;

    LT_CHECK_OK(lt_sampler_init(&s, 100000, 128, 1234, 0, true, "data"));
    for (size_t i = 0; i < LT_COUNT(golden); i++)
        LT_CHECK_INT(lt_sampler_first_token(&s, i * 400), golden[i]);
}

LT_TEST(sampler_every_epoch_reads_every_window_once)
{
    enum { T = 16, TOKENS = 1000 };
    uint64_t n = (TOKENS - T) / T;
    lt_sampler s;

    LT_CHECK_OK(lt_sampler_init(&s, TOKENS, T, 5, 0, true, "data"));
    LT_CHECK_INT(s.n_windows, n);
    for (uint64_t epoch = 0; epoch < 40; epoch++) {
        uint8_t seen[TOKENS] = { 0 };
        uint64_t offset = 0;

        for (uint64_t i = 0; i < n; i++) {
            uint64_t first = lt_sampler_first_token(&s, epoch * n + i);

            offset = i == 0 ? first % T : offset;
            LT_CHECK(first + T < TOKENS); /* T + 1 tokens are there */
            LT_CHECK_INT(first % T, offset);
            LT_CHECK_INT(seen[first]++, 0);
        }
    }
}

LT_TEST(sampler_keeps_no_state)
{
    lt_sampler forward, back;

    LT_CHECK_OK(lt_sampler_init(&forward, 5000, 32, 5, 0, true, "data"));
    LT_CHECK_OK(lt_sampler_init(&back, 5000, 32, 5, 0, true, "data"));
    for (uint64_t k = 0; k < 1000; k++) {
        lt_sampler_first_token(&back, (k * 7919) % 1000);
        LT_CHECK_INT(lt_sampler_first_token(&back, k), lt_sampler_first_token(&forward, k));
    }
}

LT_TEST(sampler_without_shuffling_is_sequential)
{
    lt_sampler s;

    LT_CHECK_OK(lt_sampler_init(&s, 101, 10, 0, 0, false, "data"));
    LT_CHECK_INT(s.n_windows, 10);
    for (uint64_t k = 0; k < 30; k++)
        LT_CHECK_INT(lt_sampler_first_token(&s, k), k % 10 * 10);
}

LT_TEST(sampler_refuses_too_little_data)
{
    lt_sampler s;

    LT_CHECK_FAILS(lt_sampler_init(&s, 512, 1024, 0, 0, true, "data"), LT_EMISMATCH,
                   "data: 512 tokens cannot fill one sequence of 1024");
    LT_CHECK_FAILS(lt_sampler_init(&s, 2047, 1024, 0, 0, true, "data"), LT_EMISMATCH, "takes 2048");
    LT_CHECK_OK(lt_sampler_init(&s, 2048, 1024, 0, 0, true, "data"));
    LT_CHECK_OK(lt_sampler_init(&s, 1025, 1024, 0, 0, false, "data"));
}
