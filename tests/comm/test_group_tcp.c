/* test_group_tcp.c - ranks that know each other from SLURM's variables alone: forked processes of
 * this machine, the test itself as rank 0. */
#include "comm/comm.h"
#include "comm/group_parts.h"
#include "lt_test.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const double patience = 20;

/* A port of its own, so that tests can run side by side; the kernel hands out a free one. */
static int free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET };
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool ok = bind(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
              getsockname(fd, (struct sockaddr *)&a, &size) == 0;

    close(fd);
    return ok ? ntohs(a.sin_port) : 0;
}

static void set_job(int job, int rank, int world, int port)
{
    static const char *const others[] = { "OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK",
                                          "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST" };
    char text[4][24];

    for (size_t i = 0; i < LT_COUNT(others); i++)
        unsetenv(others[i]);
    snprintf(text[0], sizeof text[0], "%d", job);
    snprintf(text[1], sizeof text[1], "%d", rank);
    snprintf(text[2], sizeof text[2], "%d", world);
    snprintf(text[3], sizeof text[3], "%d", port);
    setenv("SLURM_JOB_ID", text[0], 1);
    setenv("SLURM_STEP_ID", "0", 1);
    setenv("SLURM_PROCID", text[1], 1);
    setenv("SLURM_NTASKS", text[2], 1);
    setenv("SLURM_JOB_NODELIST", "127.0.0.1", 1);
    setenv("LT_PORT", text[3], 1);
}

static lt_err join(lt_group **g, int rank, int world, int port, double seconds)
{
    lt_launch launch;
    lt_err err;

    set_job(4711, rank, world, port);
    LT_TRY(err = lt_launch_read(&launch, true));
    LT_TRY(err = lt_group_tcp_open(g, &launch, seconds));
fail:
    return err;
}

/* Runs f as rank `rank` in a child; what f returns is its exit code. */
static pid_t start_rank(int (*f)(int rank, int world, int port), int rank, int world, int port)
{
    pid_t pid = fork();

    if (pid == 0) {
        int code = f(rank, world, port);

        _exit(code);
    }
    return pid;
}

static bool all_ended_well(const pid_t *pids, int n)
{
    bool well = true;

    for (int i = 0; i < n; i++) {
        int status;

        well &= waitpid(pids[i], &status, 0) == pids[i] && WIFEXITED(status) &&
                WEXITSTATUS(status) == 0;
    }
    return well;
}

/* Everything a group does, from every rank; 0 when all was right. */
static int talk(lt_group *g)
{
    int ranks[8], bad = g->world - 1;
    lt_buf text = { 0 }, all[8] = { 0 };
    size_t big = 3 << 20;

    if (lt_group_all_gather(g, ranks, &g->rank, sizeof g->rank) != LT_OK)
        return 1;
    for (int r = 0; r < g->world; r++)
        if (ranks[r] != r)
            return 2;
    for (int root = 0; root < g->world; root++) {
        lt_buf_clear(&text);
        if (g->rank == root) {
            lt_buf_reserve(&text, big);
            memset(text.data, 'a' + root, big);
            text.size = big;
        }
        if (lt_group_broadcast(g, &text, root) != LT_OK || text.size != big ||
            text.data[big / 2] != 'a' + root)
            return 3;
    }
    lt_buf_clear(&text);
    for (int i = 0; i < 1000 * g->rank; i++)
        lt_buf_printf(&text, "%d", g->rank);
    if (lt_group_gather(g, &text, all) != LT_OK)
        return 4;
    for (int r = 0; g->rank == 0 && r < g->world; r++) {
        if (all[r].size != (size_t)r * 1000 || (r > 0 && all[r].data[999] != '0' + r))
            return 5;
        lt_buf_release(&all[r]);
    }
    lt_buf_release(&text);
    if (lt_group_agree(g, LT_OK) != LT_OK || lt_group_barrier(g) != LT_OK)
        return 6;
    if (lt_group_agree(g, g->rank == bad ? lt_fail(LT_EFORMAT, "page 7") : LT_OK) != LT_EFORMAT ||
        !strstr(lt_err_text(), "page 7") || (g->rank != bad && !strstr(lt_err_text(), "rank ")))
        return 7;
    if (g->local_rank != g->rank || g->local_world != g->world || g->n_hosts != 1)
        return 8;
    return lt_group_barrier(g) == LT_OK ? 0 : 9;
}

static int join_and_talk(int rank, int world, int port)
{
    lt_group *g;
    int code;

    if (join(&g, rank, world, port, patience) != LT_OK)
        return 20;
    code = talk(g);
    lt_group_close(g);
    return code;
}

LT_TEST(tcp_ranks_meet_and_talk)
{
    for (int world = 2; world <= 5; world++) {
        pid_t pids[4];
        int port = free_port();
        lt_group *g;

        for (int r = 1; r < world; r++)
            pids[r - 1] = start_rank(join_and_talk, r, world, port);
        LT_CHECK_OK(join(&g, 0, world, port, patience));
        LT_CHECK_INT(g->launcher, LT_LAUNCH_SLURM);
        LT_CHECK_INT(talk(g), 0);
        lt_group_close(g);
        LT_CHECK(all_ended_well(pids, world - 1));
    }
}

/* The last rank dies where the others wait for it; they name it, all of them. */
static int see_death(int rank, int world, int port)
{
    lt_group *g;
    bool named;

    if (join(&g, rank, world, port, patience) != LT_OK)
        return 20;
    if (rank == world - 1)
        _exit(0);
    named = lt_group_barrier(g) == LT_EFAULT && strstr(lt_err_text(), "rank 2 (") &&
            strstr(lt_err_text(), "is gone");
    if (!named)
        return 1;
    if (lt_group_barrier(g) != LT_EFAULT || !strstr(lt_err_text(), "has lost the other ranks"))
        return 2;
    lt_group_close(g);
    return 0;
}

LT_TEST(tcp_a_rank_that_dies_is_named_by_all)
{
    int port = free_port();
    pid_t pids[2] = { start_rank(see_death, 1, 3, port), start_rank(see_death, 2, 3, port) };

    LT_CHECK_INT(see_death(0, 3, port), 0);
    LT_CHECK(all_ended_well(pids, 2));
}

static int see_first_die(int rank, int world, int port)
{
    lt_group *g;
    bool named;

    if (join(&g, rank, world, port, patience) != LT_OK)
        return 20;
    if (rank == 0)
        _exit(0);
    named = lt_group_barrier(g) == LT_EFAULT && strstr(lt_err_text(), "rank 0 (127.0.0.1) is gone");
    lt_group_close(g);
    return named ? 0 : 1;
}

LT_TEST(tcp_rank_zero_that_dies_is_named)
{
    int port = free_port();
    pid_t pid = start_rank(see_first_die, 0, 2, port);

    LT_CHECK_INT(see_first_die(1, 2, port), 0);
    LT_CHECK(all_ended_well(&pid, 1));
}

LT_TEST(tcp_no_rank_zero)
{
    char expected[64];
    int port = free_port();
    lt_group *g;

    snprintf(expected, sizeof expected, "no rank 0 at 127.0.0.1:%d within 0.3 s: Connection", port);
    LT_CHECK_FAILS(join(&g, 1, 2, port, 0.3), LT_EFAULT, expected);
}

/* It listens, says nothing, and the time is over when the connection is there. */
LT_TEST(tcp_a_silent_stranger_is_not_waited_for)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    lt_group *g;

    LT_CHECK(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 1) == 0);
    LT_CHECK(getsockname(fd, (struct sockaddr *)&a, &size) == 0);
    LT_CHECK_FAILS(join(&g, 1, 2, ntohs(a.sin_port), 0), LT_EFAULT,
                   "within 0 s: what listens there is no rank of lt");
    close(fd);
}

static void *abandon_soon(void *group)
{
    usleep(100000);
    lt_group_abandon(group);
    return NULL;
}

/* A rank waits for one that never comes to the barrier, until another thread gives up. */
static int give_up(int rank, int world, int port)
{
    pthread_t thread;
    lt_group *g;
    bool named;

    if (join(&g, rank, world, port, patience) != LT_OK)
        return 20;
    if (pthread_create(&thread, NULL, abandon_soon, g) != 0)
        return 21;
    named = lt_group_barrier(g) == LT_EFAULT && strstr(lt_err_text(), "no longer");
    pthread_join(thread, NULL);
    lt_group_close(g);
    return named ? 0 : 1;
}

static int join_and_sleep(int rank, int world, int port)
{
    lt_group *g;

    if (join(&g, rank, world, port, patience) != LT_OK)
        return 20;
    usleep(2500000);
    lt_group_close(g);
    return 0;
}

LT_TEST(tcp_an_abandoned_group_waits_no_longer)
{
    int port = free_port();
    pid_t pid = start_rank(join_and_sleep, 1, 2, port);

    LT_CHECK_INT(give_up(0, 2, port), 0);
    LT_CHECK(all_ended_well(&pid, 1));
    port = free_port();
    pid = start_rank(join_and_sleep, 0, 2, port);
    LT_CHECK_INT(give_up(1, 2, port), 0);
    LT_CHECK(all_ended_well(&pid, 1));
}

/* One of three comes; it learns that another did not. */
static int wait_in_vain(int rank, int world, int port)
{
    lt_group *g;

    return join(&g, rank, world, port, patience) == LT_EFAULT &&
                   strstr(lt_err_text(), "rank 2 did not connect to ")
               ? 0
               : 1;
}

LT_TEST(tcp_a_rank_that_does_not_come_is_named)
{
    int port = free_port();
    pid_t pid = start_rank(wait_in_vain, 1, 3, port);
    lt_group *g;

    LT_CHECK_FAILS(join(&g, 0, 3, port, 1.5), LT_EFAULT, "rank 2 did not connect to ");
    LT_CHECK(strstr(lt_err_text(), "within 1.5 s"));
    LT_CHECK(all_ended_well(&pid, 1));
}

static int send_garbage(int rank, int world, int port)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    static const char garbage[512] = "GET / HTTP/1.1\r\n";
    char byte;
    int fd = -1;

    (void)rank, (void)world;
    for (int i = 0; i < 200; i++) {
        fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
            break;
        close(fd);
        usleep(20000);
    }
    if (send(fd, garbage, sizeof garbage, MSG_NOSIGNAL) != (ssize_t)sizeof garbage)
        return 1;
    return recv(fd, &byte, 1, 0) <= 0 ? 0 : 2; /* hung up, no answer */
}

static int come_from_another_job(int rank, int world, int port)
{
    lt_launch launch;
    lt_group *g;

    set_job(4712, rank, world, port);
    return lt_launch_read(&launch, true) == LT_OK &&
                   lt_group_tcp_open(&g, &launch, patience) == LT_EFAULT &&
                   strstr(lt_err_text(), "refused it: a rank of another job")
               ? 0
               : 1;
}

static int come_with_another_world(int rank, int world, int port)
{
    lt_group *g;

    return join(&g, rank, world + 1, port, patience) == LT_EFAULT &&
                   strstr(lt_err_text(), "refused it: another number of ranks")
               ? 0
               : 1;
}

/* Strangers come first; they are turned away and the ranks meet. */
static int come_late(int rank, int world, int port)
{
    usleep(300000);
    return join_and_talk(rank, world, port);
}

/* Twenty that say nothing; then the rank, which has not time to wait for their silence to end. */
static int come_after_silent_ones(int rank, int world, int port)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int silent = 0;

    for (int i = 0; i < 400 && silent < 20; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) {
            silent++; /* and stays open */
        } else {
            close(fd);
            usleep(10000);
        }
    }
    return silent == 20 ? join_and_talk(rank, world, port) : 30;
}

LT_TEST(tcp_silent_strangers_hold_nobody_up)
{
    int port = free_port();
    pid_t pid = start_rank(come_after_silent_ones, 1, 2, port);

    LT_CHECK_INT(join_and_talk(0, 2, port), 0);
    LT_CHECK(all_ended_well(&pid, 1));
}

LT_TEST(tcp_strangers_are_refused)
{
    int port = free_port();
    pid_t pids[4] = { start_rank(send_garbage, 0, 0, port),
                      start_rank(come_from_another_job, 1, 2, port),
                      start_rank(come_with_another_world, 1, 2, port),
                      start_rank(come_late, 1, 2, port) };

    LT_CHECK_INT(join_and_talk(0, 2, port), 0);
    LT_CHECK(all_ended_well(pids, 4));
}

static int refuse_cpu(int rank, int world, int port)
{
    lt_group *g;
    lt_dev *dev;
    lt_comm *comm;
    bool refused;

    if (join(&g, rank, world, port, patience) != LT_OK ||
        lt_dev_open(&dev, "cpu", &(lt_dev_options){ .n_threads = 1 }) != LT_OK)
        return 20;
    refused = lt_comm_open(&comm, dev, g, false) == LT_EUSAGE &&
              strstr(lt_err_text(), "srun --mpi=pmix") && strstr(lt_err_text(), "mpirun");
    lt_dev_close(dev);
    lt_group_close(g);
    return refused ? 0 : 1;
}

LT_TEST(tcp_cpu_ranks_need_mpi)
{
    int port = free_port();
    pid_t pid = start_rank(refuse_cpu, 1, 2, port);

    LT_CHECK_INT(refuse_cpu(0, 2, port), 0);
    LT_CHECK(all_ended_well(&pid, 1));
}
