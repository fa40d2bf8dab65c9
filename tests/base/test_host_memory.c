/* test_host_memory.c - available memory of made-up machines: folders with their /proc and /sys. */
#include "base/file.h"
#include "base/mem.h"
#include "lt_test.h"

#include <stdlib.h>
#include <string.h>

static void put(const char *root, const char *file, const char *text)
{
    char *path = lt_path_join(root, file), *dir = lt_strdup(path);

    *strrchr(dir, '/') = '\0';
    LT_CHECK_OK(lt_mkdirs(dir));
    LT_CHECK_OK(lt_file_write_atomic(path, text, strlen(text)));
    free(path);
    free(dir);
}

static void put_machine(const char *root)
{
    put(root, "proc/meminfo", "MemTotal:  4096 kB\nMemFree:  1 kB\nMemAvailable:  1000 kB\n");
}

LT_TEST(host_memory_is_the_machines_without_limits)
{
    const char *root = lt_test_tmp("machine");

    LT_CHECK_INT(lt_memory_available_below(lt_test_tmp("nothing")), 0);
    put_machine(root);
    LT_CHECK_INT(lt_memory_available_below(root), 1000 * 1024);
    put(root, "proc/self/cgroup", "0::/user.slice\n");
    put(root, "sys/fs/cgroup/user.slice/memory.max", "max\n");
    put(root, "sys/fs/cgroup/user.slice/memory.current", "5\n");
    LT_CHECK_INT(lt_memory_available_below(root), 1000 * 1024);
    LT_CHECK(lt_memory_available() > 0);
}

/* The job has a limit, its step has none; page cache is no use of memory. */
LT_TEST(host_memory_ends_at_the_limit_of_a_group_above)
{
    const char *root = lt_test_tmp("slurm");

    put_machine(root);
    put(root, "proc/self/cgroup", "0::/slurm/job_7/step_0\n");
    put(root, "sys/fs/cgroup/slurm/job_7/step_0/memory.max", "max\n");
    put(root, "sys/fs/cgroup/slurm/job_7/step_0/memory.current", "300000\n");
    put(root, "sys/fs/cgroup/slurm/job_7/memory.max", "500000\n");
    put(root, "sys/fs/cgroup/slurm/job_7/memory.current", "300000\n");
    LT_CHECK_INT(lt_memory_available_below(root), 200000);
    put(root, "sys/fs/cgroup/slurm/job_7/memory.stat",
        "anon 200000\nfile 100000\ninactive_file 60000\nactive_file 30000\n");
    LT_CHECK_INT(lt_memory_available_below(root), 290000);
    put(root, "sys/fs/cgroup/slurm/job_7/memory.current", "700000\n"); /* none left is told */
    LT_CHECK_INT(lt_memory_available_below(root), 1);
}

/* A container sees its own group as the root of the mount, whatever its path is called outside. */
LT_TEST(host_memory_ends_at_the_limit_of_a_container)
{
    const char *two = lt_test_tmp("two"), *one = lt_test_tmp("one");

    put_machine(two);
    put(two, "proc/self/cgroup", "0::/\n");
    put(two, "sys/fs/cgroup/memory.max", "400000\n");
    put(two, "sys/fs/cgroup/memory.current", "100000\n");
    LT_CHECK_INT(lt_memory_available_below(two), 300000);

    put_machine(one);
    put(one, "proc/self/cgroup", "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/\n");
    put(one, "sys/fs/cgroup/memory/memory.limit_in_bytes", "400000\n");
    put(one, "sys/fs/cgroup/memory/memory.usage_in_bytes", "250000\n");
    put(one, "sys/fs/cgroup/memory/memory.stat",
        "inactive_file 1\ntotal_inactive_file 50000\ntotal_active_file 0\n");
    LT_CHECK_INT(lt_memory_available_below(one), 200000);
}
