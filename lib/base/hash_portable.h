/* base/hash_portable.h - the plain C paths of base/hash.h.
 *
 * For processors without the instructions, and for the tests, which hold the fast paths against
 * these.  Nobody else calls them. */
#ifndef LT_BASE_HASH_PORTABLE_H
#define LT_BASE_HASH_PORTABLE_H

#include "base/err.h"

uint32_t lt_crc32c_portable(uint32_t crc, const void *data, size_t n);
void lt_sha256_blocks_portable(uint32_t state[8], const uint8_t *p, size_t n_blocks);

#endif
