/* test_store_streams.c - nothing in the store relies on an order of streams that it did not ask
 * for: training on a device that runs them as early or as late as events allow.  And it asks for no
 * more than it needs: a pass computes on while parameters come in from a tier, and while the
 * gradients of the unit before are reduced. */
#include "fake_training.h"
#include "lazy_device.h"

enum { N_SEEDS = 40 };

typedef struct stream_case {
    fake_run run;
    uint64_t seed;
} stream_case;

/* An evaluation that was announced the wrong way round, and a pass that is announced and not made:
 * what was gathered ahead is given up, or is still arriving when the update begins. */
static void mislead(fake_store *f)
{
    static const int backwards[] = { 5, 4, 3, 2, 1 };
    int n;

    lt_zero_pass_begin(f->z, backwards, 5);
    fake_evaluate(f);
    n = fake_sequence(f->model, true, f->sequence);
    lt_zero_pass_begin(f->z, f->sequence, n);
}

static void train(thread_rank *me, void *arg)
{
    const stream_case *c = arg;
    lazy_device lazy;
    fake_store f;

    lazy_attach(&lazy, me, c->seed + (c->seed < N_LAZY_ORDERS ? 0 : (uint64_t)me->rank));
    f = fake_store_open(me, &c->run);
    for (int step = 0; step < N_STEPS && f.open; step++) {
        uint64_t before = lazy.n_copies_awaited;

        for (int micro = 0; micro < f.model->n_micro; micro++) {
            uint64_t last = lazy.n_last_awaited;

            fake_micro_step(&f, micro);
            last = lazy.n_last_awaited - last;
            /* Stage 2: the tied table's, reduced beside a whole forward pass.  At stage 3, and in
             * the first micro-step, parameters are awaited too. */
            RANK_CHECK(me, micro == 0 || c->run.set.stage == 3 ||
                               last == (c->run.set.stage == 2 && me->world > 1));
        }
        RANK_CHECK(me, lazy.n_copies_awaited == before);
        lt_zero_grads_finish(f.z);
        mislead(&f);
        fake_update(&f, false);
        if (step == 1)
            fake_evaluate(&f);
    }
    if (f.open)
        fake_check_state(&f);
    lt_zero_store_close(f.z);
    f.z = NULL;
    lazy_detach(&lazy, me);
    fake_store_close(&f);
}

static fake_run run_of(const fake_model *m, int stage, int kind)
{
    static const lt_tier_kind kinds[] = { LT_TIER_NONE, LT_TIER_HOST, LT_TIER_FILE };
    lt_zero_offload offload = {
        .kind = kinds[kind], .path = lt_test_tmp(""), .n_buffers = 2 + kind, .ratio = 0.6
    };

    return (fake_run){ .model = m,
                       .announce = true,
                       .set = { .stage = stage,
                                .compute = LT_BF16,
                                .grad = LT_F32,
                                .overlap = true,
                                .training = true,
                                .optimizer = offload,
                                .param = stage == 3 ? offload : (lt_zero_offload){ 0 },
                                .tile = 128,
                                .persistence_threshold = kind == 1 ? 12 : 0,
                                .model_persistence_threshold = 1000,
                                .prefetch = kind * 300,
                                .max_live = 1 << 20 } };
}

/* Streams in every order of preference, and at random; stages, ranks, offload and frozen parameters
 * take turns. */
LT_TEST(store_orders_its_streams_itself)
{
    fake_model *models[] = { fake_model_new(2, true, FROZEN_NONE),
                             fake_model_new(2, true, FROZEN_SOME) };

    lazy_init();
    for (int seed = 0; seed < N_SEEDS; seed++)
        for (int stage = 0; stage <= 3; stage++) {
            int world = 1 + (seed + stage) % 3, kind = seed / 3 % 3;
            stream_case c = { run_of(models[seed % 2], stage, kind), (uint64_t)seed };
            const char *failure = thread_ranks_run(world, train, &c);

            LT_FAIL_IF(failure[0], "seed %d, stage %d, offload %d: %s", seed, stage, kind, failure);
        }
    for (size_t i = 0; i < LT_COUNT(models); i++)
        fake_model_free(models[i]);
}
