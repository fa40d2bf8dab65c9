/* tool_watch_rank.c - a rank that only steps, for the tests of the watch: no MPI, no device.
 *
 * The ranks of a job are processes of one machine (in network namespaces or not) that meet in a
 * mapped file, which also is their collective: a step ends when all have come.  One of them
 * misbehaves on demand.  Started by mpirun, by srun, or by hand with --rank and --world. */
#include "base/log.h"
#include "base/options.h"
#include "comm/stop_signal.h"
#include "comm/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MAX_RANKS = 64, ADDRESS_BYTES = 512 };

/* The file: zeros at first. */
typedef struct meeting {
    _Atomic uint64_t done[MAX_RANKS];  /* steps */
    _Atomic uint64_t stops[MAX_RANKS]; /* the step at whose end this rank wants to stop; 0: none */
    _Atomic int written;
    char address[ADDRESS_BYTES];
} meeting;

typedef struct args {
    const char *meet, *misdeed;
    int64_t rank, world, local_rank, steps, who, at, every;
    double step_s, hang_timeout, stall_s, save_s;
    bool early, late;
} args;

static const lt_option options[] = {
    { "meet", 0, LT_OPT_STRING, offsetof(args, meet), "FILE", "where the ranks meet" },
    { "rank", 0, LT_OPT_INT, offsetof(args, rank), "N", "unless the launcher tells", 0, 63 },
    { "world", 0, LT_OPT_INT, offsetof(args, world), "N", "likewise", 1, MAX_RANKS },
    { "steps", 0, LT_OPT_INT, offsetof(args, steps), "N", "how many (default 100)", 0, 1e9 },
    { "step-s", 0, LT_OPT_REAL, offsetof(args, step_s), "S", "a step takes (default 0.01)", 0, 60 },
    { "hang-timeout", 0, LT_OPT_REAL, offsetof(args, hang_timeout), "S", "default 30", 0, 1e6 },
    { "who", 0, LT_OPT_INT, offsetof(args, who), "N", "the rank that misbehaves", 0, 63 },
    { "at", 0, LT_OPT_INT, offsetof(args, at), "STEP", "after this step", 0, 1e9 },
    { "every", 0, LT_OPT_INT, offsetof(args, every), "STEPS", "and again after so many", 1, 1e9 },
    { "misdeed", 0, LT_OPT_STRING, offsetof(args, misdeed), "WHAT",
      "kill, segv, stop, spin, stall or exit:N" },
    { "stall-s", 0, LT_OPT_REAL, offsetof(args, stall_s), "S", "of stall", 0, 1e6 },
    { "save-s", 0, LT_OPT_REAL, offsetof(args, save_s), "S", "a save at the end takes", 0, 1e6 },
    { "early", 0, LT_OPT_FLAG, offsetof(args, early), NULL, "misbehave before joining" },
    { "late", 0, LT_OPT_FLAG, offsetof(args, late), NULL, "misbehave after leaving" },
    { 0 },
};

static const lt_command command = { "tool_watch_rank", "--meet FILE [options]", "a rank that steps",
                                    NULL, options };

static int64_t from_environment(const char *const *names, int64_t otherwise)
{
    for (; *names; names++)
        if (getenv(*names))
            return strtoll(getenv(*names), NULL, 10);
    return otherwise;
}

static void pause_s(double s)
{
    struct timespec t = { (time_t)s, (long)((s - (double)(time_t)s) * 1e9) };

    while (nanosleep(&t, &t) != 0 && errno == EINTR) {
    }
}

static meeting *open_meeting(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    meeting *m = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, sizeof *m) == 0)
        m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return m == MAP_FAILED ? NULL : m;
}

static lt_err join(const args *a, meeting *m, lt_watch *w)
{
    lt_watch_rank me = { (int)a->rank, (int)a->world, (int)a->local_rank, "" };
    lt_buf address = { 0 };
    lt_err err = LT_OK;

    gethostname(me.host, sizeof me.host - 1);
    if (a->rank == 0) {
        LT_TRY(err = lt_watch_open_hub(w, (int)a->world, &address));
        snprintf(m->address, sizeof m->address, "%s", lt_buf_cstr(&address));
        m->written = 1;
    }
    while (!m->written)
        pause_s(1e-3);
    LT_TRY(err = lt_watch_join(w, &me, m->address, a->hang_timeout));
    printf("rank %d pid %d supervisor %d\n", me.rank, (int)getpid(), (int)getppid());
    fflush(stdout);
fail:
    lt_buf_release(&address);
    return err;
}

static bool is_time(const args *a, uint64_t step)
{
    uint64_t at = (uint64_t)a->at;

    return a->rank == a->who && a->misdeed && !a->late &&
           (step == at || (a->every && step > at && (step - at) % (uint64_t)a->every == 0));
}

static void misbehave(const args *a)
{
    int code;

    if (strcmp(a->misdeed, "kill") == 0)
        raise(SIGKILL);
    if (strcmp(a->misdeed, "segv") == 0)
        raise(SIGSEGV);
    if (strcmp(a->misdeed, "stop") == 0)
        raise(SIGSTOP);
    if (strcmp(a->misdeed, "spin") == 0)
        for (volatile unsigned turns = 0;; turns++) {
        }
    if (strcmp(a->misdeed, "stall") == 0)
        pause_s(a->stall_s);
    if (sscanf(a->misdeed, "exit:%d", &code) == 1)
        exit(code);
}

/* The collective: waits for all; true when any rank asked to stop at this step. */
static bool all_meet(const args *a, meeting *m, uint64_t step)
{
    bool stop = false;

    if (lt_stop_signal() && !m->stops[a->rank])
        m->stops[a->rank] = step;
    m->done[a->rank] = step;
    for (int64_t i = 0; i < a->world; i++)
        while (m->done[i] < step)
            pause_s(1e-4);
    for (int64_t i = 0; i < a->world; i++)
        stop = stop || (m->stops[i] && m->stops[i] <= step);
    return stop;
}

static lt_err steps(const args *a, meeting *m, lt_watch *w)
{
    bool stop = false;
    uint64_t step = 0;

    while (!stop && step < (uint64_t)a->steps) {
        lt_watch_phase(w, step, LT_PHASE_FORWARD);
        pause_s(a->step_s / 2);
        lt_watch_phase(w, step, LT_PHASE_BACKWARD);
        pause_s(a->step_s / 2);
        if (is_time(a, step))
            misbehave(a);
        lt_watch_phase(w, step, LT_PHASE_REDUCE);
        lt_watch_collective(w);
        stop = all_meet(a, m, ++step);
    }
    lt_watch_phase(w, step, LT_PHASE_SAVE);
    pause_s(a->save_s);
    printf("rank %d ended at step %llu\n", (int)a->rank, (unsigned long long)step);
    lt_watch_leave(w);
    if (a->late && a->rank == a->who)
        misbehave(a);
    return stop ? lt_fail(LT_ERESTART, "saved at step %llu", (unsigned long long)step) : LT_OK;
}

int main(int argc, char **argv)
{
    static const char *const rank_names[] = { "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID",
                                              NULL };
    static const char *const world_names[] = { "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS",
                                               NULL };
    static const char *const local_names[] = { "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID",
                                               NULL };
    args a = { .rank = from_environment(rank_names, 0),
               .world = from_environment(world_names, 1),
               .local_rank = from_environment(local_names, -1),
               .steps = 100,
               .step_s = 0.01,
               .hang_timeout = 30 };
    lt_opt_list rest = { 0 };
    lt_watch *watch = NULL;
    meeting *m;
    bool done = false;
    int status = 0;
    lt_err err;

    lt_log_init("tool_watch_rank", LT_LOG_INFO);
    LT_TRY(err = lt_options_parse(&command, argc, argv, &a, &rest, &done));
    if (a.local_rank < 0)
        a.local_rank = a.rank;
    LT_TRY(err = lt_supervise_start(&watch, (int)a.rank, &status));
    if (!watch)
        return status;
    lt_stop_catch();
    m = a.meet ? open_meeting(a.meet) : NULL;
    if (!m)
        LT_TRY(err = lt_fail(LT_EUSAGE, "--meet: no file to meet in"));
    lt_watch_meet(watch, a.hang_timeout);
    if (a.early && a.rank == a.who)
        misbehave(&a);
    LT_TRY(err = join(&a, m, watch));
    err = steps(&a, m, watch);
fail:
    lt_watch_close(watch);
    return lt_log_exit(err);
}
