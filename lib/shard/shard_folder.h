/* shard/shard_folder.h - a folder whose data set is replaced whole or not at all.
 *
 * A run writes everything into DIR/lt-shard.unfinished/.  One rename of that folder to
 * DIR/lt-shard.commit/ is the commit.  Then the files move into DIR one by one, train.manifest
 * last, and the empty folder goes.  Readers look into DIR/lt-shard.commit/ first and into DIR
 * second (lt_shard_folder_resolve), so whenever a kill falls they see the old set or the new one,
 * never a mixture; the next run finishes a half-done move (_open).  A split of the old set that the
 * new one lacks is an empty NAME.manifest in the commit folder until its files are gone.
 * A lock on DIR keeps two runs apart. */
#ifndef LT_SHARD_SHARD_FOLDER_H
#define LT_SHARD_SHARD_FOLDER_H

#include "base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_shard_folder lt_shard_folder;

/* Makes DIR, locks it, finishes what a killed run had committed, throws away what one had not, and
 * opens an empty unfinished folder.  A data set in DIR is LT_EUSAGE unless `force`. */
LT_MUST_USE lt_err lt_shard_folder_open(lt_shard_folder **out, const char *dir, bool force);
const char *lt_shard_folder_unfinished(const lt_shard_folder *f); /* write here, final names */

/* Commits and frees f, also on failure.  Every file in the unfinished folder must be synced. */
LT_MUST_USE lt_err lt_shard_folder_commit(lt_shard_folder *f);
void lt_shard_folder_abort(lt_shard_folder *f); /* removes the unfinished folder; NULL is fine */

/* Where the file named by `path` is right now: in the commit folder beside it, or there.
 * free(). */
char *lt_shard_folder_resolve(const char *path);

#ifdef __cplusplus
}
#endif
#endif
