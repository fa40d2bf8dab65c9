/* train/saver.c - snapshot and writer thread, or straight from the store; commit. */
#include "train/saver.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "ckpt/checkpoint_dir.h"
#include "ckpt/checkpoint_save.h"
#include "ckpt/checkpoint_writer.h"
#include "train/snapshot_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BLOBS = 6 };

/* Small files of one save, made by rank 0 when it starts. */
typedef struct save_blobs {
    lt_buf text[MOST_BLOBS];
    lt_ckpt_blob list[MOST_BLOBS];
    size_t n;
} save_blobs;

struct lt_saver {
    lt_ckpt_source source; /* first: pull gets it and casts */
    lt_engine *e;
    const lt_setup *s;
    lt_group *group;
    bool async;
    lt_zero_piece *pieces; /* of this rank */
    int n_pieces;
    float *memory; /* async: LT_SNAPSHOT_GROUPS times the owned elements */
    lt_ckpt_tensor *tensors;
    lt_ckpt_slice *slices;
    lt_ckpt_writer *writer;
    /* The save under way. */
    bool active, retiring;
    char *tmp; /* its folder */
    double started, stalled;
    lt_run_state state;
    lt_ckpt_save_request rq;
    save_blobs blobs;
};

/* ---- what is saved */

/* What else decides the future of a run: on resume these must agree. */
static void identity(lt_buf *out, const lt_setup *s)
{
    char data[LT_SHA256_HEX];

    lt_sha256_hex(lt_dataset_manifest(s->train)->id, data);
    lt_buf_printf(
        out, "\"data\": \"%s\", \"seq_len\": %" PRId64 ", \"seed\": %" PRId64 ", \"shuffle\": %s, ",
        data, s->config->data.seq_len, s->config->training.seed,
        s->config->data.shuffle ? "true" : "false");
}

static lt_err format_state(lt_buf *out, lt_engine *e, const lt_setup *s, const lt_run_state *state)
{
    lt_step_state now;
    lt_err err;

    LT_TRY(err = lt_engine_state(e, &now));
    lt_buf_printf(out, "{");
    identity(out, s);
    lt_buf_printf(out, "\"step\": %" PRIu64 ", \"samples\": %" PRIu64 ", \"tokens\": %" PRIu64,
                  state->step, state->samples, state->tokens);
    lt_buf_printf(out, ", \"adam_t\": %" PRIu64 ", \"skipped_steps\": %u", now.adam_t,
                  now.n_skipped);
    lt_buf_printf(out,
                  ", \"loss_scale\": %.9g, \"hysteresis_left\": %u, \"scale_step\": %" PRId64
                  ", \"last_overflow\": %" PRId64 "}\n",
                  (double)now.loss_scale, now.hysteresis_left, now.scale_step, now.last_overflow);
fail:
    return err;
}

static lt_buf *next_blob(save_blobs *b, const char *name)
{
    LT_BUG_ON(b->n == MOST_BLOBS);
    b->list[b->n].name = name;
    return &b->text[b->n++];
}

static void release_blobs(save_blobs *b)
{
    for (size_t i = 0; i < MOST_BLOBS; i++)
        lt_buf_release(&b->text[i]);
    *b = (save_blobs){ 0 };
}

static lt_err make_blobs(lt_saver *v)
{
    const lt_setup *s = v->s;
    lt_dev *dev = lt_engine_device(v->e);
    save_blobs *b = &v->blobs;
    lt_err err;

    release_blobs(b);
    lt_model_config_to_hf(next_blob(b, "config.json"), &s->config->model.dims, "float32");
    lt_generation_config_to_hf(next_blob(b, "generation_config.json"), &s->config->model.dims);
    lt_config_digest_text(s->config, next_blob(b, "config.yaml"));
    LT_TRY(err = format_state(next_blob(b, "state.json"), v->e, s, &v->state));
    if (s->tokenizer)
        lt_buf_append(next_blob(b, "tokenizer.json"), s->tokenizer_json.data,
                      s->tokenizer_json.size);
    if (dev->backend->tuning_save)
        dev->backend->tuning_save(dev, next_blob(b, LT_SNAPSHOT_TUNING));
    if (b->text[b->n - 1].size == 0) /* nothing was tuned */
        b->n--;
    for (size_t i = 0; i < b->n; i++) {
        b->list[i].data = b->text[i].data;
        b->list[i].size = b->text[i].size;
    }
fail:
    return err;
}

/* ---- life */

/* Older steps go in the background; that one of them could not be removed loses nothing. */
static void end_retiring(lt_saver *v)
{
    if (v->retiring && lt_ckpt_writer_join(v->writer, NULL) != LT_OK)
        lt_log_warn("%s", lt_err_text());
    v->retiring = false;
}

uint64_t lt_saver_bytes(uint64_t owned)
{
    return owned * LT_SNAPSHOT_GROUPS * sizeof(float);
}

typedef struct touch_task {
    lt_task task;
    char *memory;
    uint64_t bytes;
} touch_task;

enum { TOUCH_BYTES = 4 << 20 };

static void touch(lt_task *task, int64_t index, int worker)
{
    const touch_task *t = (const touch_task *)task;
    uint64_t first = (uint64_t)index * TOUCH_BYTES, left = t->bytes - first;

    (void)worker;
    memset(t->memory + first, 0, left < TOUCH_BYTES ? left : TOUCH_BYTES);
}

/* Plain memory is promised long before it is touched: better refused here than killed at a save. */
static lt_err take_memory(lt_saver *v)
{
    uint64_t bytes = lt_saver_bytes(lt_engine_bytes_used(v->e).owned);
    uint64_t there = lt_memory_available();
    void *memory = NULL;
    lt_pool *pool = lt_engine_device(v->e)->pool;

    if ((there && bytes > there) ||
        lt_dev_alloc(lt_engine_device(v->e), LT_MEMORY_PINNED, bytes, &memory) != LT_OK)
        return lt_fail(LT_ENOMEM,
                       "checkpoint.async: a snapshot takes %" PRIu64
                       " bytes of host memory, %" PRIu64
                       " are available; checkpoint.async=false saves without one, while training "
                       "waits",
                       bytes, there);
    v->memory = memory;
    /* Pages that the first save would have to wait for: 4 s for 1.5 GB on a virtual machine.  What
     * a GPU is to reach has been touched by then. */
    if (pool)
        lt_pool_run(pool, &(touch_task){ { touch }, memory, bytes }.task,
                    (int64_t)((bytes + TOUCH_BYTES - 1) / TOUCH_BYTES));
    return LT_OK;
}

static void list_slices(lt_saver *v)
{
    const lt_param_table *table = lt_engine_table(v->e);
    lt_ckpt_slice *s = v->slices;
    const float *at = v->memory;

    for (int g = 0; g < LT_SNAPSHOT_GROUPS; g++)
        for (int i = 0; i < v->n_pieces; i++) {
            const lt_zero_piece *p = &v->pieces[i];

            *s++ = (lt_ckpt_slice){ .group = lt_snapshot_groups[g].group,
                                    .name = table->params[p->param].name,
                                    .dtype = LT_F32,
                                    .first = (uint64_t)p->first,
                                    .count = (uint64_t)p->count,
                                    .data = at };
            at += at ? p->count : 0;
        }
}

/* A block of a slice, from wherever the store has it. */
static lt_err pull(lt_ckpt_source *source, const lt_ckpt_slice *slice, uint64_t first,
                   uint64_t count, void *dst)
{
    lt_saver *v = (lt_saver *)source;
    int i = (int)(slice - v->slices);
    lt_zero_piece part = v->pieces[i % v->n_pieces];

    part.first += (int64_t)first;
    part.owned += (int64_t)first;
    part.count = (int64_t)count;
    return lt_zero_read(lt_engine_store(v->e), lt_snapshot_groups[i / v->n_pieces].which, &part,
                        dst);
}

lt_err lt_saver_open(lt_saver **out, lt_engine *e, const lt_setup *s, bool async)
{
    const lt_param_table *table = lt_engine_table(e);
    lt_saver *v = lt_new0(sizeof *v);
    lt_err err = LT_OK;

    *v = (lt_saver){
        .source = { pull }, .e = e, .s = s, .group = lt_engine_group(e), .async = async
    };
    v->pieces = lt_zero_plan_pieces(lt_engine_zero_plan(e), table, &v->n_pieces);
    v->tensors = lt_snapshot_tensors(table);
    v->slices = lt_new_array0((size_t)v->n_pieces * LT_SNAPSHOT_GROUPS + 1, sizeof *v->slices);
    if (async)
        LT_TRY(err = take_memory(v));
    list_slices(v);
    LT_TRY(err = lt_ckpt_writer_open(&v->writer));
    *out = v;
    return LT_OK;
fail:
    lt_saver_close(v);
    return err;
}

void lt_saver_close(lt_saver *v)
{
    if (!v)
        return;
    end_retiring(v);
    lt_ckpt_writer_close(v->writer);
    if (v->active && v->group->rank == 0)
        lt_ckpt_discard(v->tmp);
    lt_dev_free(lt_engine_device(v->e), LT_MEMORY_PINNED, v->memory);
    release_blobs(&v->blobs);
    free(v->tmp);
    free(v->pieces);
    free(v->tensors);
    free(v->slices);
    free(v);
}

/* ---- a save */

static lt_err snapshot(lt_saver *v)
{
    lt_zero_store *store = lt_engine_store(v->e);
    float *at = v->memory;
    lt_err err = LT_OK;

    for (int g = 0; g < LT_SNAPSHOT_GROUPS; g++)
        for (int i = 0; i < v->n_pieces; i++) {
            LT_TRY(err = lt_zero_read(store, lt_snapshot_groups[g].which, &v->pieces[i], at));
            at += v->pieces[i].count;
        }
fail:
    return err;
}

/* Rank 0 makes the folder; its path is all that others need. */
static lt_err begin(lt_saver *v)
{
    lt_err err = LT_OK;

    free(v->tmp);
    v->tmp = NULL;
    if (v->group->rank == 0)
        err = lt_ckpt_begin(v->s->config->checkpoint.dir, v->state.step, &v->tmp);
    LT_TRY(err = lt_ranks_agree(v->group, err));
    err = lt_ranks_share_path(v->group, &v->tmp);
fail:
    return err;
}

static lt_err start_own(lt_saver *v)
{
    lt_err err;

    LT_TRY(err = lt_zero_sync(lt_engine_store(v->e)));
    if (v->async)
        LT_TRY(err = snapshot(v));
    LT_TRY(err = make_blobs(v));
    v->rq = (lt_ckpt_save_request){ .step = { v->state.step, v->state.samples, v->state.tokens,
                                              v->state.run_id },
                                    .tensors = v->tensors,
                                    .n_tensors = (size_t)lt_engine_table(v->e)->n_params,
                                    .slices = v->slices,
                                    .n_slices = (size_t)v->n_pieces * LT_SNAPSHOT_GROUPS,
                                    .blobs = v->blobs.list,
                                    .n_blobs = v->blobs.n,
                                    .rank = (uint32_t)v->group->rank,
                                    .world = (uint32_t)v->group->world,
                                    .source = v->async ? NULL : &v->source };
fail:
    return err;
}

/* Rank 0: MANIFEST and rename, then older steps may go. */
static lt_err commit(lt_saver *v, lt_buf *parts)
{
    const lt_config_checkpoint *c = &v->s->config->checkpoint;
    const char **texts = lt_new_array0((size_t)v->group->world, sizeof *texts);
    bool published = false;
    lt_err err;

    for (int r = 0; r < v->group->world; r++)
        texts[r] = lt_buf_cstr(&parts[r]);
    err = lt_ckpt_commit(v->tmp, &v->rq, texts, (size_t)v->group->world, &published);
    free(texts);
    if (err != LT_OK) {
        if (!published)
            lt_ckpt_discard(v->tmp);
        return err;
    }
    lt_log_info("saved %s/step-%08" PRIu64 " in %.2f s; training stood still for %.2f s", c->dir,
                v->state.step, lt_now() - v->started, v->stalled);
    lt_ckpt_writer_start_retire(v->writer, c->dir, (int)c->keep_last);
    v->retiring = true;
    return LT_OK;
}

/* This rank has written its part, or `err` says why not; training stands still since `since`. */
static lt_err end_save(lt_saver *v, lt_err err, lt_buf *part, double since)
{
    lt_buf *parts = lt_new_array0((size_t)v->group->world, sizeof *parts);

    v->active = false;
    err = lt_ranks_agree(v->group, err);
    v->stalled += lt_now() - since;
    if (err != LT_OK) {
        if (v->group->rank == 0)
            lt_ckpt_discard(v->tmp);
        goto fail;
    }
    LT_TRY(err = lt_group_gather(v->group, part, parts));
    if (v->group->rank == 0)
        err = commit(v, parts);
    err = lt_ranks_agree(v->group, err);
fail:
    for (int r = 0; r < v->group->world; r++)
        lt_buf_release(&parts[r]);
    free(parts);
    return err;
}

/* Not async: this thread writes, for the device and the tiers belong to it. */
lt_err lt_saver_start(lt_saver *v, const lt_run_state *state)
{
    lt_buf part = { 0 };
    lt_err err;

    LT_TRY(err = lt_saver_finish(v));
    end_retiring(v);
    v->started = lt_now();
    v->stalled = 0;
    v->state = *state;
    LT_TRY(err = begin(v));
    v->active = true;
    err = start_own(v);
    if (!v->async) {
        if (err == LT_OK)
            err = lt_ckpt_write(v->tmp, &v->rq, &part);
        err = end_save(v, err, &part, v->started);
        goto fail;
    }
    err = lt_ranks_agree(v->group, err);
    v->stalled = lt_now() - v->started;
    if (err != LT_OK) {
        if (v->group->rank == 0)
            lt_ckpt_discard(v->tmp);
        v->active = false;
        goto fail;
    }
    lt_ckpt_writer_start(v->writer, v->tmp, &v->rq);
fail:
    lt_buf_release(&part);
    return err;
}

bool lt_saver_written(lt_saver *v)
{
    return v->active && !lt_ckpt_writer_busy(v->writer);
}

lt_err lt_saver_look(lt_saver *v, bool all_written)
{
    return v->active && all_written ? lt_saver_finish(v) : LT_OK;
}

lt_err lt_saver_finish(lt_saver *v)
{
    double start = lt_now();
    lt_buf part = { 0 };
    lt_err err = LT_OK;

    if (v->active) {
        err = lt_ckpt_writer_join(v->writer, &part);
        err = end_save(v, err, &part, start);
    }
    lt_buf_release(&part);
    return err;
}
