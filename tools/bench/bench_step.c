/* bench_step.c - constants and tokens of a timed step. */
#include "bench_step.h"

#include "base/rng.h"

lt_optim bench_step_optim(void)
{
    return (lt_optim){ .beta1 = 0.9f,
                       .beta2 = 0.95f,
                       .eps = 1e-8f,
                       .weight_decay = 0.1f,
                       .decoupled = true,
                       .max_norm = 1.0f };
}

void bench_step_tokens(int32_t *ids, int32_t *targets, int64_t n, int64_t vocab, int rank,
                       int64_t index)
{
    uint64_t first = (uint64_t)(2 * index * n);

    for (int64_t i = 0; i < n; i++) {
        ids[i] = (int32_t)(lt_random_u64(7, (uint64_t)rank, first + (uint64_t)i) % (uint64_t)vocab);
        targets[i] = (int32_t)(lt_random_u64(7, (uint64_t)rank, first + (uint64_t)(n + i)) %
                               (uint64_t)vocab);
    }
}
