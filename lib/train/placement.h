/* train/placement.h - which device, GPU and CPUs each rank of a job uses (device_map: balanced).
 *
 * Ranks of a host take its GPUs in their order, one each; the process is bound to its share of the
 * CPUs that are near its GPU.  CPU ranks are not bound: they get as many threads as their share of
 * the CPUs that their launcher lets them use.  A binding by the launcher (mpirun of Open MPI gives
 * each rank one core unless told --bind-to none) is somebody's decision: it is shown, not
 * undone. */
#ifndef LT_TRAIN_PLACEMENT_H
#define LT_TRAIN_PLACEMENT_H

#include "base/cpus.h"
#include "comm/group.h"
#include "train/engine.h"

/* What a rank knows of its own place; travels as bytes, so it is zeroed before it is filled. */
typedef struct lt_place {
    char host[LT_HOST_NAME_BYTES];
    char gpu[LT_BUS_ID_BYTES]; /* "": this rank has none */
    int n_gpus;                /* that this rank sees */
    lt_cpus allowed;
    lt_cpus near; /* of these, those near the GPU; none known, or no GPU: allowed */
} lt_place;

/* What follows for one rank. */
typedef struct lt_placement {
    bool gpu;      /* each rank has a GPU of its own */
    lt_cpus cpus;  /* near, shared with the ranks of this host that have the same */
    int n_threads; /* one a CPU of these; one where ranks are more than CPUs */
} lt_placement;

/* From the places of all ranks, the same verdict on each.  LT_EUSAGE when two ranks share a GPU, or
 * some ranks have a GPU and others none. */
LT_MUST_USE lt_err lt_placement_decide(lt_placement *out, const lt_place *all, int world, int rank);

/* All ranks together, before threads are started: fills in o->device ("auto" becomes what all ranks
 * can be) and o->dev, binds the process, and rank 0 tells where the ranks of its host are.  A group
 * of one is only asked for the GPU that it insists on: its CPUs, and "auto", are left to
 * lt_dev_open. */
LT_MUST_USE lt_err lt_place_ranks(lt_engine_options *o, lt_group *g);

#endif
