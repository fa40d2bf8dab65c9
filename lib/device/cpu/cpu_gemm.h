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
    CPU_TILE_WORDS =
        384,        /* 4-byte words of K that are packed at a time: 384 fp32 or fp16, 768 bf16 */
    CPU_LANES = 16, /* rows of op(A) or columns of op(B) that are packed together */
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

/* A kernel: out (+)= op(A) op(B), all of it. */
typedef void cpu_gemm(const cpu_tile *t);

/* With OpenBLAS, on any processor; bf16 and fp16 are widened block by block. */
cpu_gemm cpu_gemm_blas;
/* With our own kernels, only on a processor with AVX512_BF16; */
cpu_gemm cpu_gemm_avx512;
/* with AMX_BF16 and AVX-512, only bf16. */
cpu_gemm cpu_gemm_amx;

/* out (+)= what is packed: `words` of K, a multiple of CPU_LANES, of m rows and n columns; groups
 * of CPU_LANES of them lie words * CPU_LANES apart. */
typedef void cpu_multiply(const cpu_tile *t, int64_t words, bool add);

/* Packs the tile's operands part by part of K and has `multiply` add up the parts.  B is packed by
 * word, A by word or by lane; cpu_gemm_pack.c says what that is. */
void cpu_gemm_packed(const cpu_tile *t, bool a_by_lane, cpu_multiply *multiply);

#endif
