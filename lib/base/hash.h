/* base/hash.h - digests: CRC32C (checkpoints, TensorBoard), XXH64 (shards),
 * SHA-256 (identities). */
#ifndef LT_BASE_HASH_H
#define LT_BASE_HASH_H

#include "base/err.h"

/* CRC-32C (Castagnoli, RFC 3720 B.4).  Start with crc = 0; feed pieces in order. */
uint32_t lt_crc32c(uint32_t crc, const void *data, size_t n);

/* XXH64 (xxHash specification 0.1.1), as zstd's seekable format and content checksums use it. */
uint64_t lt_xxh64(const void *data, size_t n, uint64_t seed);

/* SHA-256 (FIPS 180-4). */
enum { LT_SHA256_BYTES = 32, LT_SHA256_HEX = 65 };
typedef struct lt_sha256 {
    uint32_t h[8];
    uint64_t n_bytes;
    uint8_t block[64];
} lt_sha256;
void lt_sha256_init(lt_sha256 *s);
void lt_sha256_update(lt_sha256 *s, const void *data, size_t n);
void lt_sha256_final(lt_sha256 *s, uint8_t out[LT_SHA256_BYTES]);
void lt_sha256_hex(const uint8_t digest[LT_SHA256_BYTES], char out[LT_SHA256_HEX]);

#endif
