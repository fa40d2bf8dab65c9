/* test_plan_bytes.c - what a rank keeps at each stage, by the formulas; and what is refused. */
#include "lt_test.h"
#include "base/mem.h"
#include "zero/plan.h"

/* A model without padding at 8 ranks: every parameter has a multiple of 512 elements. */
static lt_param_table *even_table(int64_t n_layer)
{
    lt_model_config m;

    if (!lt_model_config_named(&m, "gpt2"))
        return NULL;
    m.vocab_size = 512;
    m.n_positions = 64;
    m.n_layer = n_layer;
    m.n_head = m.n_kv_head = 8;
    m.head_dim = 64;
    m.n_embd = 512;
    m.n_inner = 2048;
    return lt_param_table_new(&m);
}

static lt_zero_plan *even_plan(lt_zero_settings set)
{
    lt_param_table *t = even_table(6);
    lt_zero_plan *p = NULL;

    set.max_live = set.max_live ? set.max_live : 1 << 30;
    if (lt_zero_plan_new(&p, t, &set) != LT_OK)
        p = NULL;
    lt_param_table_free(t);
    return p;
}

static int64_t persistent_elements(const lt_zero_plan *p)
{
    int64_t n = 0;

    for (int k = 0; k < p->n_segments; k++)
        n += p->segments[k].persistent ? p->segments[k].count : 0;
    return n;
}

static lt_zero_bytes bytes_of(lt_zero_settings set)
{
    lt_zero_plan *p = even_plan(set);
    lt_zero_bytes b = lt_zero_plan_bytes(p);

    lt_zero_plan_free(p);
    return b;
}

/* The mixed precision figures of Rajbhandari et al. 2020, section 3 and figure 1: 2 bytes a
 * parameter, 2 a gradient, 12 of optimizer state; each stage cuts one more of them.  Gradients that
 * are cut are fp32 here, because micro-batches are added up in them; slots come on top. */
LT_TEST(plan_bytes_by_stage)
{
    lt_param_table *t = even_table(6);
    int64_t n = t->n_elements;

    lt_param_table_free(t);
    LT_CHECK_INT(n % 8, 0);
    for (int stage = 0; stage <= 3; stage++) {
        lt_zero_bytes b = bytes_of((lt_zero_settings){
            .stage = stage, .world = 8, .training = true, .compute = LT_BF16, .grad = LT_BF16 });
        int64_t block = 12 * 512 * 512 + 13 * 512, ends = (512 + 64 + 2) * 512;

        LT_CHECK_INT(b.params, 2 * n / (stage >= 3 ? 8 : 1));
        LT_CHECK_INT(b.grads, stage >= 2 ? 4 * n / 8 : 2 * n);
        LT_CHECK_INT(b.master + b.moment1 + b.moment2, 12 * n / (stage >= 1 ? 8 : 1));
        LT_CHECK_INT(b.master, b.moment1);
        LT_CHECK_INT(b.gathered, stage >= 3 ? 2 * (2 * block + ends) : 0);
        LT_CHECK_INT(b.buckets, stage >= 2 ? 2 * (2 * block + ends) : 0);
        LT_CHECK_INT(b.staging + b.host + b.file, 0);
        LT_CHECK_INT(lt_zero_bytes_device(&b), b.params + b.gathered + b.grads + b.buckets +
                                                   b.master + b.moment1 + b.moment2);
    }
}

/* In fp32 the weights are the masters, where those that are kept are those that are updated. */
LT_TEST(plan_bytes_in_fp32)
{
    lt_param_table *t = even_table(6);
    int64_t n = t->n_elements;

    lt_param_table_free(t);
    for (int world = 1; world <= 8; world += 7)
        for (int stage = 0; stage <= 3; stage++) {
            lt_zero_bytes b = bytes_of((lt_zero_settings){ .stage = stage,
                                                           .world = world,
                                                           .training = true,
                                                           .compute = LT_F32,
                                                           .grad = LT_F32 });
            bool apart = world > 1 && (stage == 1 || stage == 2);

            LT_CHECK_INT(b.params, 4 * n / (stage == 3 ? world : 1));
            LT_CHECK_INT(b.master, apart ? 4 * n / world : 0);
            LT_CHECK_INT(b.moment2, 4 * n / (stage >= 1 ? world : 1));
        }
}

LT_TEST(plan_without_training_keeps_parameters_alone)
{
    lt_zero_bytes b =
        bytes_of((lt_zero_settings){ .stage = 2, .world = 1, .compute = LT_BF16, .grad = LT_F32 });

    LT_CHECK_INT(b.grads + b.buckets + b.moment1 + b.moment2, 0);
    LT_CHECK_INT(b.master, 2 * b.params);
}

/* What is in tiers is not in device memory, and the staging is the tiers' own figure. */
LT_TEST(plan_bytes_with_everything_offloaded)
{
    lt_zero_settings set = {
        .stage = 3,
        .world = 2,
        .training = true,
        .compute = LT_BF16,
        .grad = LT_BF16,
        .tile = 1 << 16,
        .persistence_threshold = 3000,
        .model_persistence_threshold = 1 << 20,
        .optimizer = { .kind = LT_TIER_HOST, .pinned = true, .n_buffers = 4, .ratio = 1 },
        .param = { .kind = LT_TIER_HOST, .pinned = true, .n_buffers = 3 }
    };
    lt_zero_plan *p = even_plan(set);
    lt_zero_bytes b = lt_zero_plan_bytes(p);
    lt_tier_bytes state = lt_tier_plan(&p->optimizer_tier), params = lt_tier_plan(&p->param_tier);

    LT_CHECK_INT(b.params, 2 * persistent_elements(p));
    LT_CHECK_INT(b.master + b.moment1 + b.moment2, 0);
    LT_CHECK_INT(b.staging, state.device + params.device);
    LT_CHECK_INT(b.host, state.host + params.host);
    LT_CHECK_INT(b.file, 0);
    LT_CHECK(b.host >= 12 * (uint64_t)p->n_owned);
    LT_CHECK_INT(p->param_tier.n_records, 7); /* the head is persistent */
    LT_CHECK_INT(p->units[p->n_units - 1].param_record, -1);
    LT_CHECK_INT(p->optimizer_tier.n_slots, 4);
    lt_zero_plan_free(p);
}

/* How many blocks are gathered at a time. */
LT_TEST(plan_prefetches_what_it_is_allowed_to)
{
    const int64_t block = 12 * 512 * 512 + 13 * 512;
    const struct {
        int64_t prefetch, max_live;
        int blocks;
    } cases[] = { { 0, 100, 2 },  { 1, 100, 2 }, { 2, 100, 3 },   { 4, 100, 5 },
                  { 50, 100, 6 }, { 50, 3, 3 },  { 100, 100, 6 }, { 4, 1, 1 } };

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        lt_zero_plan *p = even_plan((lt_zero_settings){ .stage = 3,
                                                        .world = 8,
                                                        .compute = LT_BF16,
                                                        .prefetch = cases[i].prefetch * block,
                                                        .max_live = cases[i].max_live * block });

        LT_CHECK(p);
        LT_CHECK_INT(p->n_param_slots, cases[i].blocks + 2);
        LT_CHECK_INT(p->param_slot_count[0], block);
        LT_CHECK_INT(p->param_slot_count[cases[i].blocks], (512 + 64) * 512);
        LT_CHECK_INT(p->param_slot_count[cases[i].blocks + 1], 2 * 512);
        lt_zero_plan_free(p);
    }
}

/* The shortest vectors have 512 elements; DeepSpeed counts its threshold in, too. */
LT_TEST(plan_keeps_parameters_as_large_as_the_threshold)
{
    for (int64_t threshold = 511; threshold <= 512; threshold++) {
        lt_zero_plan *p = even_plan((lt_zero_settings){ .stage = 3,
                                                        .world = 8,
                                                        .compute = LT_BF16,
                                                        .persistence_threshold = threshold,
                                                        .model_persistence_threshold = INT64_MAX });

        LT_CHECK((persistent_elements(p) > 0) == (threshold == 512));
        lt_zero_plan_free(p);
    }
}

LT_TEST(plan_of_persistent_parameters_gathers_nothing)
{
    lt_zero_plan *p =
        even_plan((lt_zero_settings){ .stage = 3,
                                      .world = 8,
                                      .training = true,
                                      .compute = LT_BF16,
                                      .persistence_threshold = INT64_MAX,
                                      .model_persistence_threshold = INT64_MAX,
                                      .param = { .kind = LT_TIER_HOST, .n_buffers = 1 } });

    LT_CHECK_INT(persistent_elements(p), p->n_elements);
    LT_CHECK_INT(p->n_weights, p->n_elements);
    for (int i = 0; i < p->n_param_slots; i++)
        LT_CHECK_INT(p->param_slot_count[i], 0);
    LT_CHECK_INT(p->param_tier.kind, LT_TIER_NONE);
    lt_zero_plan_free(p);
}

/* Slots and the record at hand stay below max_in_cpu, and buffer_count is a bound too. */
LT_TEST(plan_keeps_max_in_cpu)
{
    const int64_t unit = (12 * 512 * 512 + 13 * 512) / 2; /* of a block, one of two ranks */
    const struct {
        int64_t most;
        int slots;
    } cases[] = {
        { 0, 5 }, { 100 * unit, 5 }, { 6 * unit, 5 }, { 6 * unit - 1, 4 }, { 2 * unit, 1 }
    };
    lt_zero_settings set = { .stage = 3,
                             .world = 2,
                             .compute = LT_BF16,
                             .max_live = 1 << 30,
                             .param = { .kind = LT_TIER_FILE, .n_buffers = 5 } };
    lt_param_table *t;
    lt_zero_plan *p = NULL;

    for (size_t i = 0; i < LT_COUNT(cases); i++) {
        set.param.max_in_cpu = cases[i].most;
        p = even_plan(set);
        LT_CHECK(p);
        LT_CHECK_INT(p->param_tier.n_slots, cases[i].slots);
        lt_zero_plan_free(p);
    }
    t = even_table(6);
    set.param.max_in_cpu = 2 * unit - 1;
    LT_CHECK_FAILS(lt_zero_plan_new(&p, t, &set), LT_EUSAGE,
                   "offload_param.max_in_cpu is 3152383: two buffers, the fewest that nvme needs, "
                   "take 3152384 elements");
    set.param.kind = LT_TIER_HOST; /* then it says nothing */
    LT_CHECK_OK(lt_zero_plan_new(&p, t, &set));
    lt_zero_plan_free(p);
    lt_param_table_free(t);
}

LT_TEST(plan_refuses_what_cannot_be)
{
    lt_param_table *t = even_table(2);
    lt_zero_settings set = { .stage = 3, .world = 2, .max_live = 3152383 };
    lt_zero_plan *p = NULL;

    LT_CHECK_FAILS(lt_zero_plan_new(&p, t, &set), LT_EUSAGE,
                   "deepspeed.zero_optimization.stage3_max_live_parameters is 3152383: one block "
                   "of this model gathers 3152384 elements");
    set.world = 1; /* nothing is gathered */
    LT_CHECK_OK(lt_zero_plan_new(&p, t, &set));
    lt_zero_plan_free(p);
    p = NULL;
    for (set.stage = 0; set.stage < 3; set.stage++) {
        set.param.kind = LT_TIER_HOST;
        LT_CHECK_FAILS(lt_zero_plan_new(&p, t, &set), LT_EUSAGE, "offloaded at stage 3 only");
    }
    for (int stage = -1; stage <= 4; stage += 5)
        LT_CHECK_FAILS(lt_zero_plan_new(&p, t, &(lt_zero_settings){ .stage = stage, .world = 1 }),
                       LT_EUSAGE, "expected 0 to 3");
    LT_CHECK(!p);
    lt_param_table_free(t);
    lt_zero_plan_free(NULL);
}
