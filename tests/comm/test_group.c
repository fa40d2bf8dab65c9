/* test_group.c - what the environment says about a job, and the group of one. */
#include "comm/group_parts.h"
#include "lt_test.h"

#include <stdlib.h>

static const char *const variables[] = {
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "PMI_RANK",
    "PMI_SIZE",
    "MPI_LOCALNRANKS",
    "PMIX_RANK",
    "SLURM_JOB_ID",
    "SLURM_JOBID",
    "SLURM_STEP_ID",
    "SLURM_STEPID",
    "SLURM_PROCID",
    "SLURM_NTASKS",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_STEP_TASKS_PER_NODE",
    "SLURM_JOB_NODELIST",
    "SLURM_STEP_NODELIST",
    "LT_PORT",
};

/* Exactly these "NAME=value" texts, up to NULL, of the variables that count. */
static void set_environment(const char *const *texts)
{
    for (size_t i = 0; i < LT_COUNT(variables); i++)
        unsetenv(variables[i]);
    for (; *texts; texts++) {
        char *text = lt_strdup(*texts), *value = strchr(text, '=');

        *value++ = '\0';
        setenv(text, value, 1);
        free(text);
    }
}
#define ENVIRONMENT(...) set_environment((const char *const[]){ __VA_ARGS__, NULL })

static void check_launch(lt_launcher launcher, int rank, int world, const char *by, bool have_mpi)
{
    lt_launch l;

    LT_CHECK_OK(lt_launch_read(&l, have_mpi));
    LT_CHECK_INT(l.launcher, launcher);
    LT_CHECK_INT(l.rank, rank);
    LT_CHECK_INT(l.world, world);
    LT_CHECK_STR(l.by, by);
}

LT_TEST(launch_by_hand)
{
    lt_group *g;
    int rank = -1, world = -1;

    ENVIRONMENT(NULL);
    check_launch(LT_LAUNCH_NONE, 0, 1, "hand", true);
    LT_CHECK_INT(lt_group_peek(&rank, &world), LT_LAUNCH_NONE);
    LT_CHECK(rank == 0 && world == 1);
    LT_CHECK_OK(lt_group_open(&g));
    LT_CHECK(g->world == 1 && g->rank == 0 && g->local_world == 1 && g->n_hosts == 1);
    LT_CHECK(g->host[0] && g->launcher == LT_LAUNCH_NONE);
    lt_group_close(g);
}

LT_TEST(launch_by_mpirun)
{
    int rank = -1, world = -1;

    ENVIRONMENT("OMPI_COMM_WORLD_RANK=2", "OMPI_COMM_WORLD_SIZE=4", "PMIX_RANK=2", "SLURM_PROCID=0",
                "SLURM_NTASKS=1", "SLURM_STEP_ID=0");
    check_launch(LT_LAUNCH_MPI, 2, 4, "mpirun of Open MPI", true);
    check_launch(LT_LAUNCH_MPI, 2, 4, "mpirun of Open MPI", false);
    LT_CHECK_INT(lt_group_peek(&rank, &world), LT_LAUNCH_MPI);
    LT_CHECK(rank == 2 && world == 4);
    ENVIRONMENT("PMI_RANK=0", "PMI_SIZE=3", "MPI_LOCALNRANKS=3");
    check_launch(LT_LAUNCH_MPI, 0, 3, "mpirun of MPICH", true);
}

LT_TEST(launch_by_srun)
{
    lt_launch l;

    ENVIRONMENT("SLURM_JOB_ID=123456", "SLURM_STEP_ID=2", "SLURM_PROCID=5",
                "SLURM_STEP_NUM_TASKS=8", "SLURM_NTASKS=16", "PMIX_RANK=5",
                "SLURM_STEP_NODELIST=gpu[07-08]", "SLURM_JOB_NODELIST=gpu[01-09]");
    check_launch(LT_LAUNCH_MPI, 5, 8, "srun --mpi=pmix", true);
    check_launch(LT_LAUNCH_SLURM, 5, 8, "srun", false);
    unsetenv("PMIX_RANK");
    check_launch(LT_LAUNCH_SLURM, 5, 8, "srun", true);
    LT_CHECK_OK(lt_launch_read(&l, true));
    LT_CHECK_STR(l.first_host, "gpu07");
    LT_CHECK_INT(l.port, 20000 + 3456 + 2 * 101);
    LT_CHECK(l.job == (UINT64_C(123456) << 32 | 2));
    setenv("LT_PORT", "777", 1);
    LT_CHECK_OK(lt_launch_read(&l, true));
    LT_CHECK_INT(l.port, 777);
    setenv("PMI_RANK", "5", 1);
    setenv("PMI_SIZE", "8", 1);
    check_launch(LT_LAUNCH_MPI, 5, 8, "srun --mpi=pmi2", true);
    check_launch(LT_LAUNCH_SLURM, 5, 8, "srun", false);
    setenv("SLURM_STEP_TASKS_PER_NODE", "4(x2)", 1);
    LT_CHECK_OK(lt_launch_read(&l, true));
    LT_CHECK_INT(l.local_world, 4); /* Hydra's MPI_LOCALNRANKS is not there */

    /* older names, and a step that says nothing of its own */
    ENVIRONMENT("SLURM_JOBID=9", "SLURM_STEPID=0", "SLURM_PROCID=0", "SLURM_NTASKS=2",
                "SLURM_JOB_NODELIST=a,b");
    LT_CHECK_OK(lt_launch_read(&l, true));
    LT_CHECK(l.launcher == LT_LAUNCH_SLURM && l.world == 2);
    LT_CHECK_STR(l.first_host, "a");
}

/* What is started in the shell of a job, not by srun, is one process. */
LT_TEST(launch_inside_a_batch_script)
{
    ENVIRONMENT("SLURM_JOB_ID=77", "SLURM_PROCID=0", "SLURM_NTASKS=4", "SLURM_JOB_NODELIST=a,b");
    check_launch(LT_LAUNCH_NONE, 0, 1, "hand", true);
    ENVIRONMENT("SLURM_JOB_ID=77", "SLURM_PROCID=0", "SLURM_NTASKS=4", "SLURM_STEP_ID=4294967290",
                "PMIX_RANK=0");
    check_launch(LT_LAUNCH_NONE, 0, 1, "hand", true); /* salloc's interactive step */
    ENVIRONMENT("SLURM_JOB_ID=77", "SLURM_STEP_ID=0", "SLURM_PROCID=0", "SLURM_NTASKS=1");
    check_launch(LT_LAUNCH_SLURM, 0, 1, "srun", true); /* one task: nobody to meet */
}

LT_TEST(launch_refuses_what_makes_no_sense)
{
    lt_launch l;
    lt_group *g;
    int rank = -1, world = -1;

    ENVIRONMENT("OMPI_COMM_WORLD_RANK=4", "OMPI_COMM_WORLD_SIZE=4");
    LT_CHECK_FAILS(lt_launch_read(&l, true), LT_EUSAGE,
                   "OMPI_COMM_WORLD_RANK: expected a number from 0 to 3, found \"4\"");
    LT_CHECK_FAILS(lt_group_open(&g), LT_EUSAGE, "OMPI_COMM_WORLD_RANK");
    LT_CHECK_INT(lt_group_peek(&rank, &world), LT_LAUNCH_NONE);
    LT_CHECK(rank == 0 && world == 1);
    ENVIRONMENT("PMI_RANK=0", "PMI_SIZE=x");
    LT_CHECK_FAILS(lt_launch_read(&l, true), LT_EUSAGE, "PMI_SIZE");
    ENVIRONMENT("PMI_RANK=1");
    LT_CHECK_FAILS(lt_launch_read(&l, true), LT_EUSAGE, "PMI_SIZE: expected a number from 1");
    ENVIRONMENT("PMI_SIZE=4");
    LT_CHECK_FAILS(lt_launch_read(&l, true), LT_EUSAGE, "PMI_RANK: expected a number from 0 to 3");
    ENVIRONMENT("OMPI_COMM_WORLD_RANK=1");
    LT_CHECK_FAILS(lt_launch_read(&l, true), LT_EUSAGE, "OMPI_COMM_WORLD_SIZE: expected a number");
    ENVIRONMENT("OMPI_COMM_WORLD_SIZE=4");
    LT_CHECK_FAILS(lt_launch_read(&l, true), LT_EUSAGE, "OMPI_COMM_WORLD_RANK: expected a number");
    ENVIRONMENT("PMIX_RANK=1");
    LT_CHECK_FAILS(lt_launch_read(&l, true), LT_EUSAGE, "mpirun -n N");
    ENVIRONMENT("SLURM_JOB_ID=1", "SLURM_STEP_ID=0", "SLURM_PROCID=0");
    LT_CHECK_FAILS(lt_launch_read(&l, true), LT_EUSAGE, "SLURM_STEP_NUM_TASKS");
    setenv("SLURM_NTASKS", "2", 1);
    LT_CHECK_FAILS(lt_launch_read(&l, true), LT_EUSAGE, "SLURM_JOB_NODELIST");
    setenv("SLURM_JOB_NODELIST", "n[1", 1);
    LT_CHECK_FAILS(lt_launch_read(&l, true), LT_EUSAGE, "host list");
    setenv("SLURM_JOB_NODELIST", "n", 1);
    setenv("LT_PORT", "70000", 1);
    LT_CHECK_FAILS(lt_launch_read(&l, true), LT_EUSAGE, "LT_PORT: expected a number from 1 to");
}

LT_TEST(launch_finds_the_first_host)
{
    static const char *const good[][2] = {
        { "node[01-03,7],x", "node01" },
        { "a", "a" },
        { "a,b", "a" },
        { "rack[1-2]n[003,9].site.org", "rack1n003.site.org" },
        { "n[5]", "n5" },
        { "10.0.0.1", "10.0.0.1" },
    };
    static const char *const bad[] = { "", ",a", "n[1", "n[", "n[]", "n[-1]", "n[1x]", "n[1-2" };
    char host[32];

    for (size_t i = 0; i < LT_COUNT(good); i++) {
        LT_CHECK_OK(lt_launch_first_host(host, sizeof host, good[i][0]));
        LT_CHECK_STR(host, good[i][1]);
    }
    for (size_t i = 0; i < LT_COUNT(bad); i++)
        LT_CHECK_FAILS(lt_launch_first_host(host, sizeof host, bad[i]), LT_EUSAGE, bad[i]);
    LT_CHECK_OK(lt_launch_first_host(host, 5, "node,b"));
    LT_CHECK_FAILS(lt_launch_first_host(host, 4, "node,b"), LT_EUSAGE, "node");
}

LT_TEST(a_build_without_mpi_says_so)
{
    lt_group *g;

    if (lt_mpi_library()[0]) {
        lt_test_skip("this build has MPI");
        return;
    }
    ENVIRONMENT("OMPI_COMM_WORLD_RANK=0", "OMPI_COMM_WORLD_SIZE=2");
    LT_CHECK_FAILS(lt_group_open(&g), LT_ENOTSUP,
                   "started by mpirun of Open MPI as rank 0 of 2, but this lt was built without");
}

LT_TEST(group_of_one_talks_to_itself)
{
    lt_group *g = lt_group_self_new();
    lt_buf text = { 0 }, all[1];
    int in = 42, out = 0;

    LT_CHECK_OK(lt_group_all_gather(g, &out, &in, sizeof in));
    LT_CHECK_INT(out, 42);
    LT_CHECK_OK(lt_group_barrier(g));
    LT_CHECK_OK(lt_group_gather(g, &text, all));
    LT_CHECK(all[0].size == 0 && all[0].data);
    lt_buf_release(&all[0]);
    lt_buf_printf(&text, "hello");
    LT_CHECK_OK(lt_group_broadcast(g, &text, 0));
    LT_CHECK_STR(text.data, "hello");
    LT_CHECK_OK(lt_group_gather(g, &text, all));
    LT_CHECK_STR(all[0].data, "hello");
    LT_CHECK_INT(all[0].size, 5);
    lt_buf_release(&all[0]);
    LT_CHECK_OK(lt_group_agree(g, LT_OK));
    LT_CHECK_FAILS(lt_group_agree(g, lt_fail(LT_EFORMAT, "torn page")), LT_EFORMAT, "torn page");
    LT_CHECK_STR(lt_err_text(), "torn page");
    lt_group_abandon(g);
    LT_CHECK_FAILS(lt_group_barrier(g), LT_EFAULT, "has lost the other ranks");
    LT_CHECK_FAILS(lt_group_agree(g, lt_fail(LT_EIO, "disk")), LT_EIO, "disk");
    lt_buf_release(&text);
    lt_group_close(g);
}
