/* comm/comm_parts.h - what the implementations of lt_comm share among themselves and with tests. */
#ifndef LT_COMM_COMM_PARTS_H
#define LT_COMM_COMM_PARTS_H

#include "comm/comm.h"

/* Shapes and types are as the contract of the slot says; a bug otherwise. */
void lt_comm_check_reduce(const lt_comm *comm, lt_tensor out, lt_tensor in);
void lt_comm_check_gather(const lt_comm *comm, lt_tensor out, lt_tensor in);
void lt_comm_check_broadcast(const lt_comm *comm, lt_tensor x, int root);

/* in of each rank is part `rank` of out already */
bool lt_comm_is_in_place(const lt_comm *comm, lt_tensor out, lt_tensor in);

/* out[i] = parts[0][i] + parts[1][i] + ...: in this order, in fp32, rounded once.  fp32, bf16,
 * fp16; out may be one of the parts. */
void lt_rank_sum(void *out, lt_dtype type, const void *const *parts, int n_parts, size_t n);

/* lt_comm_mpi_open with the bytes that one rank sends another at a time of a sum (a multiple of 4,
 * so that pieces are aligned), and of anything else; the results do not depend on either. */
LT_MUST_USE lt_err lt_comm_mpi_open_sized(lt_comm **out, lt_dev *dev, lt_group *group, bool debug,
                                          size_t piece_bytes, size_t message_bytes);

#endif
