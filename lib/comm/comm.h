/* comm/comm.h - a group of ranks and its collectives on device tensors.
 *
 * Flat vectors (1, n) on the device's memory; sums are plain sums (the loss is counted, not
 * averaged, so nobody divides).  Every rank calls the same collectives in the same order.
 * comm/self is the group of one rank; comm/mpi and comm/nccl are chosen like device backends. */
#ifndef LT_COMM_COMM_H
#define LT_COMM_COMM_H

#include "device/device.h"

typedef struct lt_comm lt_comm;

typedef struct lt_comm_ops {
    /* in (1, world * n) of each rank -> out (1, n): the sum of everybody's part `rank` */
    lt_err (*reduce_scatter)(lt_comm *comm, lt_tensor out, lt_tensor in);
    /* in (1, n) of each rank -> out (1, world * n) in rank order */
    lt_err (*all_gather)(lt_comm *comm, lt_tensor out, lt_tensor in);
    /* sums of doubles in place: norms and counts */
    lt_err (*all_reduce)(lt_comm *comm, double *values, int n);
    lt_err (*barrier)(lt_comm *comm);
    void (*close)(lt_comm *comm);
} lt_comm_ops;

/* Implementations embed this as their first member. */
struct lt_comm {
    const lt_comm_ops *ops;
    lt_dev *dev;
    int rank, world;
};

/* The group of this process alone: out and in may be the same memory, then nothing moves. */
lt_comm *lt_comm_self_new(lt_dev *dev);
void lt_comm_close(lt_comm *comm); /* NULL is fine */

#endif
