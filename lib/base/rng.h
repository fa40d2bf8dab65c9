/* base/rng.h - randomness without state.
 *
 * A random word is a pure function of (seed, stream, index): nothing to save in a checkpoint, the
 * same at any rank count.  lt_mix64 is the splitmix64 finaliser (Steele, Lea, Flood,
 * OOPSLA 2014). */
#ifndef LT_BASE_RNG_H
#define LT_BASE_RNG_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline uint64_t lt_mix64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t lt_random_u64(uint64_t seed, uint64_t stream, uint64_t index)
{
    return lt_mix64(lt_mix64(lt_mix64(seed) ^ stream) ^ index);
}

static inline double lt_random_unit(uint64_t seed, uint64_t stream, uint64_t index) /* [0, 1) */
{
    return (double)(lt_random_u64(seed, stream, index) >> 11) * 0x1p-53;
}

double lt_random_normal(uint64_t seed, uint64_t stream, uint64_t index); /* N(0, 1), Box-Muller */

#ifdef __cplusplus
}
#endif
#endif
