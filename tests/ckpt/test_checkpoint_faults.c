/* A save that is killed or refused by the system at every single one of its calls.
 *
 * The save runs in a child under ptrace.  It is killed at its k-th system call, or that call is
 * made to fail, for every k; the parent then asks what a restart would find.  x86-64 Linux. */
#include "ckpt_fixture.h"

#include "base/log.h"
#include "ckpt/checkpoint_dir.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the child does; returns as a library call does. */
typedef lt_err (*child_work)(const char *dir);

static lt_err save_two(const char *dir)
{
    return fixture_save(dir, 2);
}

static lt_err save_one_again(const char *dir)
{
    return fixture_save_world(dir, 1, 2);
}

static lt_err retire_to_one(const char *dir)
{
    return lt_ckpt_retire(dir, 1);
}

static pid_t start(child_work work, const char *dir)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    lt_log_init("child", LT_LOG_QUIET);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(99);
    raise(SIGSTOP);
    _exit(work(dir) == LT_OK ? 0 : 1);
}

/* To the next stop of the child; false when it is gone. */
static bool next_stop(pid_t pid, int *status)
{
    return ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0 && waitpid(pid, status, 0) == pid &&
           WIFSTOPPED(*status);
}

typedef struct outcome {
    bool traced;     /* false: ptrace is not allowed here */
    bool hit;        /* the k-th call was reached */
    int exit_status; /* -1 when killed */
} outcome;

/* Calls that a full or broken disk refuses. */
static bool can_fail(long call)
{
    static const long calls[] = { SYS_mkdir,     SYS_openat,    SYS_write,    SYS_pwrite64,
                                  SYS_fallocate, SYS_ftruncate, SYS_fsync,    SYS_close,
                                  SYS_rename,    SYS_renameat2, SYS_getrandom };

    for (size_t i = 0; i < LT_COUNT(calls); i++)
        if (calls[i] == call)
            return true;
    return false;
}

/* Lets the present call return -error without having been made. */
static bool fail_call(pid_t pid, struct user_regs_struct *regs, int error, int *status)
{
    regs->orig_rax = (unsigned long long)-1;
    if (ptrace(PTRACE_SETREGS, pid, NULL, regs) != 0 || !next_stop(pid, status) ||
        ptrace(PTRACE_GETREGS, pid, NULL, regs) != 0)
        return false;
    regs->rax = (unsigned long long)(long long)-error;
    return ptrace(PTRACE_SETREGS, pid, NULL, regs) == 0;
}

/* Runs the work; at its k-th call it is killed (error 0) or, counting only calls that can fail,
 * gets the error. */
static outcome run(child_work work, const char *dir, int k, int error)
{
    outcome o = { .traced = true, .exit_status = -1 };
    pid_t pid = start(work, dir);
    struct user_regs_struct regs;
    int status = 0, n = 0;

    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) {
        o.traced = false;
        return o;
    }
    ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)PTRACE_O_EXITKILL);
    while (next_stop(pid, &status)) { /* entry */
        if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) != 0)
            break;
        if ((error == 0 || can_fail((long)regs.orig_rax)) && n++ == k) {
            o.hit = true;
            if (error == 0) {
                kill(pid, SIGKILL);
                waitpid(pid, &status, 0);
                return o;
            }
            if (!fail_call(pid, &regs, error, &status))
                break;
            continue;
        }
        if (!next_stop(pid, &status)) /* return of the call */
            break;
    }
    if (WIFEXITED(status))
        o.exit_status = WEXITSTATUS(status);
    return o;
}

/* Runs the work and lets its renameat2 be done, but answers ENOENT, as NFS does when it repeats a
 * call whose first answer was lost.  Exit status, -1 when nothing was traced. */
static int run_with_lost_answer(child_work work, const char *dir)
{
    pid_t pid = start(work, dir);
    struct user_regs_struct regs;
    int status = 0;

    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        return -1;
    ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)PTRACE_O_EXITKILL);
    while (next_stop(pid, &status)) { /* entries and returns: orig_rax is the call at both */
        if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) == 0 && regs.orig_rax == SYS_renameat2 &&
            regs.rax == 0) {
            regs.rax = (unsigned long long)(long long)-ENOENT;
            ptrace(PTRACE_SETREGS, pid, NULL, &regs);
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static size_t count_matching(const char *dir, const char *part)
{
    DIR *d = opendir(dir);
    size_t n = 0;

    for (const struct dirent *e; d && (e = readdir(d)) != NULL;)
        n += strstr(e->d_name, part) != NULL;
    if (d)
        closedir(d);
    return n;
}

/* The newest step that a restart finds, fully read; 0 if there is none or it is not whole. */
static uint64_t newest(const char *dir)
{
    char *path = NULL;
    uint64_t step = 0;

    if (lt_ckpt_find(dir, &path) == LT_OK) {
        step = strtoull(lt_path_base(path) + 5, NULL, 10);
        if (fixture_read(path, step) != LT_OK)
            step = 0;
    }
    free(path);
    return step;
}

/* No step folder that lacks something. */
static bool all_whole(const char *dir)
{
    DIR *d = opendir(dir);
    bool whole = d != NULL;

    for (const struct dirent *e; whole && (e = readdir(d)) != NULL;) {
        char *path = lt_path_join(dir, e->d_name);
        lt_ckpt *c = NULL;

        if (strncmp(e->d_name, "step-", 5) == 0 && !strstr(e->d_name, ".tmp."))
            whole = lt_ckpt_open(&c, path) == LT_OK;
        lt_ckpt_close(c);
        free(path);
    }
    if (d)
        closedir(d);
    return whole;
}

/* Kills `work` at every call; `first` and `last` are the steps that may be found afterwards. */
static void kill_everywhere(const char *name, child_work work, uint64_t before, uint64_t last)
{
    char dir[512];
    bool seen_last = false;
    int k;

    for (k = 0;; k++) {
        outcome o;
        uint64_t found;

        LT_CHECK_OK(lt_remove_tree(fixture_dir(dir, name)));
        for (uint64_t step = 1; step <= before; step++)
            LT_CHECK_OK(fixture_save(dir, step));
        o = run(work, dir, k, 0);
        if (!o.traced) {
            lt_test_skip("ptrace is not allowed here");
            return;
        }
        found = newest(dir);
        LT_FAIL_IF(found != before && found != last, "killed at call %d: step %d is found: %s", k,
                   (int)found, lt_err_text());
        LT_FAIL_IF(seen_last && found != last, "killed at call %d: the commit was undone", k);
        LT_FAIL_IF(!all_whole(dir), "killed at call %d: a step is not whole: %s", k, lt_err_text());
        seen_last = found == last && last != before;
        LT_CHECK_OK(lt_ckpt_sweep(dir));
        LT_CHECK(count_matching(dir, ".tmp.") == 0 && count_matching(dir, "trash.") == 0);
        LT_FAIL_IF(newest(dir) != found, "killed at call %d: the sweep removed a step", k);
        LT_CHECK_OK(work(dir)); /* what the restarted job does works */
        LT_CHECK(newest(dir) == last);
        if (!o.hit) {
            LT_CHECK_INT(o.exit_status, 0);
            break;
        }
    }
    printf("# %s: killed at each of %d calls\n", name, k);
    LT_CHECK(k > 20);
}

LT_TEST(checkpoint_save_killed_at_every_call)
{
    kill_everywhere("kill", save_two, 1, 2);
}

LT_TEST(checkpoint_replacement_killed_at_every_call)
{
    kill_everywhere("kill-replace", save_one_again, 1, 1);
}

LT_TEST(checkpoint_retire_killed_at_every_call)
{
    kill_everywhere("kill-retire", retire_to_one, 3, 3);
}

LT_TEST(checkpoint_save_refused_at_every_call)
{
    static const int errors[] = { ENOSPC, EIO, EDQUOT, EROFS };
    char dir[512];
    int n_failed = 0, k;

    for (k = 0;; k++) {
        outcome o;
        uint64_t found;

        LT_CHECK_OK(lt_remove_tree(fixture_dir(dir, "refuse")));
        LT_CHECK_OK(fixture_save(dir, 1));
        o = run(save_two, dir, k, errors[k % (int)LT_COUNT(errors)]);
        if (!o.traced) {
            lt_test_skip("ptrace is not allowed here");
            return;
        }
        if (!o.hit)
            break;
        found = newest(dir);
        n_failed += o.exit_status == 1;
        LT_FAIL_IF(o.exit_status != 0 && o.exit_status != 1, "call %d: exit %d", k, o.exit_status);
        LT_FAIL_IF(o.exit_status == 0 && found != 2, "call %d: success, but step %d", k,
                   (int)found);
        LT_FAIL_IF(found != 1 && found != 2, "call %d: nothing usable: %s", k, lt_err_text());
        LT_FAIL_IF(count_matching(dir, ".tmp.") != 0, "call %d: a temporary folder is left", k);
    }
    printf("# refused at each of %d calls, %d of them failed the save\n", k, n_failed);
    LT_CHECK(n_failed > 20);
}

LT_TEST(checkpoint_commit_whose_rename_was_made_twice)
{
    char dir[512];
    int status;

    LT_CHECK_OK(fixture_save(fixture_dir(dir, "lost"), 1));
    status = run_with_lost_answer(save_two, dir);
    if (status < 0) {
        lt_test_skip("ptrace is not allowed here");
        return;
    }
    LT_CHECK_INT(status, 0);
    LT_CHECK(newest(dir) == 2);
    LT_CHECK_INT(count_matching(dir, ".tmp."), 0);
    LT_CHECK_INT(run_with_lost_answer(save_one_again, dir), 1); /* an exchange is another matter */
}

/* Exit status of the work in a child of its own. */
static int in_child(child_work work, const char *dir)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        _exit((int)work(dir));
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status)
                                                                           : -1;
}

static rlim_t file_limit;

static lt_err save_limited(const char *dir)
{
    struct rlimit limit = { file_limit, file_limit };
    lt_err err;

    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        return LT_EUSAGE;
    err = fixture_save(dir, 2);
    if (err == LT_EIO && !strstr(lt_err_text(), "File too large"))
        return LT_EUSAGE; /* the sentence does not tell */
    return err;
}

LT_TEST(checkpoint_save_with_a_file_size_limit)
{
    char dir[512];
    int n_failed = 0;

    LT_CHECK_OK(fixture_save(fixture_dir(dir, "limit"), 1));
    for (file_limit = 0; file_limit < 4000; file_limit += 97) {
        int status = in_child(save_limited, dir);

        LT_CHECK(status == LT_OK || status == LT_EIO);
        n_failed += status == LT_EIO;
        LT_CHECK_INT(newest(dir), status == LT_OK ? 2 : 1);
        LT_CHECK_INT(count_matching(dir, ".tmp."), 0);
        if (status == LT_OK)
            break;
    }
    LT_CHECK(n_failed > 5 && newest(dir) == 2);
}

/* Saves until a file system of 256 KiB is full: the steps before are whole,
 * nothing else is left. */
static lt_err fill_small_disk(const char *dir)
{
    uint64_t step = 0;
    lt_err err = LT_OK;

    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("lt", dir, "tmpfs", 0, "size=256k") != 0)
        return LT_ENOTSUP;
    while (err == LT_OK && step < 100)
        err = fixture_save(dir, ++step);
    if (err != LT_EIO || !strstr(lt_err_text(), "No space left on device"))
        return LT_EUSAGE;
    return newest(dir) == step - 1 && step > 2 && count_matching(dir, ".tmp.") == 0 ? LT_OK
                                                                                    : LT_EFORMAT;
}

LT_TEST(checkpoint_save_on_a_full_disk)
{
    char dir[512];
    int status;

    LT_CHECK_OK(lt_mkdirs(fixture_dir(dir, "full")));
    status = in_child(fill_small_disk, dir);
    if (status == LT_ENOTSUP)
        lt_test_skip("needs root to mount a tmpfs");
    else
        LT_CHECK_INT(status, LT_OK);
}
