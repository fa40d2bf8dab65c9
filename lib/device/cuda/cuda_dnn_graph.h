/* device/cuda/cuda_dnn_graph.h - a graph of cuDNN operations, from its first tensor to its runs.
 *
 * A graph is built in the order of its operations (cuDNN's pattern matcher minds it), finished
 * once, run often.  The first call that fails is kept and later ones do nothing, so building reads
 * as maths; cuda_dnn_graph_finish hands the failure out.  Tensors have rank 4: (batch, head, row,
 * column).  Real tensors carry a uid of the caller's choice below DNN_VIRTUAL_UIDS, by which a run
 * names their memory. */
#ifndef LT_DEVICE_CUDA_DNN_GRAPH_H
#define LT_DEVICE_CUDA_DNN_GRAPH_H

#include "device/cuda/cuda_dnn_api.h"

enum { DNN_MAX_DESCS = 160, DNN_MAX_OPS = 32, DNN_VIRTUAL_UIDS = 100 };

typedef struct dnn_layout {
    int64_t dim[4], stride[4]; /* elements */
} dnn_layout;

typedef struct dnn_graph {
    const dnn_api *api;
    dnn_handle handle;
    dnn_desc descs[DNN_MAX_DESCS]; /* all that must be destroyed, in order of creation */
    dnn_desc ops[DNN_MAX_OPS];
    dnn_desc plan; /* once finished */
    int n_descs, n_ops;
    int64_t next_uid;
    int64_t workspace_bytes; /* that a run needs, once finished */
    dnn_status status;       /* of the first call that failed */
    char error[256];         /* what it was */
} dnn_graph;

void cuda_dnn_graph_init(dnn_graph *g, const dnn_api *api, dnn_handle handle);
void cuda_dnn_graph_release(dnn_graph *g);

/* Memory that the caller names at each run. */
dnn_desc cuda_dnn_graph_real(dnn_graph *g, int64_t uid, dnn_type type, dnn_layout layout);
/* An intermediate result. */
dnn_desc cuda_dnn_graph_virtual(dnn_graph *g, dnn_type type, dnn_layout layout);
/* One fp32 on the host, read when a run is enqueued. */
dnn_desc cuda_dnn_graph_scalar(dnn_graph *g, int64_t uid);

/* c = a b for every batch and head; fewer heads of b are each used by a group of a's */
void cuda_dnn_graph_matmul(dnn_graph *g, dnn_desc c, dnn_desc a, dnn_desc b);
/* y = mode(x, b); b may be NULL; fp32 */
void cuda_dnn_graph_pointwise(dnn_graph *g, dnn_mode mode, dnn_desc y, dnn_desc x, dnn_desc b);
/* y = x where the row's index is not below the column's, else b; all of the layout `scores` */
void cuda_dnn_graph_causal(dnn_graph *g, dnn_desc y, dnn_desc x, dnn_desc b, dnn_layout scores);
/* y = sum or maximum of x along the dimensions in which y is smaller */
void cuda_dnn_graph_reduce(dnn_graph *g, dnn_reduce op, dnn_desc y, dnn_desc x);
void cuda_dnn_graph_reshape(dnn_graph *g, dnn_desc y, dnn_desc x);

/* Chooses an engine that needs no more than this workspace and compiles the graph: 0.1 to 1 s.
 * LT_ENOTSUP with a sentence when there is none. */
LT_MUST_USE lt_err cuda_dnn_graph_finish(dnn_graph *g, int64_t workspace_bytes);

/* Enqueues a run on the handle's stream; pointers[i] is where the tensor uids[i] lies. */
LT_MUST_USE lt_err cuda_dnn_graph_run(dnn_graph *g, const int64_t *uids, void **pointers, int n,
                                      void *workspace);

#endif
