/* base/sha256.c - SHA-256 (FIPS 180-4): plain C, and the SHA instructions where the CPU has them.
 *
 * Both paths are one function from (state, whole blocks) to state; the streaming around them is
 * shared. */
#include "base/hash.h"
#include "base/hash_portable.h"

#include <stdatomic.h>
#include <string.h>

enum { BLOCK = 64 };

static const uint32_t k256[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate_right(uint32_t x, int r)
{
    return (x >> r) | (x << (32 - r));
}

static void expand(uint32_t w[64], const uint8_t *p)
{
    for (int t = 0; t < 16; t++)
        w[t] = (uint32_t)p[4 * t] << 24 | (uint32_t)p[4 * t + 1] << 16 |
               (uint32_t)p[4 * t + 2] << 8 | p[4 * t + 3];
    for (int t = 16; t < 64; t++) {
        uint32_t a = w[t - 15], b = w[t - 2];
        uint32_t s0 = rotate_right(a, 7) ^ rotate_right(a, 18) ^ (a >> 3);
        uint32_t s1 = rotate_right(b, 17) ^ rotate_right(b, 19) ^ (b >> 10);

        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
}

void lt_sha256_blocks_portable(uint32_t state[8], const uint8_t *p, size_t n_blocks)
{
    uint32_t w[64];

    for (; n_blocks > 0; n_blocks--, p += BLOCK) {
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];

        expand(w, p);
        for (int t = 0; t < 64; t++) {
            uint32_t s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
            uint32_t s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
            uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + k256[t] + w[t];
            uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));

            h = g, g = f, f = e, e = d + t1;
            d = c, c = b, b = a, a = t1 + t2;
        }
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
        state[4] += e, state[5] += f, state[6] += g, state[7] += h;
    }
}

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

/* The instructions keep the state as two vectors, (a b e f) and (c d g h) from the top lane down,
 * and do two rounds at a time. */
__attribute__((target("sha,sse4.1"))) static void blocks_sha_ni(uint32_t h[8], const uint8_t *p,
                                                                size_t n_blocks)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i dcba = _mm_loadu_si128((const __m128i *)h);
    __m128i hgfe = _mm_loadu_si128((const __m128i *)(h + 4));
    __m128i cdab = _mm_shuffle_epi32(dcba, 0xb1), efgh = _mm_shuffle_epi32(hgfe, 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);

    for (; n_blocks > 0; n_blocks--, p += BLOCK) {
        const __m128i abef0 = abef, cdgh0 = cdgh;
        __m128i w[4]; /* a ring of the last sixteen words */

        for (int t = 0; t < 16; t++) {
            __m128i x;

            if (t < 4) {
                x = _mm_loadu_si128((const __m128i *)(p + 16 * t));
                w[t] = _mm_shuffle_epi8(x, big_endian);
            } else {
                __m128i w7 = _mm_alignr_epi8(w[(t + 3) % 4], w[(t + 2) % 4], 4);

                x = _mm_add_epi32(_mm_sha256msg1_epu32(w[t % 4], w[(t + 1) % 4]), w7);
                w[t % 4] = _mm_sha256msg2_epu32(x, w[(t + 3) % 4]);
            }
            x = _mm_add_epi32(w[t % 4], _mm_loadu_si128((const __m128i *)(k256 + 4 * t)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, x);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(x, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef0);
        cdgh = _mm_add_epi32(cdgh, cdgh0);
    }
    efgh = _mm_shuffle_epi32(cdgh, 0xb1); /* g h c d */
    cdab = _mm_shuffle_epi32(abef, 0x1b); /* f e b a, from the top lane down */
    _mm_storeu_si128((__m128i *)h, _mm_blend_epi16(cdab, efgh, 0xf0));
    _mm_storeu_si128((__m128i *)(h + 4), _mm_alignr_epi8(efgh, cdab, 8));
}

/* __builtin_cpu_supports does not know "sha" in the compilers we build with. */
static bool cpu_has_sha(void)
{
    unsigned a, b, c, d;

    return __builtin_cpu_supports("sse4.1") && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
           (b >> 29 & 1);
}
#else
static bool cpu_has_sha(void)
{
    return false;
}

static void blocks_sha_ni(uint32_t h[8], const uint8_t *p, size_t n_blocks)
{
    lt_sha256_blocks_portable(h, p, n_blocks);
}
#endif

static void hash_blocks(uint32_t h[8], const uint8_t *p, size_t n_blocks)
{
    static atomic_int path; /* 0: not asked yet, 1: plain, 2: instructions; cpuid traps in a VM */
    int now = atomic_load_explicit(&path, memory_order_relaxed);

    if (now == 0) {
        now = cpu_has_sha() ? 2 : 1;
        atomic_store_explicit(&path, now, memory_order_relaxed);
    }
    if (now == 2)
        blocks_sha_ni(h, p, n_blocks);
    else
        lt_sha256_blocks_portable(h, p, n_blocks);
}

void lt_sha256_init(lt_sha256 *s)
{
    static const uint32_t start[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };

    *s = (lt_sha256){ 0 };
    memcpy(s->h, start, sizeof start);
}

void lt_sha256_update(lt_sha256 *s, const void *data, size_t n)
{
    const uint8_t *p = data;
    size_t used = s->n_bytes % BLOCK;

    s->n_bytes += n;
    if (used > 0) {
        size_t take = n < BLOCK - used ? n : BLOCK - used;

        if (take)
            memcpy(s->block + used, p, take);
        if (used + take < BLOCK)
            return;
        hash_blocks(s->h, s->block, 1);
        p += take;
        n -= take;
    }
    if (n >= BLOCK)
        hash_blocks(s->h, p, n / BLOCK);
    if (n % BLOCK)
        memcpy(s->block, p + n / BLOCK * BLOCK, n % BLOCK);
}

void lt_sha256_final(lt_sha256 *s, uint8_t out[LT_SHA256_BYTES])
{
    uint8_t tail[2 * BLOCK] = { 0 };
    size_t used = s->n_bytes % BLOCK, n = used < BLOCK - 8 ? BLOCK : 2 * BLOCK;
    uint64_t bits = s->n_bytes * 8;

    memcpy(tail, s->block, used);
    tail[used] = 0x80;
    for (int i = 0; i < 8; i++)
        tail[n - 1 - (size_t)i] = (uint8_t)(bits >> (8 * i));
    hash_blocks(s->h, tail, n / BLOCK);
    for (int i = 0; i < LT_SHA256_BYTES; i++)
        out[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}

void lt_sha256_hex(const uint8_t digest[LT_SHA256_BYTES], char out[LT_SHA256_HEX])
{
    for (int i = 0; i < LT_SHA256_BYTES; i++) {
        out[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    out[LT_SHA256_HEX - 1] = '\0';
}
