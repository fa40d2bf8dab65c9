/* comm/process.h - other processes of this host, as /proc has them; private to the watch. */
#ifndef LT_COMM_PROCESS_H
#define LT_COMM_PROCESS_H

#include <sys/types.h>

/* The letter of /proc/PID/stat: T is stopped, D waits for a device; '?': there is no process. */
char lt_process_state(pid_t pid);

/* Kills the launcher and what else it has started, if it is mpirun or its daemon. */
void lt_process_end_mpirun(pid_t launcher);

#endif
