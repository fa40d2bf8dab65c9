/* sysinfo.c - what uname, sysconf and /proc say about the machine. */
#include "monitor/sysinfo.h"
#include "base/thread.h"
#include "monitor/units.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The value after "key<blanks>:" in a /proc file of such lines, without its newline. */
static void read_proc_value(char *out, size_t n, const char *path, const char *key)
{
    char line[512];
    FILE *f = fopen(path, "re");

    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        size_t key_bytes = strlen(key);

        if (!colon || strncmp(line, key, key_bytes) != 0 || !strchr(" \t:", line[key_bytes]))
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(out, n, "%.*s", (int)strcspn(colon, "\n"), colon);
        break;
    }
    fclose(f);
}

void lt_sysinfo_read(lt_sysinfo *out)
{
    struct utsname u;
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    *out = (lt_sysinfo){ .host = "unknown", .system = "unknown", .cpu_model = "unknown" };
    if (uname(&u) == 0) {
        snprintf(out->host, sizeof out->host, "%s", u.nodename);
        snprintf(out->system, sizeof out->system, "%.48s %.64s %.40s", u.sysname, u.release,
                 u.machine);
    }
    read_proc_value(out->cpu_model, sizeof out->cpu_model, "/proc/cpuinfo", "model name");
    out->n_cores = cores > 0 ? (int)cores : 1;
    out->n_usable = lt_cpu_count();
    if (pages > 0 && page_bytes > 0)
        out->ram_bytes = (uint64_t)pages * (uint64_t)page_bytes;
}

void lt_sysinfo_format(lt_buf *out, const lt_sysinfo *s)
{
    char ram[LT_UNIT_TEXT_BYTES];

    lt_buf_printf(out, "%s: %s, %d of %d CPUs, %s RAM, %s", s->host, s->cpu_model, s->n_usable,
                  s->n_cores, lt_unit_bytes(ram, s->ram_bytes), s->system);
}
