/* test_engine_bytes.c - memory of one rank: the formulas of the ZeRO paper, the arithmetic of
 * --plan and what an engine takes from its device are the same numbers. */
#include "run_ranks.h"

#include "train/report.h"
#include "train/saver.h"

#include <jansson.h>

typedef struct bytes_case {
    int stage;
    const char *precision, *optimizer, *param, *threads;
    bool paper; /* nothing offloaded or persistent: the formulas hold */
} bytes_case;

typedef struct case_settings {
    char text[9][160];
    run_settings list;
} case_settings;

static void settings_of(case_settings *s, const bytes_case *c)
{
    const char *tmp = getenv("TMPDIR");
    int n = 0;

#define ZERO "--deepspeed.zero_optimization."
    *s = (case_settings){ .list = { NULL } };
    snprintf(s->text[n++], sizeof s->text[0], ZERO "stage=%d", c->stage);
    snprintf(s->text[n++], sizeof s->text[0], ZERO "offload_optimizer.device=%s", c->optimizer);
    snprintf(s->text[n++], sizeof s->text[0], ZERO "offload_param.device=%s", c->param);
    for (int i = 0; i < 2; i++)
        snprintf(s->text[n++], sizeof s->text[0], ZERO "offload_%s.nvme_path=%s",
                 i ? "param" : "optimizer", tmp ? tmp : "/tmp");
    snprintf(s->text[n++], sizeof s->text[0], ZERO "stage3_param_persistence_threshold=%d",
             c->paper ? 0 : 40);
    snprintf(s->text[n++], sizeof s->text[0], "--model.n_layer=3");
    snprintf(s->text[n++], sizeof s->text[0], "--model.precision=%s", c->precision);
    snprintf(s->text[n++], sizeof s->text[0], "--threads=%s", c->threads);
#undef ZERO
    for (int i = 0; i < n; i++)
        s->list[i] = s->text[i];
}

/* Rajbhandari et al. 2020, figure 1: with P parameters on N ranks a mixed precision rank keeps 2P
 * of parameters, 2P of gradients, 12P of optimizer state, and the stages divide the last, the last
 * two, all three by N.  Gradients are fp32 here, so 4P; in fp32 training parameters are 4P, and
 * where a rank keeps just the weights that it updates they are their own masters, which saves 4P.
 * P counts the padding of the slices.  Units under way (slots) come on top. */
static void check_paper(thread_rank *me, lt_engine *e, const lt_zero_bytes *b)
{
    const lt_zero_plan *plan = lt_engine_zero_plan(e);
    uint64_t p = (uint64_t)plan->n_elements, world = (uint64_t)me->world;
    int stage = plan->set.stage;
    bool fp32 = plan->set.compute == LT_F32;
    bool own_masters = fp32 && (world == 1 || stage == 0 || stage == 3);
    uint64_t state = stage >= 1 ? p / world : p;

    RANK_CHECK(me, p % world == 0);
    RANK_CHECK(me, b->params == (fp32 ? 4 : 2) * (stage == 3 ? p / world : p));
    RANK_CHECK(me, b->grads == 4 * (stage >= 2 ? p / world : p));
    RANK_CHECK(me, b->master == (own_masters ? 0 : 4 * state));
    RANK_CHECK(me, b->moment1 == 4 * state && b->moment2 == 4 * state);
    RANK_CHECK(me, (b->buckets > 0) == (stage >= 2));
    RANK_CHECK(me, (b->gathered > 0) == (stage == 3 && world > 1));
    RANK_CHECK(me, b->staging + b->host + b->file == 0);
}

/* The number called key in what --plan --json prints. */
static uint64_t planned(const json_t *plan, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(plan, key));
}

static void check_plan(thread_rank *me, run_case *r, const lt_engine_bytes *used, uint64_t saver)
{
    const lt_plan_request rq = { .device = "cpu", .ranks = me->world, .json = true };
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    json_t *plan;

    RANK_CHECK_OK(me, lt_report_plan(r->config, &rq, out));
    fclose(out);
    plan = json_loads(text, 0, NULL);
    RANK_CHECK(me, plan != NULL);
    RANK_CHECK(me, planned(plan, "total") == used->total);
    RANK_CHECK(me, planned(plan, "host_total") == used->host + saver);
    RANK_CHECK(me, planned(plan, "file_total") == used->state.file);
    RANK_CHECK(me, planned(plan, "parameters") == used->state.params);
    RANK_CHECK(me, planned(plan, "gradients") == used->state.grads);
    RANK_CHECK(me, planned(plan, "activations") == used->activations);
    RANK_CHECK(me, planned(plan, "scratch") == used->scratch);
    json_decref(plan);
    free(text);
}

static void count(thread_rank *me, void *arg)
{
    const bytes_case *c = arg;
    case_settings s;
    lt_engine_bytes used;
    lt_saver *saver = NULL;
    uint64_t saver_bytes;
    run_case r;

    settings_of(&s, c);
    me->group->local_rank = me->rank;
    me->group->local_world = me->world;
    RANK_CHECK_OK(me, run_open_rank(&r, me, s.list));
    used = lt_engine_bytes_used(r.engine);
    RANK_CHECK(me, run_took.bytes[LT_MEMORY_DEVICE] + used.scratch == used.total);
    RANK_CHECK(me, run_took.bytes[LT_MEMORY_PINNED] == used.host);
    RANK_CHECK(me, lt_engine_device(r.engine)->scratch_bytes == used.scratch);
    if (c->paper)
        check_paper(me, r.engine, &used.state);
    saver_bytes = lt_saver_bytes(used.owned);
    RANK_CHECK_OK(me, lt_saver_open(&saver, r.engine, &r.setup, true));
    RANK_CHECK(me, run_took.bytes[LT_MEMORY_PINNED] == used.host + saver_bytes);
    if (me->rank == 0)
        check_plan(me, &r, &used, saver_bytes);
    lt_saver_close(saver);
    run_close(&r);
    RANK_CHECK(me, run_took.blocks == 0);
}

static void check_worlds(const bytes_case *c)
{
    for (int world = 1; world <= 4; world++) {
        const char *failure = thread_ranks_run(world, count, (void *)(uintptr_t)c);

        LT_FAIL_IF(failure[0], "stage %d, %s, optimizer %s, param %s: %s", c->stage, c->precision,
                   c->optimizer, c->param, failure);
    }
}

LT_TEST(engine_bytes_follow_the_paper)
{
    for (int stage = 0; stage <= 3; stage++)
        for (int half = 0; half < 2; half++)
            check_worlds(&(bytes_case){ stage, half ? "bf16" : "fp32", "none", "none",
                                        half ? "2" : "0", true });
}

LT_TEST(engine_bytes_are_planned_with_offload)
{
    static const char *const kinds[] = { "none", "cpu", "nvme" };

    for (int stage = 0; stage <= 3; stage++)
        for (int optimizer = 0; optimizer < 3; optimizer++)
            for (int param = 0; param < (stage == 3 ? 3 : 1); param++)
                check_worlds(&(bytes_case){ stage,
                                            (stage + optimizer + param) % 2 ? "bf16" : "fp32",
                                            kinds[optimizer], kinds[param], "1", false });
}
