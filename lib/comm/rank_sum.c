/* comm/rank_sum.c - the sum over ranks, in their order.
 *
 * A block at a time is summed in fp32 in the first cache, so the parts are read once and the result
 * is written once, and an element's bits do not depend on where blocks begin. */
#include "comm/comm_parts.h"

enum { BLOCK = 1024 };

void lt_rank_sum(void *out, lt_dtype type, const void *const *parts, int n_parts, size_t n)
{
    const size_t size = lt_dtype_bytes(type);
    float sum[BLOCK], term[BLOCK];

    for (size_t first = 0; first < n; first += BLOCK) {
        size_t n_block = n - first < BLOCK ? n - first : BLOCK;

        lt_convert(sum, LT_F32, (const char *)parts[0] + first * size, type, n_block);
        for (int r = 1; r < n_parts; r++) {
            const float *x = term;

            if (type == LT_F32)
                x = (const float *)parts[r] + first;
            else
                lt_convert(term, LT_F32, (const char *)parts[r] + first * size, type, n_block);
            for (size_t i = 0; i < n_block; i++)
                sum[i] += x[i];
        }
        lt_convert((char *)out + first * size, type, sum, LT_F32, n_block);
    }
}
