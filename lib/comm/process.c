/* process.c - reading /proc. */
#include "comm/process.h"

#include "base/mem.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* /proc/PID/stat: "PID (NAME) STATE ..."; empty when there is no such process. */
static void read_stat(pid_t pid, char *text, size_t bytes)
{
    char path[64];
    FILE *f;
    size_t n;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    f = fopen(path, "re");
    n = f ? fread(text, 1, bytes - 1, f) : 0;
    text[n] = '\0';
    if (f)
        fclose(f);
}

char lt_process_state(pid_t pid)
{
    char text[512], *p;

    read_stat(pid, text, sizeof text);
    p = strrchr(text, ')'); /* the name may hold anything */
    return p && p[1] == ' ' && p[2] ? p[2] : '?';
}

/* The ssh that holds a daemon's end does not notice either.  Our own supervisors are past heeding
 * SIGTERM. */
static void end_agents(pid_t launcher)
{
    char path[64];
    FILE *f;
    int pid;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)launcher, (int)launcher);
    f = fopen(path, "re");
    while (f && fscanf(f, "%d", &pid) == 1)
        kill(pid, SIGTERM);
    if (f)
        fclose(f);
}

void lt_process_end_mpirun(pid_t launcher)
{
    static const char *const names[] = { "(mpirun", "(mpiexec", "(orterun", "(orted" };
    char text[512], *name;

    read_stat(launcher, text, sizeof text);
    name = strchr(text, '(');
    for (size_t i = 0; name && i < LT_COUNT(names); i++)
        if (strncmp(name, names[i], strlen(names[i])) == 0) {
            end_agents(launcher);
            kill(launcher, SIGKILL);
            return;
        }
}
