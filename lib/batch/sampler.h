/* batch/sampler.h - which window of the data the k-th sample reads: a pure function, no state.
 *
 * A data set of n tokens has N = floor((n - T) / T) windows of T + 1 tokens in every epoch.  Sample
 * k belongs to epoch e = k / N and reads window x = perm(k mod N; seed, stream, e), the tokens
 * [o + x T, o + x T + T], with o = o(seed, stream, e) in [0, T): each epoch cuts the text
 * elsewhere.  Rank count, micro-batch and threads appear nowhere, so they cannot change the order;
 * the one number to save is k.  Without shuffling o = 0, x = k mod N and N = floor((n - 1) / T). */
#ifndef LT_BATCH_SAMPLER_H
#define LT_BATCH_SAMPLER_H

#include "base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { LT_PERM_ROUNDS = 6 };

/* A bijection of 0..n-1: an alternating unbalanced Feistel network over ceil(log2 n) bits, walked
 * until the value is below n (fewer than two walks on average). */
typedef struct lt_perm {
    uint64_t n, keys[LT_PERM_ROUNDS];
    int low_bits, high_bits;
} lt_perm;
lt_perm lt_perm_make(uint64_t n, uint64_t seed, uint64_t stream, uint64_t epoch); /* n >= 1 */
uint64_t lt_perm_at(const lt_perm *p, uint64_t x);                                /* x < n */

typedef struct lt_sampler {
    uint64_t n_windows; /* N */
    uint64_t seq_len;   /* T */
    uint64_t seed, stream;
    bool shuffle;
    uint64_t epoch, offset; /* what perm is keyed for; follows the last sample asked for */
    lt_perm perm;
} lt_sampler;

/* Fails with LT_EMISMATCH when n_tokens cannot fill one sequence; `name` names the data. */
LT_MUST_USE lt_err lt_sampler_init(lt_sampler *s, uint64_t n_tokens, uint64_t seq_len,
                                   uint64_t seed, uint64_t stream, bool shuffle, const char *name);

/* First of the T + 1 tokens of sample k.  By value the sampler is a cache:
 * any order of k is fine. */
uint64_t lt_sampler_first_token(lt_sampler *s, uint64_t k);

#ifdef __cplusplus
}
#endif
#endif
