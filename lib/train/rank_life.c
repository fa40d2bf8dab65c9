/* train/rank_life.c - from a process to a rank and back. */
#include "train/rank_life.h"

#include "base/log.h"
#include "comm/stop_signal.h"
#include "train/loop.h"
#include "train/ranks.h"

#include <stdio.h>
#include <unistd.h>

void lt_rank_log_init(const char *program)
{
    lt_log_init(program, LT_LOG_INFO);
    if (!lt_rank_is_first())
        lt_log_defer();
}

bool lt_rank_begin(lt_watch **watch, int *status)
{
    int rank = 0, world = 1;

    *watch = NULL;
    *status = 0;
    if (lt_group_peek(&rank, &world) == LT_LAUNCH_NONE || world == 1)
        return true;
    if (lt_supervise_start(watch, rank, status) != LT_OK) {
        *status = lt_log_exit(LT_EIO);
        return false;
    }
    return *watch != NULL;
}

bool lt_rank_is_first(void)
{
    int rank = 0, world = 1;

    lt_group_peek(&rank, &world);
    return rank == 0;
}

/* The address of the hub goes round, then every supervisor joins it. */
static lt_err join_watch(lt_watch *w, lt_group *g, double hang_timeout)
{
    lt_watch_rank me = { .rank = g->rank, .world = g->world, .local_rank = g->local_rank };
    lt_buf address = { 0 };
    lt_err err = LT_OK;

    if (!w)
        return LT_OK;
    snprintf(me.host, sizeof me.host, "%s", g->host);
    if (g->rank == 0)
        err = lt_watch_open_hub(w, g->world, &address);
    LT_TRY(err = lt_ranks_agree(g, err));
    LT_TRY(err = lt_group_broadcast(g, &address, 0));
    err = lt_ranks_agree(g, lt_watch_join(w, &me, lt_buf_cstr(&address), hang_timeout));
fail:
    lt_buf_release(&address);
    return err;
}

/* What is wrong with the start as such is wrong for every rank: the first tells, and the others
 * give it time, since a launcher ends all with the first that ends. */
lt_err lt_rank_join(lt_group **out, const char *program)
{
    lt_err err = lt_group_open(out);

    if (err == LT_OK) {
        lt_ranks_talk(*out, program);
    } else if ((err == LT_EUSAGE || err == LT_ENOTSUP) && !lt_rank_is_first()) {
        lt_log_init(program, LT_LOG_QUIET);
        sleep(1);
    }
    return err;
}

/* The others do not know, and end with this process.  Collectives mostly fail because another rank
 * is gone: then the watch is about to say so, and to end this one. */
static void fail_alone(lt_group *group, const lt_watch *watch, lt_err err)
{
    lt_group_abandon(group);
    if (watch && err == LT_EFAULT)
        sleep(2);
}

lt_err lt_rank_train(lt_err so_far, lt_config *config, lt_watch *watch)
{
    lt_group *group = NULL;
    lt_err_record why = { LT_OK, "" };
    lt_buf text = { 0 };
    bool together;
    lt_err err;

    if (so_far != LT_OK && !watch)
        return so_far;
    lt_stop_catch(); /* SLURM's USR1 may come at once: the job is then requeued, not failed */
    lt_err_take(&why);
    if (so_far == LT_OK)
        lt_watch_meet(watch, config->training.hang_timeout);
    LT_TRY(err = lt_rank_join(&group, "lt-train"));
    LT_TRY(err = lt_ranks_agree(group, so_far == LT_OK ? LT_OK : lt_err_give(&why)));
    lt_config_digest_text(config, &text);
    LT_TRY(err = lt_ranks_same_config(group, &text));
    LT_TRY(err = join_watch(watch, group, config->training.hang_timeout));
    group->watch = watch;
    err = lt_train(config, group, watch);
fail:
    lt_buf_release(&text);
    together = !group || lt_ranks_last_word(group, err);
    lt_err_take(&why);
    if (together && watch)
        lt_watch_leave(watch);
    else if (!together)
        fail_alone(group, watch, why.code);
    lt_group_close(group);
    lt_watch_close(watch);
    return err == LT_OK ? LT_OK : lt_err_give(&why);
}
