/* base/rng.c - the normal distribution on top of the counter generator. */
#include "base/rng.h"

#include <math.h>

double lt_random_normal(uint64_t seed, uint64_t stream, uint64_t index)
{
    /* Two independent uniforms from one index: 2 * index and 2 * index + 1. */
    double u = 1.0 - lt_random_unit(seed, stream, 2 * index); /* (0, 1]: log stays finite */
    double v = lt_random_unit(seed, stream, 2 * index + 1);

    return sqrt(-2.0 * log(u)) * cos(2.0 * 3.14159265358979323846 * v);
}
