/* batch/sampler.c - the keyed permutation and the sample order. */
#include "batch/sampler.h"

#include "base/rng.h"

/* The streams of lt_random_u64 that one (seed, stream, epoch) needs. */
enum { KEY_BASE = 0, OFFSET_INDEX = LT_PERM_ROUNDS };

static uint64_t key(uint64_t seed, uint64_t stream, uint64_t epoch, uint64_t index)
{
    return lt_random_u64(lt_random_u64(seed, stream, epoch), epoch, index);
}

lt_perm lt_perm_make(uint64_t n, uint64_t seed, uint64_t stream, uint64_t epoch)
{
    lt_perm p = { .n = n };
    int bits = n > 1 ? 64 - __builtin_clzll(n - 1) : 0;

    LT_BUG_ON(n == 0);
    p.high_bits = bits / 2;
    p.low_bits = bits - p.high_bits;
    for (int i = 0; i < LT_PERM_ROUNDS; i++)
        p.keys[i] = key(seed, stream, epoch, KEY_BASE + (uint64_t)i);
    return p;
}

static uint64_t low_mask(int bits)
{
    return bits == 0 ? 0 : UINT64_MAX >> (64 - bits);
}

uint64_t lt_perm_at(const lt_perm *p, uint64_t x)
{
    uint64_t low_bits = low_mask(p->low_bits), high_bits = low_mask(p->high_bits);

    LT_BUG_ON(x >= p->n);
    do {
        uint64_t low = x & low_bits, high = x >> p->low_bits;

        for (int i = 0; i < LT_PERM_ROUNDS; i += 2) {
            low ^= lt_mix64(high + p->keys[i]) & low_bits;
            high ^= lt_mix64(low + p->keys[i + 1]) & high_bits;
        }
        x = high << p->low_bits | low;
    } while (x >= p->n);
    return x;
}

static void enter_epoch(lt_sampler *s, uint64_t epoch)
{
    s->epoch = epoch;
    s->offset = 0;
    if (s->shuffle) {
        s->perm = lt_perm_make(s->n_windows, s->seed, s->stream, epoch);
        s->offset = key(s->seed, s->stream, epoch, OFFSET_INDEX) % s->seq_len;
    }
}

lt_err lt_sampler_init(lt_sampler *s, uint64_t n_tokens, uint64_t seq_len, uint64_t seed,
                       uint64_t stream, bool shuffle, const char *name)
{
    LT_BUG_ON(seq_len == 0);
    *s = (lt_sampler){ .seq_len = seq_len, .seed = seed, .stream = stream, .shuffle = shuffle };
    if (n_tokens <= seq_len)
        return lt_fail(LT_EMISMATCH, "%s: %llu tokens cannot fill one sequence of %llu", name,
                       (unsigned long long)n_tokens, (unsigned long long)seq_len);
    s->n_windows = shuffle ? (n_tokens - seq_len) / seq_len : (n_tokens - 1) / seq_len;
    if (s->n_windows == 0)
        return lt_fail(LT_EMISMATCH,
                       "%s: %llu tokens cannot fill one sequence of %llu wherever an "
                       "epoch starts: that takes %llu",
                       name, (unsigned long long)n_tokens, (unsigned long long)seq_len,
                       (unsigned long long)(2 * seq_len));
    enter_epoch(s, 0);
    return LT_OK;
}

uint64_t lt_sampler_first_token(lt_sampler *s, uint64_t k)
{
    uint64_t epoch = k / s->n_windows, x = k % s->n_windows;

    if (epoch != s->epoch)
        enter_epoch(s, epoch);
    return s->offset + (s->shuffle ? lt_perm_at(&s->perm, x) : x) * s->seq_len;
}
