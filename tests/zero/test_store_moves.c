/* test_store_moves.c - what a store moves and keeps: units gathered ahead and kept, bytes as
 * planned, nothing among one, state written and read back. */
#include "fake_training.h"
#include "zero/store_parts.h"
#include "zero/tier_parts.h"

#include <stdatomic.h>

static lt_zero_settings stage_of(int stage)
{
    return (lt_zero_settings){
        .stage = stage, .overlap = true, .training = true, .prefetch = 1, .max_live = 1 << 20
    };
}

static void step_of(fake_store *f)
{
    for (int micro = 0; micro < f->model->n_micro; micro++)
        fake_micro_step(f, micro);
    lt_zero_grads_finish(f->z);
    fake_update(f, false);
}

/* Runs `body` as every rank of a job of `world` over `model`; fails the test with what failed. */
static void check_run(fake_run *run, int world, void (*body)(thread_rank *me, void *arg))
{
    fake_model *m = fake_model_new(1, false, FROZEN_NONE);
    const char *failure;

    run->model = m;
    failure = thread_ranks_run(world, body, run);
    fake_model_free(m);
    LT_FAIL_IF(failure[0], "stage %d: %s", run->set.stage, failure);
}

static void move_nothing(thread_rank *me, void *arg)
{
    fake_store f = fake_store_open(me, arg);

    if (f.open)
        step_of(&f);
    for (int call = 0; call < N_CALLS; call++)
        RANK_CHECK(me, rank_calls(me, (rank_call)call) == 0);
    if (f.open)
        fake_check_state(&f);
    fake_store_close(&f);
}

LT_TEST(store_of_one_rank_moves_nothing)
{
    for (int stage = 0; stage <= 3; stage++)
        check_run(&(fake_run){ .set = stage_of(stage), .announce = true }, 1, move_nothing);
}

/* ---- units that come and go */

typedef struct gather_case {
    fake_run run;
    const int *first, *second; /* units gathered by each use of the first pass; of a second one */
} gather_case;

static void one_pass(fake_store *f, int n, const int *want)
{
    int before = rank_calls(f->me, CALL_GROUP);

    if (f->run->announce)
        lt_zero_pass_begin(f->z, f->sequence, n);
    for (int i = 0; i < n; i++) {
        fake_gather(f, f->sequence[i]);
        RANK_CHECK(f->me, rank_calls(f->me, CALL_GROUP) - before == want[i]);
        lt_zero_release(f->z, f->sequence[i]);
    }
}

static void count_gathers(thread_rank *me, void *arg)
{
    const gather_case *c = arg;
    fake_store f = fake_store_open(me, &c->run);
    int n;

    if (f.open) {
        n = fake_sequence(f.model, true, f.sequence);
        one_pass(&f, n, c->first);
        one_pass(&f, n, c->second);
        RANK_CHECK_OK(me, lt_zero_sync(f.z));
    }
    fake_store_close(&f);
}

static void check_gathers(gather_case c)
{
    fake_model *m = fake_model_new(1, false, FROZEN_NONE);
    const char *failure;

    c.run.model = m;
    failure = thread_ranks_run(2, count_gathers, &c);
    fake_model_free(m);
    LT_FAIL_IF(failure[0], "prefetch %lld: %s", (long long)c.run.set.prefetch, failure);
}

/* Uses are 0 1 2 3 4 5 6 5 4 3 2 1 0; two slots for the blocks 1 to 5.  One unit ahead: blocks 4
 * and 5 are still there when the backward pass begins, 1 and 2 when the next pass does. */
LT_TEST(store_gathers_one_unit_ahead_and_keeps_what_it_can)
{
    static const int first[] = { 2, 3, 4, 5, 6, 7, 7, 7, 8, 9, 10, 10, 10 };
    static const int second[] = { 0, 0, 1, 2, 3, 3, 3, 3, 4, 5, 6, 6, 6 };

    check_gathers((gather_case){
        { .set = stage_of(3), .announce = true }, .first = first, .second = second });
}

/* The same with slices that come from a tier, through two staging slots: the one of the unit at
 * work is already on its way to be filled again while the next unit is gathered from the other. */
LT_TEST(store_gathers_one_unit_ahead_of_two_staging_slots)
{
    static const int first[] = { 2, 3, 4, 5, 6, 7, 7, 7, 8, 9, 10, 10, 10 };
    static const int second[] = { 0, 0, 1, 2, 3, 3, 3, 3, 4, 5, 6, 6, 6 };

    for (int kind = LT_TIER_HOST; kind <= LT_TIER_FILE; kind++) {
        gather_case c = { { .set = stage_of(3), .announce = true },
                          .first = first,
                          .second = second };

        c.run.set.param = (lt_zero_offload){ .kind = (lt_tier_kind)kind,
                                             .path = lt_test_tmp(""),
                                             .n_buffers = 2 };
        check_gathers(c);
    }
}

/* Nothing is known: each unit when it is asked for, unless it is there. */
LT_TEST(store_gathers_on_demand_when_nothing_is_announced)
{
    static const int first[] = { 1, 2, 3, 4, 5, 6, 7, 7, 7, 8, 9, 10, 10 };
    static const int second[] = { 0, 0, 0, 1, 2, 3, 3, 3, 3, 4, 5, 6, 6 };

    check_gathers((gather_case){ { .set = stage_of(3) }, .first = first, .second = second });
}

/* Room for everything: all at once, and never again. */
LT_TEST(store_gathers_everything_when_it_may)
{
    static const int first[] = { 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7 };
    static const int second[13] = { 0 };
    gather_case c = { { .set = stage_of(3), .announce = true }, .first = first, .second = second };

    c.run.set.prefetch = 1 << 20;
    check_gathers(c);
}

/* The elements of two blocks, no more and no less: two blocks ahead of the one in use. */
LT_TEST(store_gathers_as_many_elements_ahead_as_it_may)
{
    static const int first[] = { 3, 4, 5, 6, 7, 7, 7, 7, 8, 9, 9, 9, 9 };
    static const int second[] = { 0, 0, 1, 2, 2, 2, 2, 2, 3, 4, 4, 4, 4 };
    gather_case c = { { .set = stage_of(3), .announce = true }, .first = first, .second = second };
    fake_model *m = fake_model_new(1, false, false);
    lt_zero_settings set = c.run.set;
    lt_zero_plan *plan = NULL;
    lt_err err;

    set.world = 2;
    err = lt_zero_plan_new(&plan, m->table, &set);
    c.run.set.prefetch = plan ? 2 * plan->units[1].count : 0;
    lt_zero_plan_free(plan);
    fake_model_free(m);
    LT_CHECK_OK(err);
    check_gathers(c);
}

/* ---- bytes */

static atomic_ullong taken[2]; /* by lt_memory */

static lt_err counted_alloc(lt_dev *dev, lt_memory kind, size_t bytes, void **out)
{
    taken[kind] += bytes;
    return lt_backend_cpu.alloc(dev, kind, bytes, out);
}

static void count_bytes(thread_rank *me, void *arg)
{
    const fake_run *run = arg;
    lt_backend counting = lt_backend_cpu;
    lt_zero_settings set = run->set;
    lt_zero_plan *plan = NULL;
    lt_zero_store *z = NULL;
    lt_zero_bytes planned;

    counting.alloc = counted_alloc;
    set.world = me->world;
    set.rank = me->rank;
    taken[LT_MEMORY_DEVICE] = taken[LT_MEMORY_PINNED] = 0;
    RANK_CHECK_OK(me, lt_zero_plan_new(&plan, run->model->table, &set));
    me->dev->backend = &counting;
    RANK_CHECK_OK(me, lt_zero_store_open(&z, me->dev, me->comm, plan, run->model->table));
    me->dev->backend = &lt_backend_cpu;
    planned = lt_zero_plan_bytes(plan);
    RANK_CHECK(me, taken[LT_MEMORY_DEVICE] == lt_zero_bytes_device(&planned));
    RANK_CHECK(me, taken[LT_MEMORY_PINNED] == planned.host);
    lt_zero_store_close(z);
    lt_zero_plan_free(plan);
}

LT_TEST(store_takes_the_bytes_that_are_planned)
{
    for (int i = 0; i < 32; i++) {
        fake_run run = { .set = stage_of(i % 4) };

        run.set.compute = i & 4 ? LT_BF16 : LT_F32;
        run.set.training = i < 24;
        if (i & 8)
            run.set.optimizer = (lt_zero_offload){
                .kind = LT_TIER_HOST, .pinned = true, .n_buffers = 2, .ratio = 0.5
            };
        if (i & 16 && run.set.stage == 3)
            run.set.param =
                (lt_zero_offload){ .kind = LT_TIER_HOST, .pinned = true, .n_buffers = 2 };
        check_run(&run, 1, count_bytes);
    }
}

/* ---- state */

static void resume(thread_rank *me, void *arg)
{
    fake_store f = fake_store_open(me, arg);

    if (f.open) {
        fake_check_state(&f);
        fake_evaluate(&f);
        step_of(&f);
        fake_evaluate(&f);
        fake_check_state(&f);
    }
    fake_store_close(&f);
}

LT_TEST(store_goes_on_from_written_state)
{
    for (int stage = 0; stage <= 3; stage++)
        for (int world = 1; world <= 4; world++)
            for (int offload = 0; offload <= 1; offload++) {
                fake_run run = { .set = stage_of(stage), .announce = true, .first_step = 1 };

                run.set.tile = 192;
                run.set.compute = stage % 2 ? LT_BF16 : LT_F32;
                if (offload)
                    run.set.optimizer =
                        (lt_zero_offload){ .kind = LT_TIER_HOST, .n_buffers = 2, .ratio = 0.7 };
                check_run(&run, world, resume);
            }
}

static void only_evaluate(thread_rank *me, void *arg)
{
    fake_store f = fake_store_open(me, arg);

    if (f.open) {
        RANK_CHECK(me, !lt_zero_grads_fresh(f.z));
        fake_evaluate(&f);
        fake_evaluate(&f);
        fake_check_state(&f);
    }
    fake_store_close(&f);
}

LT_TEST(store_without_training_holds_parameters)
{
    for (int i = 0; i < 8; i++) {
        fake_run run = { .set = stage_of(i % 4), .announce = true };

        run.set.training = false;
        run.set.compute = i & 4 ? LT_BF16 : LT_F32;
        if (i == 7)
            run.set.param = (lt_zero_offload){ .kind = LT_TIER_HOST, .n_buffers = 1 };
        check_run(&run, 1 + i % 3, only_evaluate);
    }
}

static void look(thread_rank *me, void *arg)
{
    fake_store f = fake_store_open(me, arg);

    if (f.open)
        fake_check_state(&f);
    fake_store_close(&f);
}

LT_TEST(store_reads_state_across_tiles)
{
    for (int stage = 0; stage <= 3; stage++) {
        fake_run run = { .set = stage_of(stage) };

        run.set.tile = 64;
        check_run(&run, 2, look);
    }
}

/* ---- faults */

static lt_err broken(lt_comm *comm)
{
    return lt_fail(LT_EFAULT, "rank %d cannot be reached", 1 - comm->rank);
}

static void break_comm(thread_rank *me, void *arg)
{
    fake_store f = fake_store_open(me, arg);
    lt_comm_ops ops = rank_comm_ops;

    ops.check = broken;
    me->comm->ops = &ops;
    if (f.open) {
        RANK_CHECK(me, lt_zero_check(f.z) == LT_EFAULT && strstr(lt_err_text(), "be reached"));
        RANK_CHECK(me, lt_zero_sync(f.z) == LT_EFAULT);
        RANK_CHECK(me, lt_zero_refresh(f.z) == LT_EFAULT);
    }
    fake_store_close(&f);
    me->comm->ops = &rank_comm_ops;
}

/* The tier of the parameters, or where there is none that of the optimizer, has failed. */
static void break_tier(thread_rank *me, void *arg)
{
    fake_store f = fake_store_open(me, arg);

    if (f.open) {
        (void)lt_fail(LT_EIO, "record 3 is gone");
        lt_tier_note(f.z->param_tier ? f.z->param_tier : f.z->optimizer_tier);
        RANK_CHECK(me, lt_zero_check(f.z) == LT_EIO && strstr(lt_err_text(), "record 3"));
    }
    fake_store_close(&f);
}

LT_TEST(store_hands_out_what_went_wrong)
{
    const lt_zero_offload offload = { .kind = LT_TIER_HOST, .n_buffers = 2, .ratio = 1 };
    fake_run run = { .set = stage_of(3) };

    check_run(&(fake_run){ .set = stage_of(1) }, 2, break_comm);
    run.set.optimizer = offload;
    check_run(&run, 1, break_tier);
    run.set.param = offload;
    check_run(&run, 1, break_tier);
    lt_zero_store_close(NULL);
}
