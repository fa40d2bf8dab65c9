/* base/xxh64.c - XXH64, written from the xxHash specification 0.1.1. */
#include "base/hash.h"

#include <string.h>

static const uint64_t prime1 = 0x9e3779b185ebca87u;
static const uint64_t prime2 = 0xc2b2ae3d27d4eb4fu;
static const uint64_t prime3 = 0x165667b19e3779f9u;
static const uint64_t prime4 = 0x85ebca77c2b2ae63u;
static const uint64_t prime5 = 0x27d4eb2f165667c5u;

static uint64_t rotate_left(uint64_t x, int r)
{
    return (x << r) | (x >> (64 - r));
}

static uint64_t load64(const uint8_t *p)
{
    uint64_t x;

    memcpy(&x, p, 8);
    return x;
}

static uint32_t load32(const uint8_t *p)
{
    uint32_t x;

    memcpy(&x, p, 4);
    return x;
}

static uint64_t mix_lane(uint64_t acc, uint64_t lane)
{
    return rotate_left(acc + lane * prime2, 31) * prime1;
}

static uint64_t merge_lane(uint64_t acc, uint64_t lane)
{
    return (acc ^ mix_lane(0, lane)) * prime1 + prime4;
}

/* Four accumulators over the stripes of 32 bytes; *p moves past them. */
static uint64_t hash_stripes(const uint8_t **p, size_t n, uint64_t seed)
{
    uint64_t a = seed + prime1 + prime2, b = seed + prime2, c = seed, d = seed - prime1, acc;
    const uint8_t *q = *p;

    for (; n >= 32; n -= 32, q += 32) {
        a = mix_lane(a, load64(q));
        b = mix_lane(b, load64(q + 8));
        c = mix_lane(c, load64(q + 16));
        d = mix_lane(d, load64(q + 24));
    }
    *p = q;
    acc = rotate_left(a, 1) + rotate_left(b, 7) + rotate_left(c, 12) + rotate_left(d, 18);
    return merge_lane(merge_lane(merge_lane(merge_lane(acc, a), b), c), d);
}

uint64_t lt_xxh64(const void *data, size_t n, uint64_t seed)
{
    const uint8_t *p = data;
    uint64_t acc = n >= 32 ? hash_stripes(&p, n, seed) : seed + prime5;
    size_t left = n % 32;

    acc += n;
    for (; left >= 8; left -= 8, p += 8)
        acc = rotate_left(acc ^ mix_lane(0, load64(p)), 27) * prime1 + prime4;
    for (; left >= 4; left -= 4, p += 4)
        acc = rotate_left(acc ^ (load32(p) * prime1), 23) * prime2 + prime3;
    for (; left > 0; left--, p++)
        acc = rotate_left(acc ^ (*p * prime5), 11) * prime1;
    acc = (acc ^ (acc >> 33)) * prime2;
    acc = (acc ^ (acc >> 29)) * prime3;
    return acc ^ (acc >> 32);
}
