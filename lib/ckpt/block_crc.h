/* ckpt/block_crc.h - the CRC32C of every 4 MiB range of a stream of bytes.
 *
 * One sum a block lets a reader check only what it touches and lets `verify` say where a file is
 * damaged.  The last block may be short; an empty stream has none. */
#ifndef LT_CKPT_BLOCK_CRC_H
#define LT_CKPT_BLOCK_CRC_H

#include "base/mem.h"

enum { LT_CKPT_BLOCK = 4 << 20 };

typedef struct lt_block_crc {
    uint32_t *crc; /* n sums */
    size_t n, capacity;
    uint64_t size; /* bytes seen */
} lt_block_crc;

void lt_block_crc_update(lt_block_crc *b, const void *data, size_t n);
void lt_block_crc_release(lt_block_crc *b);

/* The one bit whose flip turns n bytes of sum `expected` into bytes of sum `found`, as 8 * byte +
 * bit (0 is the lowest); -1: several bits are wrong.  Of such damage, one in 2^32 / 8n looks like
 * one bit.  n at most LT_CKPT_BLOCK. */
int64_t lt_block_crc_flipped_bit(uint32_t expected, uint32_t found, size_t n);

#endif
