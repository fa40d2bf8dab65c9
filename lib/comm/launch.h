/* comm/launch.h - what the environment says about the job this process is a rank of.
 *
 * In this order; the first that is there decides:
 *   OMPI_COMM_WORLD_RANK, _SIZE                mpirun of Open MPI
 *   PMI_RANK, PMI_SIZE                         mpirun of MPICH (Hydra), srun --mpi=pmi2
 *   PMIX_RANK with SLURM_STEP_NUM_TASKS        srun --mpi=pmix
 *   SLURM_STEP_ID, SLURM_PROCID, SLURM_STEP_NUM_TASKS   srun alone
 * SLURM_NTASKS stands in where SLURM_STEP_NUM_TASKS is not set.  The shell of an sbatch script or
 * of salloc has SLURM_PROCID and SLURM_NTASKS too, but no step of srun around it (no SLURM_STEP_ID,
 * or one of SLURM's own steps, which number from 2^32 - 16): what is started there is one process
 * by hand.  A build without MPI takes srun --mpi=... as srun alone.
 *
 * SLURM's ranks meet at the first host of SLURM_STEP_NODELIST (else SLURM_JOB_NODELIST), where srun
 * places rank 0, at LT_PORT or a port made of the ids of job and step. */
#ifndef LT_COMM_LAUNCH_H
#define LT_COMM_LAUNCH_H

#include "comm/group.h"

enum { LT_LAUNCH_PORT_FIRST = 20000, LT_LAUNCH_N_PORTS = 10000, LT_FIRST_HOST_BYTES = 256 };

typedef struct lt_launch {
    lt_launcher launcher;
    int rank, world;
    int local_world; /* ranks of this host as the launcher says; 0: it does not */
    const char *by;  /* "mpirun of Open MPI", ...; what to say about the start */
    /* srun alone: */
    uint64_t job; /* job id << 32 | step id */
    int port;
    char first_host[LT_FIRST_HOST_BYTES];
} lt_launch;

/* LT_EUSAGE names the variable that makes no sense. */
LT_MUST_USE lt_err lt_launch_read(lt_launch *out, bool have_mpi);

/* The first name of a SLURM host list: "node[01-03,7],x" -> "node01".  size bounds it. */
LT_MUST_USE lt_err lt_launch_first_host(char *out, size_t size, const char *list);

#endif
