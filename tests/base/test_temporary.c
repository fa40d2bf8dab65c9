/* test_temporary.c - which leftovers of an output are removed, and what is left alone. */
#include "base/file.h"
#include "base/log.h"
#include "base/temporary.h"
#include "lt_test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* The number of a process that is gone. */
static long dead_number(void)
{
    pid_t child = fork();

    if (child == 0)
        _exit(0);
    return waitpid(child, NULL, 0) == child ? (long)child : 0;
}

static bool make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

    return fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0;
}

static bool always(const char *folder)
{
    (void)folder;
    return true;
}

static bool never(const char *folder)
{
    (void)folder;
    return false;
}

static void sweep(const char *target, bool (*is_ours)(const char *folder))
{
    lt_log_init("test", LT_LOG_QUIET);
    lt_temporary_sweep(target, is_ours);
    lt_log_init("test", LT_LOG_ERROR);
}

LT_TEST(temporary_of_a_dead_process_is_removed)
{
    char *target = lt_strdup(lt_test_tmp("gone"));
    char *left = lt_asprintf("%s.tmp.%ld", target, dead_number());
    char *last = lt_asprintf("%s.tmp.%ld", target, dead_number());
    char *own = lt_temporary_name(target);
    int home = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    LT_CHECK(make_file(left) && make_file(last) && make_file(own) && make_file(target));
    sweep(target, NULL);
    LT_CHECK(!lt_path_exists(left) && !lt_path_exists(last));
    LT_CHECK(lt_path_exists(own) && lt_path_exists(target));
    LT_CHECK(make_file(left) && home >= 0 && chdir(lt_test_tmp(".")) == 0);
    sweep("gone", NULL); /* a name without a folder */
    LT_CHECK(fchdir(home) == 0 && !lt_path_exists(left));
    sweep(lt_test_tmp("no-folder/gone"), NULL);
    close(home);
    free(target);
    free(left);
    free(last);
    free(own);
}

LT_TEST(temporary_of_a_living_process_stays)
{
    char *target = lt_strdup(lt_test_tmp("alive"));
    char *parent = lt_asprintf("%s.tmp.%ld", target, (long)getppid());
    char *elsewhere = lt_asprintf("%s.tmp.%ld", target, dead_number());
    int fd;

    LT_CHECK(make_file(parent) && make_file(elsewhere));
    fd = open(elsewhere, O_RDONLY | O_CLOEXEC);
    lt_temporary_hold(
        fd); /* as the writer in another container does, whose number is no one's here */
    sweep(target, NULL);
    LT_CHECK(lt_path_exists(parent) && lt_path_exists(elsewhere));
    close(fd);
    sweep(target, NULL);
    LT_CHECK(lt_path_exists(parent) && !lt_path_exists(elsewhere));
    free(target);
    free(parent);
    free(elsewhere);
}

LT_TEST(temporary_of_another_name_or_kind_stays)
{
    static const struct {
        const char *before, *after;
    } names[] = { { "kind.tmp.", "x" },     { "kind.tmp.0", "" }, { "kind.tmp.-", "" },
                  { "kind.tmp", "" },       { "kind2.tmp.", "" }, { "akind.tmp.", "" },
                  { "kind.tmp.", ".tmp.1" } };
    char *target = lt_strdup(lt_test_tmp("kind"));
    long dead = dead_number();
    char *same = lt_asprintf("%s.tmp.%ld", target, dead);
    char *inside = lt_asprintf("%s/file", same);

    for (size_t i = 0; i < LT_COUNT(names); i++) {
        char name[64];
        char *path;

        snprintf(name, sizeof name, "%s%ld%s", names[i].before, dead, names[i].after);
        path = lt_strdup(lt_test_tmp(name));
        LT_CHECK(make_file(path));
        sweep(target, always);
        LT_FAIL_IF(!lt_path_exists(path), "%s is gone", path);
        free(path);
    }
    LT_CHECK(symlink("/", same) == 0);
    sweep(target, always);
    LT_CHECK(unlink(same) == 0);
    LT_CHECK_OK(lt_mkdirs(same));
    LT_CHECK(make_file(inside));
    sweep(target, NULL);
    sweep(target, never);
    LT_CHECK(lt_path_exists(inside));
    sweep(target, always);
    LT_CHECK(!lt_path_exists(same));
    free(target);
    free(same);
    free(inside);
}
