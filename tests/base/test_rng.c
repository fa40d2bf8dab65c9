/* test_rng.c - the counter generator: known words, range, moments, independence of order. */
#include "base/clock.h"
#include "base/rng.h"
#include "lt_test.h"

#include <math.h>

/* splitmix64 started at 0 and at 1234567, first outputs as its authors' code gives them. */
LT_TEST(mix64_is_splitmix64)
{
    LT_CHECK_INT(lt_mix64(0), 0xe220a8397b1dcdafu);
    LT_CHECK_INT(lt_mix64(0x9e3779b97f4a7c15u), 0x6e789e6aa1b965f4u);
    LT_CHECK_INT(lt_mix64(1234567), 6457827717110365317u);
}

LT_TEST(words_differ_in_every_coordinate)
{
    uint64_t x = lt_random_u64(1, 2, 3);

    LT_CHECK(x == lt_random_u64(1, 2, 3));
    LT_CHECK(x != lt_random_u64(2, 2, 3));
    LT_CHECK(x != lt_random_u64(1, 3, 3));
    LT_CHECK(x != lt_random_u64(1, 2, 4));
    LT_CHECK(lt_random_u64(1, 2, 3) != lt_random_u64(1, 3, 2));
}

LT_TEST(unit_is_uniform)
{
    enum { N = 100000 };
    double sum = 0, square = 0;

    for (int i = 0; i < N; i++) {
        double u = lt_random_unit(7, 0, (uint64_t)i);

        LT_CHECK(u >= 0 && u < 1);
        sum += u;
        square += u * u;
    }
    LT_CHECK_NEAR(sum / N, 0.5, 0.005);
    LT_CHECK_NEAR(square / N, 1.0 / 3, 0.005);
}

LT_TEST(normal_has_the_moments)
{
    enum { N = 100000 };
    double sum = 0, square = 0, fourth = 0, lag = 0, last = 0;

    for (int i = 0; i < N; i++) {
        double x = lt_random_normal(7, 1, (uint64_t)i);

        LT_CHECK(isfinite(x));
        sum += x;
        square += x * x;
        fourth += x * x * x * x;
        lag += x * last;
        last = x;
    }
    LT_CHECK_NEAR(sum / N, 0, 0.015);
    LT_CHECK_NEAR(square / N, 1, 0.02);
    LT_CHECK_NEAR(fourth / N, 3, 0.15);
    LT_CHECK_NEAR(lag / N, 0, 0.015);
}

LT_TEST(clocks)
{
    double a = lt_now(), b = lt_now();

    LT_CHECK(a >= 0 && b >= a);
    LT_CHECK(lt_wall_time() > 1.7e9); /* later than 2023 */
}
