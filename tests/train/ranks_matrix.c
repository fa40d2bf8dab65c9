/* ranks_matrix.c - the equivalence matrix: whatever the ranks, stages, micro-batches, offload,
 * overlap and recomputation, a run is the run of one rank.
 *
 * Every case trains the same small GPT-2 on the same 48 sequences a step, with targets that are not
 * counted so that ranks count differently.  Its losses are held against those of one rank that has
 * them in one micro-batch at stage 0 in fp32, and its bits (losses, norms, owned weights and
 * moments) against the first case of the same ranks and micro-batches that must agree with it:
 * stages 0 and 1 with stage 0, stages 2 and 3 with stage 2, with one micro-batch all with stage 0.
 *
 * LT_LONG=1 runs all combinations in fp32, else the barest and the fullest of each stage; 16-bit
 * types always have those two.  A line "# | ..." is a row of docs/equivalence.md (tests/matrix.sh).
 *
 * In fp16 ranks skip a step together or not at all. */
#include "lt_ranks.h"
#include "tiny_gpt2.h"

#include "base/hash.h"
#include "batch/dataset.h"
#include "train/engine.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

enum {
    STEPS = 20,
    SEQUENCES = 48,
    SEQ = 32,
    MOST_MICRO = 4,
    ROWS = SEQUENCES * SEQ,
    TOKENS = 7200
};

typedef struct setting {
    int stage, n_micro;
    lt_tier_kind optimizer, param;
    bool no_overlap, recompute;
    lt_dtype act;
    double scale; /* 0: a constant one; else a dynamic scale begins here, and only the last rank
                     counts targets */
} setting;

typedef struct curve {
    double losses[STEPS], norms[STEPS];
    uint64_t skipped; /* bit s: step s */
    uint64_t state;   /* hash of what this rank owns in the end */
} curve;

/* What one row of the table says. */
typedef struct row {
    int cases;
    double first, worst; /* relative deviation of step 1's loss and of any step's */
} row;

/* ---- data: the same for everybody */

static lt_err read_tokens(uint32_t *tokens)
{
    lt_dataset *data = NULL;
    lt_err err;

    LT_TRY(err = lt_dataset_open(&data, lt_test_data("train/train.manifest")));
    err = lt_dataset_read(data, 0, tokens, TOKENS);
fail:
    lt_dataset_close(data);
    return err;
}

static const uint32_t *all_tokens(void)
{
    static uint32_t tokens[TOKENS];
    static bool there;

    if (!there)
        LT_BUG_ON(read_tokens(tokens) != LT_OK);
    there = true;
    return tokens;
}

typedef struct step_data {
    int32_t ids[ROWS], targets[ROWS], positions[ROWS];
    int64_t counted;
} step_data;

/* Sequence k leaves its first k % 7 targets out. */
static void fill_step(step_data *d, int step)
{
    const uint32_t *tokens = all_tokens();

    d->counted = 0;
    for (int k = 0; k < SEQUENCES; k++) {
        int from = (step * SEQUENCES + k) * 61 % (TOKENS - SEQ - 1);

        for (int t = 0; t < SEQ; t++) {
            int at = k * SEQ + t;

            d->ids[at] = (int32_t)tokens[from + t];
            d->targets[at] = t < k % 7 ? -100 : (int32_t)tokens[from + t + 1];
            d->positions[at] = t;
            d->counted += d->targets[at] >= 0;
        }
    }
}

/* ---- a case */

static const lt_model_config *model(void)
{
    static lt_model_config m;

    m = tiny_gpt2(280, SEQ, 48, 3, 192);
    return &m;
}

static lt_zero_offload offload(lt_tier_kind kind)
{
    const char *tmp = getenv("TMPDIR");

    return (lt_zero_offload){
        .kind = kind, .pinned = true, .path = tmp ? tmp : "/tmp", .n_buffers = 3, .ratio = 1
    };
}

/* Tiles and thresholds are small enough that this model has several tiles, persistent segments and
 * units that come and go. */
static lt_engine_options options_of(const setting *s, lt_group *group)
{
    return (lt_engine_options){
        .config = model(),
        .shape = { .n_batch = SEQUENCES / (group ? group->world : 1) / s->n_micro,
                   .seq = SEQ,
                   .act = s->act,
                   .grad = LT_F32,
                   .recompute = s->recompute ? LT_RECOMPUTE_BLOCK : LT_RECOMPUTE_NONE,
                   .uses = { [LT_USE_TRAIN] = true } },
        .device = "cpu",
        .dev = { .n_threads = 1, .deterministic = true },
        .optim = { .beta1 = 0.9f,
                   .beta2 = 0.95f,
                   .eps = 1e-8f,
                   .weight_decay = 0.1f,
                   .decoupled = true,
                   .max_norm = 1.0f,
                   .scaling = { .dynamic = s->scale > 0,
                                .min_loss_scale = 1,
                                .loss_scale_window = 3,
                                .hysteresis = 1 } },
        .loss_scale = s->scale > 0       ? s->scale
                      : s->act == LT_F16 ? 1024
                                         : 1,
        .zero = { .stage = s->stage,
                  .overlap = !s->no_overlap,
                  .optimizer = offload(s->optimizer),
                  .param = offload(s->param),
                  .tile = 4096,
                  .persistence_threshold = 100,
                  .model_persistence_threshold = 1 << 20,
                  .prefetch = 1,
                  .max_live = 1 << 30 },
        .group = group,
        .training = true
    };
}

static lt_err one_step(lt_engine *e, const setting *s, int step, curve *c)
{
    static step_data data;
    lt_group *g = lt_engine_group(e);
    int mine = ROWS / g->world, rows = mine / s->n_micro;
    lt_engine_batch micro[MOST_MICRO];
    lt_engine_result result;
    lt_err err;

    fill_step(&data, step);
    for (int i = 0; s->scale > 0 && i < ROWS - mine; i++) {
        data.counted -= data.targets[i] >= 0;
        data.targets[i] = -100;
    }
    for (int i = 0; i < s->n_micro; i++) {
        int from = g->rank * mine + i * rows;

        micro[i] = (lt_engine_batch){ .ids = data.ids + from,
                                      .targets = data.targets + from,
                                      .positions = data.positions + from };
    }
    LT_TRY(err =
               lt_engine_step(e, micro, s->n_micro, data.counted, step < 5 ? 2e-4 : 1e-3, &result));
    c->losses[step] = result.loss;
    c->norms[step] = result.grad_norm;
    c->skipped |= (uint64_t)result.skipped << step;
fail:
    return err;
}

static lt_err hash_state(lt_engine *e, uint64_t *hash)
{
    int n = 0;
    lt_zero_piece *pieces = lt_zero_plan_pieces(lt_engine_zero_plan(e), lt_engine_table(e), &n);
    float *values = NULL;
    lt_err err;

    *hash = 0;
    LT_TRY(err = lt_zero_sync(lt_engine_store(e)));
    for (int which = LT_ZERO_MASTER; which <= LT_ZERO_MOMENT2; which++)
        for (int i = 0; i < n; i++) {
            values = lt_new_array0((size_t)pieces[i].count, sizeof *values);
            LT_TRY(err =
                       lt_zero_read(lt_engine_store(e), (lt_zero_class)which, &pieces[i], values));
            *hash = lt_xxh64(values, (size_t)pieces[i].count * sizeof *values, *hash);
            free(values);
            values = NULL;
        }
fail:
    free(values);
    free(pieces);
    return err;
}

/* --plan names what this rank takes. */
static lt_err check_plan(lt_engine *e, const lt_engine_options *o)
{
    lt_engine_options alone = *o;
    lt_engine_bytes planned, used = lt_engine_bytes_used(e);
    lt_err err;

    alone.group = NULL;
    alone.world = lt_engine_group(e)->world;
    LT_TRY(err = lt_engine_plan(&planned, &alone));
    if (lt_engine_group(e)->rank == 0 && memcmp(&planned, &used, sizeof used) != 0)
        err = lt_fail(LT_EFAULT, "the plan says %llu bytes, rank 0 takes %llu",
                      (unsigned long long)planned.total, (unsigned long long)used.total);
fail:
    return err;
}

static lt_err run_case(const setting *s, lt_group *group, curve *c)
{
    lt_engine_options o = options_of(s, group);
    lt_engine *e = NULL;
    lt_err err;

    *c = (curve){ 0 };
    LT_TRY(err = lt_engine_open(&e, &o));
    LT_TRY(err = check_plan(e, &o));
    LT_TRY(err = lt_engine_init_weights(e, 7));
    for (int step = 0; step < STEPS; step++)
        LT_TRY(err = one_step(e, s, step, c));
    err = hash_state(e, &c->state);
fail:
    lt_engine_close(e);
    return err;
}

/* ---- comparing */

static void describe(const setting *s, char *text, size_t size)
{
    static const char *const kinds[] = {
        [LT_TIER_NONE] = "none", [LT_TIER_HOST] = "cpu", [LT_TIER_FILE] = "nvme"
    };

    snprintf(text, size, "%s, stage %d, %d micro-batches, optimizer %s, param %s, overlap %s, %s",
             lt_dtype_name(s->act), s->stage, s->n_micro, kinds[s->optimizer], kinds[s->param],
             s->no_overlap ? "off" : "on", s->recompute ? "recompute" : "keep");
}

static double deviation(double a, double b)
{
    return isfinite(a) ? fabs(a - b) / fabs(b) : INFINITY;
}

/* What every case is compared with. */
typedef struct bounds {
    curve reference; /* one rank */
    double first, worst;
} bounds;

/* Runs s on all ranks; like: whose bits it must have, or NULL when it is the first of its kind. */
static lt_err hold_case(const setting *s, const bounds *b, const curve *like, curve *c, row *r)
{
    double worst = 0;
    char name[160];
    lt_err err;

    describe(s, name, sizeof name);
    LT_TRY(err = run_case(s, lt_ranks_group(), c));
    r->cases++;
    r->first = fmax(r->first, deviation(c->losses[0], b->reference.losses[0]));
    for (int i = 0; i < STEPS; i++)
        worst = fmax(worst, deviation(c->losses[i], b->reference.losses[i]));
    r->worst = fmax(r->worst, worst);
    if (deviation(c->losses[0], b->reference.losses[0]) > b->first || worst > b->worst)
        return lt_fail(LT_EFAULT, "%s: the losses deviate by %.3g at step 1, by up to %.3g", name,
                       deviation(c->losses[0], b->reference.losses[0]), worst);
    if (like && memcmp(like, c, sizeof *c) != 0)
        return lt_fail(LT_EFAULT, "%s: other bits than at stage %d: losses %s, norms %s, state %s",
                       name, s->n_micro > 1 && s->stage >= 2 ? 2 : 0,
                       memcmp(like->losses, c->losses, sizeof c->losses) ? "differ" : "agree",
                       memcmp(like->norms, c->norms, sizeof c->norms) ? "differ" : "agree",
                       like->state != c->state ? "differs" : "agrees");
    return LT_OK;
fail:
    return lt_fail_in("%s", name);
}

/* Everybody heard the same losses and norms. */
static lt_err agree_on(const curve *c)
{
    uint64_t mine = lt_xxh64(c, offsetof(curve, state), 0), all[16];
    lt_group *g = lt_ranks_group();
    lt_err err;

    LT_BUG_ON(g->world > (int)LT_COUNT(all));
    LT_TRY(err = lt_group_all_gather(g, all, &mine, sizeof mine));
    for (int r = 0; r < g->world; r++)
        if (all[r] != mine)
            return lt_fail(LT_EFAULT, "rank %d heard other losses than rank %d", r, g->rank);
fail:
    return err;
}

/* The combinations of one stage: all, or the first (nothing special) and the last (everything). */
static int list_settings(setting *out, int stage, int n_micro, lt_dtype act, bool all)
{
    int n = 0, n_param = stage == 3 ? 3 : 1;

    for (int k = 0; k < 3 * n_param * 4; k++) {
        setting s = { .stage = stage,
                      .n_micro = n_micro,
                      .optimizer = (lt_tier_kind)(k / 4 % 3),
                      .param = (lt_tier_kind)(k / 12),
                      .no_overlap = k & 1,
                      .recompute = k & 2,
                      .act = act };

        if (all || k == 0 || k == 3 * n_param * 4 - 1)
            out[n++] = s;
    }
    return n;
}

static void print_row(const setting *s, const row *r)
{
    const char *like = s->n_micro == 1 ? "stage 0" : s->stage >= 2 ? "stage 2" : "stage 0";
    bool itself = s->stage == (s->n_micro > 1 && s->stage >= 2 ? 2 : 0);

    if (lt_ranks_group()->rank == 0)
        printf("# | %s | %d | %d | %d | %d | %.1e | %.1e | one set%s%s |\n", lt_dtype_name(s->act),
               lt_ranks_group()->world, s->n_micro, s->stage, r->cases, r->first, r->worst,
               itself ? "" : ", that of ", itself ? "" : like);
}

/* All stages at these micro-batches, on all ranks together. */
static lt_err hold_stages(int n_micro, lt_dtype act, const bounds *b, bool all)
{
    setting list[36];
    curve kinds[2], c; /* stages 0 and 1; 2 and 3 */
    lt_err err = LT_OK;

    for (int stage = 0; stage <= 3; stage++) {
        int n = list_settings(list, stage, n_micro, act, all);
        row r = { 0 };

        for (int i = 0; i < n; i++) {
            bool first = i == 0 && (stage == 0 || (stage == 2 && n_micro > 1));
            int kind = stage >= 2 && n_micro > 1;

            LT_TRY(err =
                       lt_group_agree(lt_ranks_group(),
                                      hold_case(&list[i], b, first ? NULL : &kinds[kind], &c, &r)));
            LT_TRY(err = lt_group_agree(lt_ranks_group(), agree_on(&c)));
            if (first)
                kinds[kind] = c;
        }
        print_row(&list[0], &r);
    }
fail:
    return err;
}

static void hold_matrix(lt_dtype act, double first, double worst)
{
    const char *wish = getenv("LT_LONG");
    bool all = wish && wish[0];
    setting alone = { .n_micro = 1, .act = LT_F32 };
    bounds b = { .first = first, .worst = worst };

    LT_CHECK_OK(run_case(&alone, NULL, &b.reference));
    LT_CHECK(b.reference.losses[STEPS - 1] < 0.9 * b.reference.losses[0]);
    if (all || act == LT_F32)
        LT_CHECK_OK(hold_stages(1, act, &b, all && act == LT_F32));
    LT_CHECK_OK(hold_stages(MOST_MICRO, act, &b, all && act == LT_F32));
}

LT_TEST(matrix_fp32_is_one_rank_s_run)
{
    hold_matrix(LT_F32, 1e-6, 1e-5);
}

LT_TEST(matrix_bf16_is_near)
{
    hold_matrix(LT_BF16, 1e-2, 1e-2);
}

LT_TEST(matrix_fp16_is_near)
{
    hold_matrix(LT_F16, 1e-2, 1e-2);
}

/* ---- all ranks skip together */

/* Every stage, bare and with everything, skips the same steps and ends at the same bits. */
static lt_err hold_skips(double scale, curve *c)
{
    setting list[2];
    curve kinds[2]; /* stages 0 and 1; 2 and 3 */
    lt_err err = LT_OK;

    for (int stage = 0; stage <= 3; stage++) {
        int n = list_settings(list, stage, MOST_MICRO, LT_F16, false), kind = stage / 2;

        for (int i = 0; i < n; i++) {
            list[i].scale = scale;
            LT_TRY(err = lt_group_agree(lt_ranks_group(), run_case(&list[i], lt_ranks_group(), c)));
            LT_TRY(err = lt_group_agree(lt_ranks_group(), agree_on(c)));
            if (i == 0 && stage % 2 == 0)
                kinds[kind] = *c;
            if (memcmp(&kinds[kind], c, sizeof *c) != 0 || kinds[0].skipped != c->skipped)
                return lt_fail(LT_EFAULT, "stage %d, case %d: other steps or bits", stage, i);
        }
    }
fail:
    return err;
}

static lt_err hash_first_state(uint64_t *hash)
{
    setting s = { .n_micro = 1, .act = LT_F16 };
    lt_engine_options o = options_of(&s, lt_ranks_group());
    lt_engine *e = NULL;
    lt_err err;

    LT_TRY(err = lt_engine_open(&e, &o));
    LT_TRY(err = lt_engine_init_weights(e, 7));
    err = hash_state(e, hash);
fail:
    lt_engine_close(e);
    return err;
}

/* The gradients of all ranks but one are zeros, and still all of them skip what overflows there:
 * from 2^30 a few steps, from 2^100 every one. */
LT_TEST(matrix_fp16_ranks_skip_together)
{
    const uint64_t all = (UINT64_C(1) << STEPS) - 1;
    uint64_t first;
    curve c;

    LT_CHECK_OK(hash_first_state(&first));
    LT_CHECK_OK(hold_skips(0x1p30, &c));
    LT_CHECK((c.skipped & 1) && c.skipped != all && c.state != first);
    LT_CHECK(c.losses[STEPS - 1] < 0.97 * c.losses[0]);
    LT_CHECK_OK(hold_skips(0x1p100, &c));
    LT_CHECK(c.skipped == all && c.state == first);
}
