/* base/host_memory.c - how much memory this process can still get.
 *
 * The kernel's estimate for the machine, or less where a control group, as SLURM and containers
 * set them, leaves less: of each group on the way from this process's to the root, the limit minus
 * what is in use, page cache not counted.  Both versions of control groups; what cannot be read
 * (inside a container the groups above its own) sets no limit. */
#include "base/file.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct cgroup_names {
    const char *folder, *limit, *use, *inactive, *active; /* the last two: lines of memory.stat */
} cgroup_names;

static const cgroup_names v2 = { "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file ",
                                 "active_file " };
static const cgroup_names v1 = { "/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                 "memory.usage_in_bytes", "total_inactive_file ",
                                 "total_active_file " };

/* The number after `word`, which begins a line of the file; "" is the first line.  False when there
 * is none, as in "max". */
static bool read_number(uint64_t *out, const char *path, const char *word)
{
    FILE *f = fopen(path, "re");
    bool found = false;
    char line[256];

    if (!f)
        return false;
    while (!found && fgets(line, sizeof line, f))
        found = strncmp(line, word, strlen(word)) == 0 &&
                sscanf(line + strlen(word), "%" SCNu64, out) == 1;
    fclose(f);
    return found;
}

static bool read_in(uint64_t *out, const char *folder, const char *name, const char *word)
{
    char *path = lt_path_join(folder, name);
    bool found = read_number(out, path, word);

    free(path);
    return found;
}

/* What the group of this folder leaves; UINT64_MAX: it sets no limit. */
static uint64_t left_in(const char *folder, const cgroup_names *names)
{
    uint64_t limit, used, inactive = 0, active = 0;

    if (!read_in(&limit, folder, names->limit, "") || !read_in(&used, folder, names->use, ""))
        return UINT64_MAX;
    (void)read_in(&inactive, folder, "memory.stat", names->inactive);
    (void)read_in(&active, folder, "memory.stat", names->active);
    used -= used < inactive + active ? used : inactive + active;
    return limit > used ? limit - used : 1; /* 0 would say that nobody can tell */
}

/* The least that a group from `group` ("/slurm/job_7") up to the root leaves. */
static uint64_t left_up_from(const char *root, const char *group, const cgroup_names *names)
{
    char *folder = lt_asprintf("%s%s%s", root, names->folder, group);
    size_t n_root = strlen(root) + strlen(names->folder);
    uint64_t least = UINT64_MAX;

    for (;;) {
        uint64_t left = left_in(folder, names);
        char *slash = strrchr(folder + n_root, '/');

        least = left < least ? left : least;
        if (!slash)
            break;
        *slash = '\0';
    }
    free(folder);
    return least;
}

/* Lines of /proc/self/cgroup: "0::/group" of version 2, "4:cpu,memory:/group" of version 1. */
static uint64_t left_by_cgroups(const char *root)
{
    char *path = lt_asprintf("%s/proc/self/cgroup", root), line[4096];
    FILE *f = fopen(path, "re");
    uint64_t least = UINT64_MAX;

    free(path);
    while (f && fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        uint64_t left = UINT64_MAX;

        if (!group || group[1] != '/')
            continue;
        *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        if (!controllers[1])
            left = left_up_from(root, group, &v2);
        else if (strstr(controllers, "memory"))
            left = left_up_from(root, group, &v1);
        least = left < least ? left : least;
    }
    if (f)
        fclose(f);
    return least;
}

uint64_t lt_memory_available_below(const char *root)
{
    char *path = lt_asprintf("%s/proc/meminfo", root);
    uint64_t left = left_by_cgroups(root), kib;

    if (read_number(&kib, path, "MemAvailable:") && kib < left / 1024)
        left = kib * 1024;
    free(path);
    return left == UINT64_MAX ? 0 : left;
}

uint64_t lt_memory_available(void)
{
    return lt_memory_available_below("");
}
