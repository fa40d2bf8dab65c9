/* base/temporary.h - the name beside an output under which it grows,
 * and what killed processes leave.
 *
 * An output NAME is written as NAME.tmp.PID and renamed.  Where one takes long, the next process
 * that writes NAME removes what a killed one left, but only when all of this holds:
 *   - its name is exactly that, and it is a plain file, or a folder that the caller knows as its
 *     kind;
 *   - this host has no process of that number;
 *   - nobody holds the lock (flock) that such a writer keeps as long as it has it open, for the
 *     number tells nothing about containers and other hosts.
 * Where nobody can lock, nothing is removed.  lt-shard has a folder protocol of its own,
 * checkpoints too. */
#ifndef LT_BASE_TEMPORARY_H
#define LT_BASE_TEMPORARY_H

#include "base/err.h"

char *lt_temporary_name(const char *target); /* of this process; free() it */
void lt_temporary_hold(int fd);              /* the lock of a file or folder just made */

/* Removes what dead writers of `target` left, and tells.  is_ours: may a folder go?  NULL: none. */
void lt_temporary_sweep(const char *target, bool (*is_ours)(const char *folder));

#endif
