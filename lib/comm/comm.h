/* comm/comm.h - collectives on device tensors, enqueued on LT_STREAM_COMM.
 *
 * A group (comm/group.h) says who the ranks are; an lt_comm moves tensors among them: self/ for one
 * rank, mpi/ for CPU ranks, nccl/ for GPU ranks.  Sums are plain sums (the loss is counted, not
 * averaged, so nobody divides).  Every rank calls the same collectives in the same order.
 *
 * Calls return at once, also on a CPU, where the communication stream is a thread.  The caller
 * orders streams by events: it makes COMM wait for what computes the input, and whoever reads the
 * output waits for COMM.  A failure sticks to the lt_comm; later collectives do nothing, and
 * `check` hands it out.
 *
 * There is no all_reduce: it is a reduce_scatter, then an all_gather, which is how a ring does it
 * anyway, and stage 0 gets the bits of stage 1.  A barrier is of the group. */
#ifndef LT_COMM_COMM_H
#define LT_COMM_COMM_H

#include "comm/group.h"
#include "device/device.h"

typedef struct lt_comm lt_comm;

/* Tensors are flat vectors (1, n) in the device's memory. */
typedef struct lt_comm_ops {
    const char *name; /* "self", "mpi", "nccl" */
    /* in (1, world * n) of each rank -> out (1, n): the sum of everybody's part `rank`.  fp32,
     * bf16, fp16, out of in's type; out may be part `rank` of in itself.  self and mpi add in the
     * order of the ranks, in fp32, and round once. */
    void (*reduce_scatter)(lt_comm *comm, lt_tensor out, lt_tensor in);
    /* in (1, n) of each rank -> out (1, world * n) in rank order, any type; in may be part `rank`
     * of out */
    void (*all_gather)(lt_comm *comm, lt_tensor out, lt_tensor in);
    /* x (1, n) of rank `root` to everybody, any type */
    void (*broadcast)(lt_comm *comm, lt_tensor x, int root);
    /* Collectives between the two may be launched as one; not nested. */
    void (*group_begin)(lt_comm *comm);
    void (*group_end)(lt_comm *comm);
    /* The first failure so far, without waiting; LT_OK when there is none. */
    lt_err (*check)(lt_comm *comm);
    void (*close)(lt_comm *comm); /* waits for what is enqueued, unless it failed */
} lt_comm_ops;

/* Implementations embed this as their first member. */
struct lt_comm {
    const lt_comm_ops *ops;
    lt_dev *dev;
    lt_group *group;
    int rank, world;
};

/* Whichever suits the device and the number of ranks; borrows both.  debug: each collective is
 * compared among the ranks (kind, type, elements) before it runs, and a difference is an error that
 * names rank and call.  One rank that asks, or has LT_DEBUG_COMM in its environment, is enough. */
LT_MUST_USE lt_err lt_comm_open(lt_comm **out, lt_dev *dev, lt_group *group, bool debug);
void lt_comm_close(lt_comm *comm); /* NULL is fine */

/* The implementations, for lt_comm_open and tests. */
LT_MUST_USE lt_err lt_comm_self_open(lt_comm **out, lt_dev *dev, lt_group *group);
LT_MUST_USE lt_err lt_comm_mpi_open(lt_comm **out, lt_dev *dev, lt_group *group, bool debug);
LT_MUST_USE lt_err lt_comm_nccl_open(lt_comm **out, lt_dev *dev, lt_group *group, bool debug);

#endif
