/* comm/mpi/group_mpi.c - the control plane over MPI.
 *
 * The main thread talks here while the communication thread runs collectives (comm_mpi.c), so MPI
 * has to provide MPI_THREAD_MULTIPLE (Open MPI and MPICH do unless built otherwise); with less,
 * joining is refused.  Errors return as sentences.  A death that MPI does not report ends the job
 * through mpirun.  After a failure, or when this rank abandoned the group, MPI_Finalize is not
 * called: it waits for all ranks. */
#include "base/log.h"
#include "base/thread.h"
#include "comm/group_parts.h"
#include "comm/mpi/mpi_parts.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* MPI counts in int; longer texts go in messages of this size. */
enum { MESSAGE_BYTES = 1 << 30, TAG_GATHER = 1 };

typedef struct mpi_group {
    lt_group base;
    MPI_Comm comm;
} mpi_group;

/* "Open MPI v4.1.4, package: ..." gives "Open MPI v4.1.4", and "MPICH Version:\t4.0.2\n..." gives
 * "MPICH 4.0.2". */
const char *lt_mpi_library(void)
{
    static char name[64];
    char text[MPI_MAX_LIBRARY_VERSION_STRING], *word;
    size_t n = 0;
    int len;

    if (name[0] || MPI_Get_library_version(text, &len) != MPI_SUCCESS)
        return name;
    for (int i = 0; i < len && !strchr(",\n", text[i]) && n < sizeof name - 1; i++)
        if (!isspace((unsigned char)text[i]))
            name[n++] = text[i];
        else if (n > 0 && name[n - 1] != ' ')
            name[n++] = ' ';
    word = strstr(name, "Version: ");
    if (word)
        memmove(word, word + 9, strlen(word + 9) + 1);
    return name;
}

static lt_err wait_one(const lt_group *g, MPI_Request *request)
{
    MPI_Status status;

    return lt_mpi_wait(g, request, &status, 1);
}

static lt_err mpi_all_gather(lt_group *g, void *all, const void *mine, size_t bytes)
{
    MPI_Request request;
    lt_err err;

    LT_BUG_ON(bytes > MESSAGE_BYTES);
    LT_TRY(err = lt_mpi_check(MPI_Iallgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE,
                                             ((mpi_group *)g)->comm, &request),
                              "MPI_Iallgather"));
    LT_TRY(err = wait_one(g, &request));
fail:
    return err;
}

static int message(uint64_t bytes, uint64_t done)
{
    return bytes - done < MESSAGE_BYTES ? (int)(bytes - done) : MESSAGE_BYTES;
}

static lt_err mpi_broadcast(lt_group *g, void *data, size_t bytes, int root)
{
    MPI_Request request;
    lt_err err = LT_OK;

    for (size_t done = 0; done < bytes; done += MESSAGE_BYTES) {
        LT_TRY(err = lt_mpi_check(MPI_Ibcast((char *)data + done, message(bytes, done), MPI_BYTE,
                                             root, ((mpi_group *)g)->comm, &request),
                                  "MPI_Ibcast"));
        LT_TRY(err = wait_one(g, &request));
    }
fail:
    return err;
}

static lt_err receive_part(mpi_group *m, int rank, void *part, uint64_t bytes)
{
    MPI_Request request;
    lt_err err = LT_OK;

    for (uint64_t done = 0; done < bytes; done += MESSAGE_BYTES) {
        LT_TRY(err = lt_mpi_check(MPI_Irecv((char *)part + done, message(bytes, done), MPI_BYTE,
                                            rank, TAG_GATHER, m->comm, &request),
                                  "MPI_Irecv"));
        LT_TRY(err = wait_one(&m->base, &request));
    }
fail:
    return err;
}

static lt_err send_part(mpi_group *m, const void *part, uint64_t bytes)
{
    MPI_Request request;
    lt_err err = LT_OK;

    for (uint64_t done = 0; done < bytes; done += MESSAGE_BYTES) {
        LT_TRY(err = lt_mpi_check(MPI_Isend((const char *)part + done, message(bytes, done),
                                            MPI_BYTE, 0, TAG_GATHER, m->comm, &request),
                                  "MPI_Isend"));
        LT_TRY(err = wait_one(&m->base, &request));
    }
fail:
    return err;
}

static lt_err mpi_gather(lt_group *g, const void *mine, void *const *parts, const uint64_t *bytes)
{
    mpi_group *m = (mpi_group *)g;
    lt_err err = LT_OK;

    if (g->rank > 0)
        return send_part(m, mine, bytes[g->rank]);
    if (bytes[0] > 0)
        memcpy(parts[0], mine, bytes[0]);
    for (int r = 1; r < g->world; r++)
        LT_TRY(err = receive_part(m, r, parts[r], bytes[r]));
fail:
    return err;
}

static void mpi_close(lt_group *g)
{
    mpi_group *m = (mpi_group *)g;

    if (!atomic_load(&g->failed)) {
        MPI_Comm_free(&m->comm);
        MPI_Finalize();
    }
    free(m);
}

static const lt_group_ops mpi_ops = { .all_gather = mpi_all_gather,
                                      .broadcast = mpi_broadcast,
                                      .gather = mpi_gather,
                                      .close = mpi_close };

/* Our own waits sleep (mpi_parts.c), but MPI also waits by itself, in MPI_Init and the like.  A
 * rank computes in one thread at least and communicates in another: where that is more than the
 * cores that this process may use, MPI shall give its core away.  The user's word wins. */
static void ask_for_yield(const lt_launch *launch)
{
    if (2L * launch->local_world <= lt_cpu_count())
        return;
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    setenv("MPIR_CVAR_POLLS_BEFORE_YIELD", "1", 0); /* MPICH */
}

/* MPI sees another world than the launcher: they are not of one kind. */
static lt_err refuse_world(const lt_launch *launch, int world)
{
    const char *library = lt_mpi_library(), *start = "mpirun of MPICH (Debian: mpirun.mpich)";
    const char *step = "srun --mpi=pmi2, or inside sbatch with ";

    if (strncmp(library, "Open MPI", 8) == 0) {
        start = "mpirun of Open MPI (Debian: mpirun.openmpi)";
        step = "srun --mpi=pmix, or inside sbatch with ";
    }
    return lt_fail(LT_EUSAGE,
                   "%s started rank %d of %d, but this lt was built with %s, which finds %d; "
                   "start it with %s%s",
                   launch->by, launch->rank, launch->world, library, world,
                   strncmp(launch->by, "srun", 4) == 0 ? step : "", start);
}

lt_err lt_group_mpi_open(lt_group **out, const lt_launch *launch)
{
    mpi_group *m = lt_new0(sizeof *m);
    int started = 0, provided = 0, rank, world;
    lt_err err;

    LT_TRY(err = lt_mpi_check(MPI_Initialized(&started), "MPI_Initialized"));
    if (started) {
        err = lt_fail(LT_EFAULT, "a process can join the ranks of an MPI job only once");
        started = 0; /* not by us */
        goto fail;
    }
    ask_for_yield(launch);
    LT_TRY(err = lt_mpi_check(MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided),
                              "MPI_Init_thread"));
    started = 1;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    LT_TRY(err = lt_mpi_check(MPI_Comm_size(MPI_COMM_WORLD, &world), "MPI_Comm_size"));
    LT_TRY(err = lt_mpi_check(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank"));
    if (world != launch->world)
        LT_TRY(err = refuse_world(launch, world));
    if (provided < MPI_THREAD_MULTIPLE)
        LT_TRY(err = lt_fail(LT_ENOTSUP,
                             "%s was built without support for threads that communicate at the "
                             "same time (MPI_THREAD_MULTIPLE); lt needs that",
                             lt_mpi_library()));
    started = 0; /* from here on a failure is this rank's alone: it waits for nobody */
    lt_group_init(&m->base, &mpi_ops, LT_LAUNCH_MPI, rank, world);
    LT_TRY(err = lt_mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &m->comm), "MPI_Comm_dup"));
    LT_TRY(err = lt_group_find_hosts(&m->base));
    *out = &m->base;
    return LT_OK;
fail:
    if (started)
        MPI_Finalize();
    free(m);
    return err;
}
