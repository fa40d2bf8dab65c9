/* train/resume.c - choosing a checkpoint, and falling back from a damaged one. */
#include "train/resume.h"

#include "base/file.h"
#include "base/log.h"
#include "ckpt/checkpoint_dir.h"
#include "train/ranks.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool holds_steps(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    bool found = false;

    while (d && !found && (e = readdir(d)) != NULL)
        found = strncmp(e->d_name, "step-", 5) == 0;
    if (d)
        closedir(d);
    return found;
}

/* The newest whole step; *path stays NULL when there never was one. */
static lt_err find_newest(const char *dir, char **path)
{
    lt_err err = lt_ckpt_find(dir, path);

    if (err == LT_ENOENT && holds_steps(dir))
        return lt_fail(LT_EFORMAT, "%s; --resume never and another checkpoint.dir start over",
                       lt_err_text());
    return err == LT_ENOENT ? LT_OK : err;
}

static char *aside_of(const char *path)
{
    const char *base = lt_path_base(path);

    return lt_asprintf("%.*sdamaged.%s", (int)(base - path), path, base);
}

/* `path` is damaged, which the record of this thread tells; *older is the step before it.  Out of
 * the way, because as the newest step it would outlive better ones when old steps are retired. */
static lt_err fall_back(const char *dir, const char *path, char **older)
{
    char *aside = aside_of(path);
    lt_err_record damage;
    lt_err err;

    lt_err_take(&damage);
    err = lt_remove_tree(aside);
    if (err == LT_OK)
        err = lt_rename_sync(path, aside);
    if (err != LT_OK) {
        lt_log_warn("%s", damage.text);
        goto fail;
    }
    if (lt_ckpt_find(dir, older) != LT_OK) {
        LT_TRY(err = lt_rename_sync(aside, path)); /* or the next start would find nothing */
        lt_err_give(&damage);
        err = lt_fail_in("no older checkpoint to fall back to");
        goto fail;
    }
    lt_log_warn("%s", damage.text);
    lt_log_warn("%s is damaged: set aside as %s, falling back to %s", path, lt_path_base(aside),
                *older);
fail:
    free(aside);
    return err;
}

/* Rank 0 looks into the directory, and all go by what it finds. */
static lt_err share(lt_group *g, lt_err err, char **path)
{
    LT_TRY(err = lt_ranks_agree(g, err));
    err = lt_ranks_share_path(g, path);
fail:
    return err;
}

static lt_err resume_newest(lt_engine *e, const lt_setup *s, lt_run_state *state, char **path)
{
    const char *dir = s->config->checkpoint.dir;
    lt_group *g = lt_engine_group(e);
    lt_err err = LT_OK;

    if (g->rank == 0)
        err = find_newest(dir, path);
    LT_TRY(err = share(g, err, path));
    while (*path && (err = lt_snapshot_load(e, s, state, *path)) == LT_EFORMAT) {
        char *older = NULL;

        err = g->rank == 0 ? fall_back(dir, *path, &older) : LT_OK;
        err = share(g, err, &older);
        free(*path);
        *path = older;
        if (err != LT_OK)
            break;
    }
fail:
    return err;
}

/* The run begins at `step`; checkpoint.dir must not hold a later one. */
static lt_err check_newest(const char *dir, uint64_t step)
{
    char *newest = NULL;
    lt_err err = lt_ckpt_find(dir, &newest);

    if (err != LT_OK)
        return err == LT_ENOENT ? LT_OK : err;
    if (strtoull(lt_path_base(newest) + strlen("step-"), NULL, 10) > step)
        err = lt_fail(LT_EUSAGE,
                      "checkpoint.dir: %s is there, but this run begins after step %" PRIu64
                      "; move it away or name another directory",
                      newest, step);
    free(newest);
    return err;
}

static lt_err resume_named(lt_engine *e, const lt_setup *s, lt_run_state *state, char **path)
{
    lt_group *g = lt_engine_group(e);
    bool chosen;
    lt_err err = LT_OK;

    if (g->rank == 0)
        err = lt_ckpt_resolve(s->config->checkpoint.resume, path, &chosen);
    LT_TRY(err = share(g, err, path));
    err = lt_snapshot_load(e, s, state, *path);
fail:
    return err;
}

/* A new run has one name. */
static lt_err share_run_id(lt_group *g, lt_run_state *state)
{
    lt_buf id = { 0 };
    lt_err err;

    lt_buf_printf(&id, "%s", state->run_id);
    LT_TRY(err = lt_group_broadcast(g, &id, 0));
    snprintf(state->run_id, sizeof state->run_id, "%s", lt_buf_cstr(&id));
fail:
    lt_buf_release(&id);
    return err;
}

lt_err lt_resume(lt_engine *e, const lt_setup *s, lt_run_state *state, char **path)
{
    const lt_config_checkpoint *c = &s->config->checkpoint;
    lt_group *g = lt_engine_group(e);
    lt_err err;

    *path = NULL;
    lt_run_state_new(state);
    LT_TRY(err = share_run_id(g, state));
    if (strcmp(c->resume, "auto") == 0) {
        LT_TRY(err = resume_newest(e, s, state, path));
        return LT_OK;
    }
    if (strcmp(c->resume, "never") != 0)
        LT_TRY(err = resume_named(e, s, state, path));
    LT_TRY(err = lt_ranks_agree(g, g->rank == 0 ? check_newest(c->dir, state->step) : LT_OK));
    return LT_OK;
fail:
    free(*path);
    *path = NULL;
    return err;
}
