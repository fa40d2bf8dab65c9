/* device/cpu/cpu_gemm.h - one tile of a matrix product, private to cpu_matmul.c and its kernels.
 *
 * A tile is at most CPU_TILE_ROWS x CPU_TILE_COLS of D with all of K: K is never split among
 * workers.  It is computed by one worker in memory of that worker, so its size bounds the scratch
 * and no matrix is ever packed or widened as a whole. */
#ifndef LT_DEVICE_CPU_GEMM_H
#define LT_DEVICE_CPU_GEMM_H

#include "device/cpu/cpu.h"

enum {
    CPU_TILE_ROWS = 256,
    CPU_TILE_COLS = 384,
    CPU_TILE_WORDS = 384, /* 4-byte words of K that are packed at a time: 384 fp32 or 768 bf16 */
};

typedef struct cpu_tile {
    float *out; /* (m, n): what is computed, in D itself or in the worker's memory */
    int64_t out_stride;
    lt_tensor a; /* (m, k), or (k, m) when trans_a */
    lt_tensor b; /* (k, n), or (n, k) when trans_b; a's type */
    int64_t m, n, k;
    bool trans_a, trans_b;
    bool add;         /* out += instead of out = */
    uint32_t *a_room; /* CPU_TILE_ROWS x CPU_TILE_WORDS, 64-byte aligned */
    uint32_t *b_room; /* CPU_TILE_COLS x CPU_TILE_WORDS */
} cpu_tile;

/* out (+)= op(A) op(B) with OpenBLAS; bf16 is widened block by block. */
void cpu_gemm_f32(const cpu_tile *t);
/* The same with our own kernels, only on a processor with AVX512_BF16. */
void cpu_gemm_bf16(const cpu_tile *t);

#endif
