/* test_hash.c - published vectors, and the fast paths against the plain ones. */
#include "base/hash.h"
#include "base/hash_portable.h"
#include "base/mem.h"
#include "base/rng.h"
#include "lt_test.h"

#include <stdlib.h>

static uint8_t *random_bytes(size_t n)
{
    uint8_t *p = lt_new0(n);

    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)lt_random_u64(1, 2, i);
    return p;
}

/* RFC 3720 B.4 */
LT_TEST(crc32c_vectors)
{
    uint8_t zeros[32] = { 0 }, ones[32], up[32], down[32];

    for (int i = 0; i < 32; i++) {
        ones[i] = 0xff;
        up[i] = (uint8_t)i;
        down[i] = (uint8_t)(31 - i);
    }
    LT_CHECK_INT(lt_crc32c(0, "", 0), 0);
    LT_CHECK_INT(lt_crc32c(0, "123456789", 9), 0xe3069283);
    LT_CHECK_INT(lt_crc32c(0, zeros, 32), 0x8a9136aa);
    LT_CHECK_INT(lt_crc32c(0, ones, 32), 0x62a8ab43);
    LT_CHECK_INT(lt_crc32c(0, up, 32), 0x46dd794e);
    LT_CHECK_INT(lt_crc32c(0, down, 32), 0x113fdb5c);
    LT_CHECK_INT(lt_crc32c_portable(0, "123456789", 9), 0xe3069283);
    LT_CHECK_INT(lt_crc32c_portable(0, down, 32), 0x113fdb5c);
}

LT_TEST(crc32c_fast_is_portable)
{
    enum { N = 8000 };
    uint8_t *p = random_bytes(N);

    for (size_t n = 0; n < N - 16; n += n < 40 ? 1 : 97)
        for (size_t start = 0; start < 9; start++) {
            uint32_t crc = (uint32_t)(n * 2654435761u);

            LT_CHECK_INT(lt_crc32c(crc, p + start, n), lt_crc32c_portable(crc, p + start, n));
        }
    for (size_t n = 1535; n <= 1537; n++) /* where three chains begin */
        LT_CHECK_INT(lt_crc32c(0, p, n), lt_crc32c_portable(0, p, n));
    free(p);
}

LT_TEST(crc32c_pieces_are_the_whole)
{
    enum { N = 10000 };
    uint8_t *p = random_bytes(N);
    uint32_t whole = lt_crc32c(0, p, N);

    for (size_t cut = 0; cut <= N; cut += 123)
        LT_CHECK_INT(lt_crc32c(lt_crc32c(0, p, cut), p + cut, N - cut), whole);
    free(p);
}

/* What libxxhash 0.8.1 gives for the bytes of its self test's generator, with two seeds. */
LT_TEST(xxh64_vectors)
{
    enum { N = 222 };
    const uint64_t prime32 = 2654435761u, prime64 = 11400714785074694797u;
    static const struct {
        size_t n;
        uint64_t seed0, seed_prime;
    } cases[] = {
        { 0, 0xef46db3751d8e999u, 0xac75fda2929b17efu },
        { 1, 0xe934a84adb052768u, 0x5014607643a9b4c3u },
        { 4, 0x9136a0dca57457eeu, 0xcaab286bd8e9fdb5u },
        { 14, 0x8282dcc4994e35c8u, 0xc3bd6bf63deb6df0u },
        { 31, 0x299b39a290e6d783u, 0xda673d5feb5c1d79u },
        { 32, 0x18b216492bb44b70u, 0xb3f33bdf93ade409u },
        { 33, 0x55c8dc3e578f5b59u, 0xe92c292f64bc3071u },
        { 222, 0xb641ae8cb691c174u, 0x20cb8ab7ae10c14au },
    };
    uint8_t bytes[N];
    uint64_t gen = prime32;

    for (int i = 0; i < N; i++, gen *= prime64)
        bytes[i] = (uint8_t)(gen >> 56);
    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        LT_CHECK_INT(lt_xxh64(bytes, cases[i].n, 0), cases[i].seed0);
        LT_CHECK_INT(lt_xxh64(bytes, cases[i].n, prime32), cases[i].seed_prime);
    }
    LT_CHECK_INT(lt_xxh64("a", 1, 0), 0xd24ec4f1a98c6e5bu);
    LT_CHECK_INT(lt_xxh64("abc", 3, 0), 0x44bc2cf5ad770999u);
}

static void check_sha256(const void *data, size_t n, const char *expected)
{
    uint8_t digest[LT_SHA256_BYTES];
    char hex[LT_SHA256_HEX];
    lt_sha256 s;

    lt_sha256_init(&s);
    lt_sha256_update(&s, data, n);
    lt_sha256_final(&s, digest);
    lt_sha256_hex(digest, hex);
    LT_CHECK_STR(hex, expected);
}

/* FIPS 180-4 examples */
LT_TEST(sha256_vectors)
{
    char *million = lt_new0(1000000);

    memset(million, 'a', 1000000);
    check_sha256("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check_sha256("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    check_sha256(million, 1000000,
                 "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

/* One path hashes whole blocks through lt_sha256_update, the other is called directly. */
LT_TEST(sha256_fast_is_portable)
{
    enum { BLOCKS = 33 };
    uint8_t *p = random_bytes(64 * BLOCKS);

    for (size_t n = 0; n <= BLOCKS; n++) {
        uint32_t plain[8];
        lt_sha256 s;

        lt_sha256_init(&s);
        memcpy(plain, s.h, sizeof plain);
        lt_sha256_update(&s, p, 64 * n);
        lt_sha256_blocks_portable(plain, p, n);
        LT_CHECK(memcmp(plain, s.h, sizeof plain) == 0);
    }
    free(p);
}

LT_TEST(sha256_pieces_are_the_whole)
{
    enum { N = 300 };
    uint8_t *p = random_bytes(N), whole[LT_SHA256_BYTES], pieces[LT_SHA256_BYTES];
    lt_sha256 s;

    lt_sha256_init(&s);
    lt_sha256_update(&s, p, N);
    lt_sha256_final(&s, whole);
    for (size_t step = 1; step < N; step++) {
        lt_sha256_init(&s);
        for (size_t at = 0; at < N; at += step)
            lt_sha256_update(&s, p + at, at + step < N ? step : N - at);
        lt_sha256_final(&s, pieces);
        LT_CHECK(memcmp(whole, pieces, sizeof whole) == 0);
    }
    free(p);
}
