/* base/cpus.h - sets of CPUs: the kernel's lists ("0-3,8"), what this process may use,
 * shares of it.
 *
 * CPUs from LT_CPUS_MOST on are left out, as sched_getaffinity leaves them out
 * of a set this size. */
#ifndef LT_BASE_CPUS_H
#define LT_BASE_CPUS_H

#include "base/mem.h"

enum { LT_CPUS_MOST = 1024 };

typedef struct lt_cpus {
    uint64_t bits[LT_CPUS_MOST / 64]; /* CPU i is bit i % 64 of word i / 64 */
} lt_cpus;                            /* {0} is empty */

/* A list as in /sys and /proc/self/status; white space at the end is fine, none at all is the empty
 * set.  LT_EFORMAT without a place: the caller knows the file. */
LT_MUST_USE lt_err lt_cpus_parse(lt_cpus *out, const char *text);
void lt_cpus_format(lt_buf *out, const lt_cpus *s); /* "0-3,8"; "none" */

int lt_cpus_count(const lt_cpus *s);
bool lt_cpus_equal(const lt_cpus *a, const lt_cpus *b);
lt_cpus lt_cpus_and(const lt_cpus *a, const lt_cpus *b);
/* Part i of n even ones, CPUs in order; all of s when it has fewer than n. */
lt_cpus lt_cpus_part(const lt_cpus *s, int i, int n);

lt_cpus lt_cpus_allowed(void); /* by affinity; empty if nobody can tell */
/* This thread and those it starts from now on.  A refusal by the system changes nothing: false. */
bool lt_cpus_bind(const lt_cpus *s);

#endif
