/* shard/shard_guard.h - a mapped shard that shrinks ends the program with a sentence.
 *
 * Touching a mapped page behind the end of a file that was cut after it was opened raises SIGBUS.
 * The guard knows the mapped ranges and turns that signal into "shard X truncated while in use" on
 * stderr and exit status 65.  A SIGBUS elsewhere goes to whoever handled it before. */
#ifndef LT_SHARD_SHARD_GUARD_H
#define LT_SHARD_SHARD_GUARD_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Guards [base, base + bytes), a mapping of `path` (copied).  The first call installs the handler
 * for the life of the process.  Safe from any thread. */
typedef struct lt_shard_guard lt_shard_guard;
lt_shard_guard *lt_shard_guard_add(const void *base, size_t bytes, const char *path);
void lt_shard_guard_remove(lt_shard_guard *g); /* before munmap; NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
