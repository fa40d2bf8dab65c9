/* ckpt/block_crc.c - cuts the stream at block borders. */
#include "ckpt/block_crc.h"
#include "base/hash.h"

#include <stdlib.h>

void lt_block_crc_update(lt_block_crc *b, const void *data, size_t n)
{
    const char *from = data;

    while (n > 0) {
        size_t in_block = (size_t)(b->size % LT_CKPT_BLOCK);
        size_t k = n < LT_CKPT_BLOCK - in_block ? n : LT_CKPT_BLOCK - in_block;

        if (in_block == 0) {
            lt_array_reserve(&b->crc, &b->capacity, b->n + 1, sizeof *b->crc);
            b->crc[b->n++] = 0;
        }
        b->crc[b->n - 1] = lt_crc32c(b->crc[b->n - 1], from, k);
        b->size += k;
        from += k;
        n -= k;
    }
}

/* A CRC is linear: the sums of two equally long blocks differ by the sum of their difference alone.
 * So walk a lone bit from the last one backwards, one shift of the register a step. */
int64_t lt_block_crc_flipped_bit(uint32_t expected, uint32_t found, size_t n)
{
    const uint32_t polynomial = 0x82f63b78u; /* Castagnoli, lowest bit first */
    uint32_t sum = polynomial, difference = expected ^ found;

    for (int64_t bit = (int64_t)n * 8 - 1; bit >= 0; bit--) {
        if (sum == difference)
            return bit;
        sum = sum >> 1 ^ (polynomial & -(sum & 1));
    }
    return -1;
}

void lt_block_crc_release(lt_block_crc *b)
{
    free(b->crc);
    *b = (lt_block_crc){ 0 };
}
