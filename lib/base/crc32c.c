/* base/crc32c.c - CRC-32C by tables, and by the SSE4.2 instruction where the CPU has it.
 *
 * One crc32 instruction starts every cycle and takes three, so a single chain runs at a third of
 * the speed.  The fast path runs three chains over three neighbouring blocks and joins them:
 * appending n zero bytes multiplies a CRC by x^(8n) modulo the polynomial, and that is one
 * carry-less multiplication by a constant with one more crc32 as the reduction. */
#include "base/hash.h"
#include "base/hash_portable.h"

#include <pthread.h>
#include <string.h>

static const uint32_t polynomial = 0x82f63b78; /* 0x1edc6f41, lowest bit first */

/* table[k][b]: the CRC register after byte b and k zero bytes. */
static uint32_t table[8][256];

static void fill_table(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t c = b;

        for (int bit = 0; bit < 8; bit++)
            c = (c & 1) ? c >> 1 ^ polynomial : c >> 1;
        table[0][b] = c;
    }
    for (int k = 1; k < 8; k++)
        for (int b = 0; b < 256; b++)
            table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 0xff];
}

uint32_t lt_crc32c_portable(uint32_t crc, const void *data, size_t n)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const uint8_t *p = data;
    uint32_t c = ~crc;

    pthread_once(&once, fill_table);
    for (; n >= 8; n -= 8, p += 8) {
        c ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        c = table[7][c & 0xff] ^ table[6][c >> 8 & 0xff] ^ table[5][c >> 16 & 0xff] ^
            table[4][c >> 24] ^ table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
    }
    for (; n > 0; n--, p++)
        c = c >> 8 ^ table[0][(c ^ *p) & 0xff];
    return ~c;
}

#if defined(__x86_64__)
#include <immintrin.h>

enum { CHAIN_BYTES = 512 };

#define FAST __attribute__((target("sse4.2,pclmul"))) static

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t x;

    memcpy(&x, p, 8);
    return x;
}

/* The register c after as many zero bytes as `shift` stands for. */
FAST inline uint64_t append_zeros(uint64_t c, long long shift)
{
    __m128i product =
        _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)c), _mm_cvtsi64_si128(shift), 0);

    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

FAST uint32_t crc_sse42(uint32_t crc, const uint8_t *p, size_t n)
{
    /* x^(8n - 33) modulo the polynomial, lowest bit first; the reduction brings the other 33 */
    const long long one_chain = 0xdd7e3b0c, two_chains = 0x170076fa;
    uint64_t a = ~crc;

    for (; n >= 3 * CHAIN_BYTES; n -= 3 * CHAIN_BYTES, p += 3 * CHAIN_BYTES) {
        uint64_t b = 0, c = 0;

        for (int i = 0; i < CHAIN_BYTES; i += 8) {
            a = _mm_crc32_u64(a, load64(p + i));
            b = _mm_crc32_u64(b, load64(p + CHAIN_BYTES + i));
            c = _mm_crc32_u64(c, load64(p + 2 * CHAIN_BYTES + i));
        }
        a = append_zeros(a, two_chains) ^ append_zeros(b, one_chain) ^ c;
    }
    for (; n >= 8; n -= 8, p += 8)
        a = _mm_crc32_u64(a, load64(p));
    for (; n > 0; n--, p++)
        a = _mm_crc32_u8((uint32_t)a, *p);
    return ~(uint32_t)a;
}

uint32_t lt_crc32c(uint32_t crc, const void *data, size_t n)
{
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
        return crc_sse42(crc, data, n);
    return lt_crc32c_portable(crc, data, n);
}
#else
uint32_t lt_crc32c(uint32_t crc, const void *data, size_t n)
{
    return lt_crc32c_portable(crc, data, n);
}
#endif
