/* train/ranks.h - many ranks, one voice: what they agree on, and who says it. */
#ifndef LT_TRAIN_RANKS_H
#define LT_TRAIN_RANKS_H

#include "comm/group.h"

/* Ranks but the first keep quiet from here on, errors apart, which they lead with their number. */
void lt_ranks_talk(const lt_group *g, const char *program);

/* CPU threads of one of local_world ranks that share a host: as asked for, else its share of the
 * processors; 0: all of them. */
int lt_ranks_threads(int local_world, int64_t asked);

/* lt_group_agree, remembered for the last word. */
LT_MUST_USE lt_err lt_ranks_agree(lt_group *g, lt_err mine);
/* All ranks go on after an agreed failure: from here on it excuses none of them. */
void lt_ranks_go_on(void);
/* Do all ranks end with err alike: in success, stopped, or by an agreed failure? */
bool lt_ranks_together(const lt_group *g, lt_err err);
/* The same, asked before a run ends; if so rank 0 says the sentence here, while all are there: the
 * launcher ends it with the first of the others that ends. */
bool lt_ranks_last_word(const lt_group *g, lt_err err);

/* The sum over all ranks of each of n values, in rank order, in place. */
LT_MUST_USE lt_err lt_ranks_sum(lt_group *g, double *values, int n);

/* LT_EUSAGE on every rank, with the rank and the line, unless all have the same program and the
 * same configuration (text as lt_config_digest_text); what names a place or CPUs of a host may
 * differ. */
LT_MUST_USE lt_err lt_ranks_same_config(lt_group *g, const lt_buf *text);

/* Rank 0's path on every rank: *path is replaced (free it); NULL stays NULL. */
LT_MUST_USE lt_err lt_ranks_share_path(lt_group *g, char **path);

#endif
