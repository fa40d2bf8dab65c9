/* comm/launch.c - who started this process, read from the environment. */
#include "comm/launch.h"

#include "base/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The ids of the steps that SLURM makes for itself (batch script, interactive shell, ...) begin
 * here; srun counts from 0. */
static const int64_t slurm_own_steps = INT64_C(0xfffffff0);

/* The variable of the two that is set; the first when none is. */
static const char *either(const char *name, const char *other)
{
    return !getenv(name) && getenv(other) ? other : name;
}

static lt_err read_number(int64_t *out, const char *name, int64_t min, int64_t max)
{
    const char *text = getenv(name);

    if (!text || lt_parse_int(text, out) != LT_OK || *out < min || *out > max)
        return lt_fail(LT_EUSAGE,
                       "environment: %s: expected a number from %lld to %lld, found \"%s\"", name,
                       (long long)min, (long long)max, text ? text : "");
    return LT_OK;
}

static lt_err read_ranks(lt_launch *out, const char *rank_name, const char *size_name)
{
    int64_t rank, world;
    lt_err err;

    LT_TRY(err = read_number(&world, size_name, 1, INT32_MAX));
    LT_TRY(err = read_number(&rank, rank_name, 0, world - 1));
    out->rank = (int)rank;
    out->world = (int)world;
fail:
    return err;
}

/* Does srun's own step surround this process? */
static bool is_in_step(void)
{
    const char *text = getenv(either("SLURM_STEP_ID", "SLURM_STEPID"));
    int64_t id;

    return text && lt_parse_int(text, &id) == LT_OK && id >= 0 && id < slurm_own_steps;
}

lt_err lt_launch_first_host(char *out, size_t size, const char *list)
{
    const char *at = list;
    size_t n = 0;

    while (*at && *at != ',') {
        if (*at == '[') {
            for (at++; *at >= '0' && *at <= '9'; at++)
                if (n < size)
                    out[n++] = *at;
            if (!*at || !strchr("-,]", *at) || at[-1] == '[' || !(at = strchr(at, ']')))
                goto fail;
        } else if (n < size) {
            out[n++] = *at;
        }
        at++;
    }
    if (n == 0 || n >= size)
        goto fail;
    out[n] = '\0';
    return LT_OK;
fail:
    return lt_fail(LT_EUSAGE,
                   "environment: SLURM's host list: expected names like node[01-03,7],x, "
                   "found \"%s\"",
                   list);
}

static lt_err read_slurm(lt_launch *out)
{
    const char *hosts = getenv(either("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"));
    int64_t job, step, port;
    lt_err err;

    if (!hosts)
        return lt_fail(LT_EUSAGE,
                       "environment: srun started %d ranks, but neither "
                       "SLURM_STEP_NODELIST nor SLURM_JOB_NODELIST is set",
                       out->world);
    LT_TRY(err = lt_launch_first_host(out->first_host, sizeof out->first_host, hosts));
    LT_TRY(err = read_number(&job, either("SLURM_JOB_ID", "SLURM_JOBID"), 0, UINT32_MAX));
    LT_TRY(err = read_number(&step, either("SLURM_STEP_ID", "SLURM_STEPID"), 0, UINT32_MAX));
    out->job = (uint64_t)job << 32 | (uint64_t)step;
    port = LT_LAUNCH_PORT_FIRST + (job + 101 * step) % LT_LAUNCH_N_PORTS;
    if (getenv("LT_PORT"))
        LT_TRY(err = read_number(&port, "LT_PORT", 1, UINT16_MAX));
    out->port = (int)port;
fail:
    return err;
}

lt_err lt_launch_read(lt_launch *out, bool have_mpi)
{
    const char *size_name = either("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"), *local = NULL;
    bool in_step = is_in_step(), mpi_of_srun = in_step && have_mpi;
    lt_err err;

    *out = (lt_launch){ .launcher = LT_LAUNCH_MPI, .world = 1 };
    if (getenv("OMPI_COMM_WORLD_RANK") || getenv("OMPI_COMM_WORLD_SIZE")) {
        out->by = "mpirun of Open MPI";
        local = getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
        LT_TRY(err = read_ranks(out, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"));
    } else if ((getenv("PMI_RANK") || getenv("PMI_SIZE")) && (!in_step || have_mpi)) {
        out->by = in_step ? "srun --mpi=pmi2" : "mpirun of MPICH";
        local = getenv(in_step ? either("MPI_LOCALNRANKS", "SLURM_STEP_TASKS_PER_NODE")
                               : "MPI_LOCALNRANKS");
        LT_TRY(err = read_ranks(out, "PMI_RANK", "PMI_SIZE"));
    } else if (getenv("PMIX_RANK") && mpi_of_srun) {
        out->by = "srun --mpi=pmix";
        local = getenv("SLURM_STEP_TASKS_PER_NODE"); /* "4(x2),3": the first node's */
        LT_TRY(err = read_ranks(out, "PMIX_RANK", size_name));
    } else if (getenv("PMIX_RANK") && !getenv("SLURM_JOB_ID")) {
        return lt_fail(LT_EUSAGE, "environment: PMIX_RANK is set, but nothing says how many ranks "
                                  "there are; start them with mpirun -n N");
    } else if (in_step && getenv("SLURM_PROCID")) {
        out->launcher = LT_LAUNCH_SLURM;
        out->by = "srun";
        LT_TRY(err = read_ranks(out, "SLURM_PROCID", size_name));
        if (out->world > 1)
            LT_TRY(err = read_slurm(out));
    } else {
        out->launcher = LT_LAUNCH_NONE;
        out->by = "hand";
    }
    out->local_world = local ? (int)strtol(local, NULL, 10) : 0;
    return LT_OK;
fail:
    return err;
}
