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

void lt_block_crc_release(lt_block_crc *b)
{
    free(b->crc);
    *b = (lt_block_crc){ 0 };
}
