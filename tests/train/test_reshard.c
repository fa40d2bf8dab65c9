/* test_reshard.c - a checkpoint of any layout goes on in any other: every stage on 1 to 4 ranks,
 * with the state in memory, offloaded to the host or to a file.
 *
 * Same ranks, same bits: of the next loss at every stage, of later ones where stages add up their
 * micro-batches alike (0 and 1, 2 and 3).  Other ranks: the next losses within rounding.  And what
 * is merged from a state is the same file whatever layout saved it. */
#include "run_ranks.h"

#include "ckpt/hf_export.h"
#include "train/saver.h"

enum { STAGES = 4, WORLDS = 4, LAYOUTS = STAGES * WORLDS, BEFORE = 3, AFTER = 2, SEQUENCES = 24 };

typedef struct layout {
    int stage, world;
} layout;

static layout layout_of(int index)
{
    return (layout){ index % STAGES, index / STAGES + 1 };
}

/* A run's shape on disk and what followed it there. */
typedef struct source {
    char *path;
    double losses[AFTER];
} source;

typedef struct layout_settings {
    char text[8][160];
    run_settings list;
} layout_settings;

/* 24 sequences a step, in two micro-batches a rank; what is offloaded goes through all layouts. */
static void settings_of(layout_settings *s, layout l, const char *precision)
{
    static const char *const kinds[] = { "none", "cpu", "nvme" };
    const char *kind = kinds[(l.world + l.stage) % 3];
    const char *param = l.stage == 3 ? kind : "none";
    const char *tmp = getenv("TMPDIR");
    int n = 0;

#define ZERO "--deepspeed.zero_optimization."
    *s = (layout_settings){ .list = { NULL } };
    snprintf(s->text[n++], sizeof s->text[0], ZERO "stage=%d", l.stage);
    snprintf(s->text[n++], sizeof s->text[0], ZERO "offload_optimizer.device=%s", kind);
    snprintf(s->text[n++], sizeof s->text[0], ZERO "offload_param.device=%s", param);
    for (int i = 0; i < 2; i++)
        snprintf(s->text[n++], sizeof s->text[0], ZERO "offload_%s.nvme_path=%s",
                 i ? "param" : "optimizer", tmp ? tmp : "/tmp");
    snprintf(s->text[n++], sizeof s->text[0], ZERO "stage3_param_persistence_threshold=40");
    snprintf(s->text[n++], sizeof s->text[0], "--training.batch_size=%d", SEQUENCES / 2 / l.world);
    snprintf(s->text[n++], sizeof s->text[0], "--model.precision=%s", precision);
#undef ZERO
    for (int i = 0; i < n; i++)
        s->list[i] = s->text[i];
}

/* Into a folder of the layout's own below `name`; rank 0 tells where. */
static lt_err save(run_case *r, thread_rank *me, char *dir, char **path)
{
    char *before = r->config->checkpoint.dir;
    lt_saver *saver = NULL;
    lt_err err;

    r->config->checkpoint.dir = dir;
    LT_TRY(err = lt_saver_open(&saver, r->engine, &r->setup, me->world % 2 == 0));
    LT_TRY(err = lt_saver_start(saver, &r->state));
    LT_TRY(err = lt_saver_finish(saver));
    if (me->rank == 0)
        *path = lt_asprintf("%s/step-%08llu", dir, (unsigned long long)r->state.step);
fail:
    lt_saver_close(saver);
    r->config->checkpoint.dir = before;
    return err;
}

static char *folder(const char *name, layout l)
{
    return lt_asprintf("%s-%d-%d", lt_test_tmp(name), l.world, l.stage);
}

/* ---- losses */

typedef struct reshard_job {
    layout here;
    const char *precision;
    char *dir;      /* to save in */
    source *source; /* that is made */
    const source *sources;
    double losses[LAYOUTS][AFTER]; /* after loading each */
} reshard_job;

static void make_source(thread_rank *me, void *arg)
{
    reshard_job *job = arg;
    double losses[BEFORE + AFTER];
    layout_settings s;
    run_case r;

    settings_of(&s, job->here, job->precision);
    RANK_CHECK_OK(me, run_open_rank(&r, me, s.list));
    RANK_CHECK_OK(me, run_steps(&r, BEFORE, losses));
    RANK_CHECK_OK(me, save(&r, me, job->dir, &job->source->path));
    RANK_CHECK_OK(me, run_steps(&r, AFTER, losses));
    if (me->rank == 0)
        memcpy(job->source->losses, losses, sizeof job->source->losses);
    run_close(&r);
}

static void go_on_from_all(thread_rank *me, void *arg)
{
    reshard_job *job = arg;
    double losses[AFTER];
    layout_settings s;
    run_case r;

    settings_of(&s, job->here, job->precision);
    RANK_CHECK_OK(me, run_open_rank(&r, me, s.list));
    for (int i = 0; i < LAYOUTS; i++) {
        RANK_CHECK_OK(me, lt_snapshot_load(r.engine, &r.setup, &r.state, job->sources[i].path));
        RANK_CHECK_OK(me, run_steps(&r, AFTER, losses));
        if (me->rank == 0)
            memcpy(job->losses[i], losses, sizeof losses);
    }
    run_close(&r);
}

static void check_losses(const reshard_job *job)
{
    for (int i = 0; i < LAYOUTS; i++) {
        layout from = layout_of(i);
        const double *was = job->sources[i].losses, *is = job->losses[i];

        for (int k = 0; k < AFTER; k++) {
            bool bits =
                from.world == job->here.world && (k == 0 || from.stage / 2 == job->here.stage / 2);

            LT_FAIL_IF(bits ? was[k] != is[k]
                            : !(is[k] > was[k] * (1 - 1e-6) && is[k] < was[k] * (1 + 1e-6)),
                       "stage %d on %d ranks loaded at stage %d on %d ranks: loss %d is %.17g, was "
                       "%.17g",
                       from.stage, from.world, job->here.stage, job->here.world, k + 1, is[k],
                       was[k]);
        }
    }
}

static void free_sources(source *sources)
{
    for (int i = 0; i < LAYOUTS; i++)
        free(sources[i].path);
}

LT_TEST(reshard_every_layout_goes_on_from_every_other)
{
    source sources[LAYOUTS] = { 0 };
    const char *failure = "";

    for (int i = 0; i < LAYOUTS && !failure[0]; i++) {
        reshard_job job = { .here = layout_of(i), .precision = "fp32", .source = &sources[i] };

        job.dir = folder("from", job.here);
        failure = thread_ranks_run(job.here.world, make_source, &job);
        free(job.dir);
        LT_FAIL_IF(failure[0], "saving: %s", failure);
    }
    for (int i = 0; i < LAYOUTS; i++) {
        reshard_job job = { .here = layout_of(i), .precision = "fp32", .sources = sources };

        failure = thread_ranks_run(job.here.world, go_on_from_all, &job);
        LT_FAIL_IF(failure[0], "loading: %s", failure);
        check_losses(&job);
    }
    free_sources(sources);
}

/* ---- merging */

static lt_err merge(const char *checkpoint, const char *out, lt_buf *weights)
{
    lt_hf_export_options o = { .dtype = LT_F32 };
    char *path = lt_asprintf("%s/model.safetensors", out);
    lt_ckpt *c = NULL;
    lt_err err;

    LT_TRY(err = lt_ckpt_open(&c, checkpoint));
    LT_TRY(err = lt_hf_export(c, out, &o, NULL, NULL));
    err = lt_file_read_all(weights, path, 1 << 20);
fail:
    lt_ckpt_close(c);
    free(path);
    return err;
}

/* Loads and saves, trains nothing. */
static void carry_over(thread_rank *me, void *arg)
{
    reshard_job *job = arg;
    layout_settings s;
    run_case r;

    settings_of(&s, job->here, job->precision);
    RANK_CHECK_OK(me, run_open_rank(&r, me, s.list));
    RANK_CHECK_OK(me, lt_snapshot_load(r.engine, &r.setup, &r.state, job->sources->path));
    RANK_CHECK_OK(me, save(&r, me, job->dir, &job->source->path));
    run_close(&r);
}

/* From layout to layout, each loading what the one before saved, in fp32 and bf16 by turns. */
LT_TEST(reshard_merges_the_same_bytes_from_every_layout)
{
    static const char *const precisions[] = { "fp32", "bf16", "fp16" };
    source first = { 0 }, before, after;
    reshard_job job = { .here = { 0, 1 }, .precision = "fp32", .source = &first };
    lt_buf expected = { 0 };
    const char *failure;
    char *out = folder("model-of", job.here);

    job.dir = folder("trained", job.here);
    failure = thread_ranks_run(1, make_source, &job);
    LT_FAIL_IF(failure[0], "training: %s", failure);
    LT_CHECK_OK(merge(first.path, out, &expected));
    LT_CHECK(expected.size > 1000);
    free(job.dir);
    free(out);
    before = first;
    for (int i = 0; i < LAYOUTS; i++) {
        layout here = layout_of(i * 5 % LAYOUTS);
        lt_buf merged = { 0 };

        job = (reshard_job){ .here = here,
                             .precision = precisions[i % 3],
                             .dir = folder("carried", here),
                             .source = &after,
                             .sources = &before };
        failure = thread_ranks_run(here.world, carry_over, &job);
        LT_FAIL_IF(failure[0], "carrying over: %s", failure);
        out = folder("model", here);
        LT_CHECK_OK(merge(after.path, out, &merged));
        LT_FAIL_IF(merged.size != expected.size ||
                       memcmp(merged.data, expected.data, expected.size) != 0,
                   "stage %d on %d ranks: other bytes are merged", here.stage, here.world);
        lt_buf_release(&merged);
        free(job.dir);
        free(out);
        free(before.path);
        before = after;
    }
    free(before.path);
    lt_buf_release(&expected);
}
