/* device/cuda/cuda_dnn_attention.h - causal attention and its gradient as cuDNN graphs.
 *
 * A graph is made for one shape; where the tensors lie is said at each run, by uid. */
#ifndef LT_DEVICE_CUDA_DNN_ATTENTION_H
#define LT_DEVICE_CUDA_DNN_ATTENTION_H

#include "device/cuda/cuda_dnn_graph.h"

enum dnn_attention_uid {
    DNN_UID_Q = 1,
    DNN_UID_K,
    DNN_UID_V,
    DNN_UID_OUT,
    DNN_UID_LSE,     /* (B, H, T) fp32, dense */
    DNN_UID_SCALE,   /* the host's floats: scale, -infinity, 1 */
    DNN_UID_NEG_INF, /* */
    DNN_UID_ONE,
    DNN_UID_DOUT, /* from here on the gradient's only */
    DNN_UID_DQ,
    DNN_UID_DK,
    DNN_UID_DV,
    DNN_UID_ROW_SUM, /* (B, H, T) fp32, room: sums of dout out */
    DNN_UID_DQ_SUM,  /* (B, H, T, D) fp32, room; only where the order of sums is free */
    DNN_UID_END,
};

/* All that a graph depends on; int64 throughout so that two can be compared as bytes. */
typedef struct dnn_attention_shape {
    int64_t grad, ordered; /* 0 or 1; ordered: every bit of the gradient is the same in each run */
    int64_t type;          /* dnn_type of all but lse */
    int64_t n_batch, n_head, n_kv_head, t, head_dim;
    int64_t kv_rows;                        /* of k and v from sequence to sequence */
    int64_t q, k, v, out, dq, dk, dv, dout; /* elements from row to row */
} dnn_attention_shape;

/* Adds the operations to a fresh graph. */
void cuda_dnn_attention_build(dnn_graph *g, const dnn_attention_shape *s);

#endif
