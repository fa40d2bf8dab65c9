/* A job of two ranks that saves checkpoints and does nothing else, for tests that kill it, refuse
 * its calls or cut its power (kill_save.sh, power_cut.sh).
 *
 *   tool_save_ranks save DIR STEP SALT [RANK COMMAND...]  sweeps, saves once, retires older steps
 *   tool_save_ranks loop DIR ROWS       saves step after step and says each that is committed
 *   tool_save_ranks show DIR            "STEP SALT" of the newest step, every element compared
 *   tool_save_ranks sweep DIR           what a restarted job does first
 *
 * With RANK and COMMAND (strace and its options), "COMMAND -p PID" is attached to that rank before
 * its first call, so calls are counted from the save's own first.  strace counts each thread by
 * itself: rank 0 writes in its main thread, so its calls are one sequence; rank 1 writes in the
 * background, so its files are the calls of one thread.  Ranks talk over sockets, with calls that
 * no file needs.  Rank 0 alone says what went wrong, in one line. */
#include "ranks_fixture.h"

#include "base/log.h"
#include "ckpt/checkpoint_dir.h"
#include "ckpt/checkpoint_writer.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORLD = 2, SEED = 5, UP = 0, DOWN = 1, CANNOT_TRACE = 77 };

/* ---- messages: a byte of verdict and a text, one packet */

static bool say(int fd, char verdict, const char *text)
{
    char *packet = lt_asprintf("%c%s", verdict, text);
    ssize_t n = (ssize_t)strlen(packet);
    bool ok = send(fd, packet, (size_t)n, MSG_NOSIGNAL) == n;

    free(packet);
    return ok;
}

/* False when the other side is gone. */
static bool hear(int fd, char *verdict, lt_buf *text)
{
    char packet[1 << 14];
    ssize_t n = recv(fd, packet, sizeof packet, 0);

    if (n < 1)
        return false;
    *verdict = packet[0];
    lt_buf_clear(text);
    lt_buf_append(text, packet + 1, (size_t)n - 1);
    return true;
}

/* ---- ranks */

static lt_err save_rank_0(const char *dir, const space *s, uint64_t step, int peer)
{
    lt_buf parts[WORLD] = { { 0 } };
    const char *texts[WORLD];
    char *tmp = NULL, verdict = '-';
    bool published = false;
    lt_err_record own = { 0 };
    space_rank r;
    lt_err err;

    space_request(s, &r, step, SEED, 0, WORLD);
    LT_TRY(err = lt_ckpt_begin(dir, step, &tmp));
    (void)say(peer, '+', tmp);
    if (lt_ckpt_write(tmp, &r.rq, &parts[0]) != LT_OK)
        lt_err_take(&own);
    if (!hear(peer, &verdict, &parts[1])) /* all end before anything is removed */
        err = lt_fail(LT_EFAULT, "rank 1 died in the save of step %" PRIu64, step);
    else if (verdict != '+')
        err = lt_fail(LT_EFAULT, "rank 1: %s", lt_buf_cstr(&parts[1]));
    if (own.code != LT_OK)
        err = lt_err_give(&own);
    LT_TRY(err);
    for (int k = 0; k < WORLD; k++)
        texts[k] = lt_buf_cstr(&parts[k]);
    LT_TRY(err = lt_ckpt_commit(tmp, &r.rq, texts, WORLD, &published));
    if (lt_ckpt_retire(dir, 1) != LT_OK)
        lt_log_warn("%s", lt_err_text());
fail:
    (void)say(peer, err == LT_OK ? '+' : '-', "");
    if (err != LT_OK && tmp && !published)
        lt_ckpt_discard(tmp);
    for (int k = 0; k < WORLD; k++)
        lt_buf_release(&parts[k]);
    free(tmp);
    return err;
}

/* Its error is rank 0's to tell. */
static bool save_rank_1(const space *s, uint64_t step, int peer)
{
    lt_ckpt_writer *w = NULL;
    lt_buf text = { 0 };
    char verdict = '-';
    space_rank r;
    lt_err err;

    space_request(s, &r, step, SEED, 1, WORLD);
    if (!hear(peer, &verdict, &text) || verdict != '+')
        goto end;
    LT_TRY(err = lt_ckpt_writer_open(&w));
    lt_ckpt_writer_start(w, text.data, &r.rq);
    LT_TRY(err = lt_ckpt_writer_join(w, &text));
    (void)say(peer, '+', lt_buf_cstr(&text));
    if (!hear(peer, &verdict, &text))
        verdict = '-';
    goto end;
fail:
    (void)say(peer, '-', lt_err_text());
    verdict = '-';
end:
    lt_ckpt_writer_close(w);
    lt_buf_release(&text);
    return verdict == '+';
}

static int run_rank(int rank, const char *dir, uint64_t step, uint64_t salt, int peer)
{
    lt_lock *lock = NULL;
    space s;
    lt_err err;

    space_init(&s, salt);
    if (rank == 1)
        return save_rank_1(&s, step, peer) ? 0 : 1;
    LT_TRY(err = lt_ckpt_lock(&lock, dir));
    LT_TRY(err = lt_ckpt_sweep(dir));
    LT_TRY(err = save_rank_0(dir, &s, step, peer));
fail:
    lt_lock_drop(lock);
    return lt_log_exit(err);
}

/* ---- the job */

/* Is somebody tracing the process? */
static bool is_traced(pid_t pid)
{
    char path[64], line[256];
    long tracer = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "TracerPid:", 10) == 0)
            tracer = strtol(line + 10, NULL, 10);
    if (f)
        fclose(f);
    return tracer != 0;
}

/* Starts "COMMAND -p PID" and waits until it holds the process; -1 when it gives up. */
static pid_t attach(char **command, int n, pid_t pid)
{
    const struct timespec moment = { .tv_nsec = 1000000 };
    char number[32], **argv = lt_new_array0((size_t)n + 3, sizeof *argv);
    pid_t tracer = fork();

    if (tracer == 0) {
        memcpy(argv, command, (size_t)n * sizeof *argv);
        snprintf(number, sizeof number, "%ld", (long)pid);
        argv[n] = (char[]){ "-p" };
        argv[n + 1] = number;
        execvp(argv[0], argv);
        _exit(CANNOT_TRACE);
    }
    free(argv);
    while (tracer > 0 && !is_traced(pid)) {
        if (waitpid(tracer, NULL, WNOHANG) != 0)
            return -1;
        nanosleep(&moment, NULL);
    }
    return tracer;
}

static pid_t start_rank(int rank, char **argv, const int pair[2], const int go[2])
{
    pid_t pid = fork();
    char c;

    if (pid != 0)
        return pid;
    close(pair[rank == 0 ? DOWN : UP]);
    close(go[DOWN]);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0); /* where only parents may trace */
    if (read(go[UP], &c, 1) != 0)                       /* until the other end is closed */
        _exit(1);
    _exit(run_rank(rank, argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10),
                   pair[rank == 0 ? UP : DOWN]));
}

static int save(int argc, char **argv)
{
    int pair[2], go[2], status, code = 0;
    pid_t ranks[WORLD], tracer = 0;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0 ||
        pipe2(go, O_CLOEXEC) != 0)
        return 1;
    for (int k = 0; k < WORLD; k++)
        ranks[k] = start_rank(k, argv, pair, go);
    close(pair[UP]);
    close(pair[DOWN]);
    close(go[UP]);
    if (argc > 6)
        tracer = attach(argv + 6, argc - 6, ranks[argv[5][0] == '1']);
    if (tracer < 0)
        for (int k = 0; k < WORLD; k++)
            kill(ranks[k], SIGKILL);
    close(go[DOWN]);
    for (int k = 0; k < WORLD; k++)
        if (waitpid(ranks[k], &status, 0) != ranks[k] || status != 0)
            code = 1;
    if (tracer > 0)
        waitpid(tracer, NULL, 0);
    return tracer < 0 ? CANNOT_TRACE : code;
}

/* ---- the other commands */

static lt_err show(const char *dir)
{
    const lt_ckpt_step *step;
    char *path = NULL;
    lt_ckpt *c = NULL;
    space s = { 0 };
    lt_err err;

    LT_TRY(err = lt_ckpt_find(dir, &path));
    LT_TRY(err = lt_ckpt_open(&c, path));
    LT_TRY(err = lt_ckpt_verify(c, NULL));
    step = &lt_ckpt_manifest(c)->step;
    space_init_rows(&s, step->samples,
                    lt_ckpt_manifest(c)->tensors[0].dims[0] / space_small[0].dims[0]);
    LT_TRY(err = lt_ckpt_check(c, s.tensors, s.n));
    LT_TRY(err = space_compare(&s, c, 0, 1));
    printf("%" PRIu64 " %" PRIu64 "\n", step->step, step->samples);
fail:
    space_release(&s);
    lt_ckpt_close(c);
    free(path);
    return err;
}

/* Rank after rank in one process: what matters here is the order of calls to the disk. */
static lt_err loop(const char *dir, uint64_t rows)
{
    lt_err err = LT_OK;

    for (uint64_t step = 1; err == LT_OK; step++) {
        space s;

        space_init_rows(&s, step, rows);
        err = space_save(&s, dir, step, step, WORLD);
        if (err == LT_OK) {
            printf("%" PRIu64 "\n", step);
            fflush(stdout);
            err = lt_ckpt_retire(dir, 2);
        }
        space_release(&s);
    }
    return err;
}

int main(int argc, char **argv)
{
    lt_err err = LT_EUSAGE;

    lt_log_init("tool_save_ranks", LT_LOG_WARN);
    if (argc >= 5 && strcmp(argv[1], "save") == 0)
        return save(argc, argv);
    if (argc == 3 && strcmp(argv[1], "show") == 0)
        err = show(argv[2]);
    else if (argc == 3 && strcmp(argv[1], "sweep") == 0)
        err = lt_ckpt_sweep(argv[2]);
    else if (argc == 4 && strcmp(argv[1], "loop") == 0)
        err = loop(argv[2], strtoull(argv[3], NULL, 10));
    else
        lt_fail(err, "expected save, loop, show or sweep");
    return lt_log_exit(err);
}
