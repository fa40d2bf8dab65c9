/* train/rank_life.h - this process as a rank: watched, joined to others, trained, left in order. */
#ifndef LT_TRAIN_RANK_LIFE_H
#define LT_TRAIN_RANK_LIFE_H

#include "comm/group.h"
#include "comm/supervise.h"
#include "config/config.h"

/* lt_log_init, main's first call: what is the same for all ranks is left to the first of them. */
void lt_rank_log_init(const char *program);

/* Next in main, before any thread: one of several ranks gets a supervisor.  True in the process
 * that is to go on, with its watch (NULL: alone, nobody watches); false in the supervisor when all
 * is over, with the exit status of the rank. */
bool lt_rank_begin(lt_watch **watch, int *status);

/* Is this rank 0, or no rank at all?  What needs no other rank is for the first to say and do. */
bool lt_rank_is_first(void);

/* Joins the job of the environment; `program` leads what this rank says.  Ranks but the first keep
 * quiet from here on, errors apart. */
LT_MUST_USE lt_err lt_rank_join(lt_group **out, const char *program);

/* lt_train as the rank that this process is, in the company that the launcher gave it.  so_far: how
 * reading the command ended, LT_OK with a config; the ranks agree on that first. */
LT_MUST_USE lt_err lt_rank_train(lt_err so_far, lt_config *config, lt_watch *watch);

#endif
