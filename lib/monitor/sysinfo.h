/* monitor/sysinfo.h - the machine under a run, for the run's header line and for benchmark records.
 *
 * Read from uname, sysconf and /proc; what a system does not tell is "unknown" or 0. */
#ifndef LT_MONITOR_SYSINFO_H
#define LT_MONITOR_SYSINFO_H

#include <stdint.h>

#include "base/mem.h"

typedef struct lt_sysinfo {
    char host[256];
    char system[160];    /* "Linux 6.1.0 x86_64" */
    char cpu_model[128]; /* as in /proc/cpuinfo */
    int n_cores;         /* logical CPUs online */
    int n_usable;        /* of these, the ones this process may run on */
    uint64_t ram_bytes;
} lt_sysinfo;

void lt_sysinfo_read(lt_sysinfo *out);
void lt_sysinfo_format(lt_buf *out, const lt_sysinfo *s); /* one line, no newline */

#endif
