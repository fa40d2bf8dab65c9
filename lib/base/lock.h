/* base/lock.h - one job at a time: a lock file that says who holds it.
 *
 * The kernel drops the lock with the process, so a dead job blocks nobody.  The file stays when the
 * lock is dropped, since removing it would race with whoever waits for it. */
#ifndef LT_BASE_LOCK_H
#define LT_BASE_LOCK_H

#include "base/err.h"

typedef struct lt_lock lt_lock;

/* Takes DIR/NAME, making both.  When another has it: LT_EIO, "DIR: another job WORK here: " and
 * host, pid and start of the holder, so `work` reads like "writes checkpoints". */
LT_MUST_USE lt_err lt_lock_take(lt_lock **out, const char *dir, const char *name, const char *work);
void lt_lock_drop(lt_lock *lock); /* NULL is fine */

#endif
