/* device/cuda/cuda_dnn_graph.c - descriptors in, an execution plan out. */
#include "device/cuda/cuda_dnn_graph.h"

#include <stdio.h>
#include <string.h>

enum { TENSOR_ALIGNMENT = 16, MAX_ENGINES = 8 };

void cuda_dnn_graph_init(dnn_graph *g, const dnn_api *api, dnn_handle handle)
{
    memset(g, 0, sizeof *g);
    g->api = api;
    g->handle = handle;
    g->next_uid = DNN_VIRTUAL_UIDS;
}

void cuda_dnn_graph_release(dnn_graph *g)
{
    while (g->n_descs > 0)
        (void)g->api->desc_destroy(g->descs[--g->n_descs]);
}

/* Keeps the first failure. */
static void note(dnn_graph *g, dnn_status status, const char *what)
{
    char last[128] = "";

    if (status == 0 || g->status != 0)
        return;
    g->status = status;
    g->api->last_error(last, sizeof last);
    (void)snprintf(g->error, sizeof g->error, "%s: %s %s", what, g->api->error_string(status),
                   last);
}

static dnn_desc create(dnn_graph *g, int kind)
{
    dnn_desc desc = NULL;

    LT_BUG_ON(g->n_descs == DNN_MAX_DESCS);
    if (g->status != 0)
        return NULL;
    note(g, g->api->desc_create(kind, &desc), "creating a descriptor");
    if (desc)
        g->descs[g->n_descs++] = desc;
    return desc;
}

static void set(dnn_graph *g, dnn_desc desc, int attribute, int type, int64_t n, const void *values)
{
    char what[48];

    if (g->status != 0)
        return;
    (void)snprintf(what, sizeof what, "setting attribute %d", attribute);
    note(g, g->api->desc_set(desc, attribute, type, n, values), what);
}

static void set_desc(dnn_graph *g, dnn_desc desc, int attribute, dnn_desc value)
{
    set(g, desc, attribute, DNN_TYPE_DESCRIPTOR, 1, &value);
}

static void set_type(dnn_graph *g, dnn_desc desc, int attribute, dnn_type type)
{
    int value = (int)type;

    set(g, desc, attribute, DNN_TYPE_DATA_TYPE, 1, &value);
}

static void set_true(dnn_graph *g, dnn_desc desc, int attribute)
{
    bool value = true;

    set(g, desc, attribute, DNN_TYPE_BOOLEAN, 1, &value);
}

static void finalize(dnn_graph *g, dnn_desc desc, const char *what)
{
    if (g->status == 0)
        note(g, g->api->desc_finalize(desc), what);
}

/* ---- tensors */

static dnn_desc tensor_begin(dnn_graph *g, int64_t uid, dnn_type type, const dnn_layout *layout)
{
    const int64_t alignment = TENSOR_ALIGNMENT;
    dnn_desc t = create(g, DNN_TENSOR);

    set_type(g, t, DNN_TENSOR_DATA_TYPE, type);
    set(g, t, DNN_TENSOR_DIMENSIONS, DNN_TYPE_INT64, 4, layout->dim);
    set(g, t, DNN_TENSOR_STRIDES, DNN_TYPE_INT64, 4, layout->stride);
    set(g, t, DNN_TENSOR_UID, DNN_TYPE_INT64, 1, &uid);
    set(g, t, DNN_TENSOR_ALIGNMENT, DNN_TYPE_INT64, 1, &alignment);
    return t;
}

dnn_desc cuda_dnn_graph_real(dnn_graph *g, int64_t uid, dnn_type type, dnn_layout layout)
{
    dnn_desc t = tensor_begin(g, uid, type, &layout);

    finalize(g, t, "a tensor");
    return t;
}

dnn_desc cuda_dnn_graph_virtual(dnn_graph *g, dnn_type type, dnn_layout layout)
{
    dnn_desc t = tensor_begin(g, g->next_uid++, type, &layout);

    set_true(g, t, DNN_TENSOR_IS_VIRTUAL);
    finalize(g, t, "an intermediate tensor");
    return t;
}

dnn_desc cuda_dnn_graph_scalar(dnn_graph *g, int64_t uid)
{
    const dnn_layout one = { { 1, 1, 1, 1 }, { 1, 1, 1, 1 } };
    dnn_desc t = tensor_begin(g, uid, DNN_F32, &one);

    set_true(g, t, DNN_TENSOR_IS_BY_VALUE);
    finalize(g, t, "a scalar");
    return t;
}

/* ---- operations */

static void add_op(dnn_graph *g, dnn_desc op, const char *what)
{
    LT_BUG_ON(g->n_ops == DNN_MAX_OPS);
    finalize(g, op, what);
    g->ops[g->n_ops++] = op;
}

void cuda_dnn_graph_matmul(dnn_graph *g, dnn_desc c, dnn_desc a, dnn_desc b)
{
    dnn_desc how = create(g, DNN_MATMUL), op = create(g, DNN_OPERATION_MATMUL);

    set_type(g, how, DNN_MATMUL_COMPUTE_TYPE, DNN_F32);
    finalize(g, how, "a matrix product's kind");
    set_desc(g, op, DNN_OP_MATMUL_A, a);
    set_desc(g, op, DNN_OP_MATMUL_B, b);
    set_desc(g, op, DNN_OP_MATMUL_C, c);
    set_desc(g, op, DNN_OP_MATMUL_DESC, how);
    add_op(g, op, "a matrix product");
}

/* axis: of DNN_INDEX; b, t: NULL where the mode has none */
static void pointwise(dnn_graph *g, dnn_mode mode, dnn_type compute, int64_t axis, dnn_desc y,
                      dnn_desc x, dnn_desc b, dnn_desc t)
{
    dnn_desc how = create(g, DNN_POINTWISE), op = create(g, DNN_OPERATION_POINTWISE);
    int value = (int)mode;

    set(g, how, DNN_POINTWISE_MODE, DNN_TYPE_POINTWISE_MODE, 1, &value);
    set_type(g, how, DNN_POINTWISE_COMPUTE_TYPE, compute);
    if (mode == DNN_INDEX)
        set(g, how, DNN_POINTWISE_AXIS, DNN_TYPE_INT64, 1, &axis);
    finalize(g, how, "a pointwise operation's kind");
    set_desc(g, op, DNN_OP_POINTWISE_DESC, how);
    set_desc(g, op, DNN_OP_POINTWISE_X, x);
    if (b)
        set_desc(g, op, DNN_OP_POINTWISE_B, b);
    if (t)
        set_desc(g, op, DNN_OP_POINTWISE_T, t);
    set_desc(g, op, DNN_OP_POINTWISE_Y, y);
    add_op(g, op, "a pointwise operation");
}

void cuda_dnn_graph_pointwise(dnn_graph *g, dnn_mode mode, dnn_desc y, dnn_desc x, dnn_desc b)
{
    pointwise(g, mode, DNN_F32, 0, y, x, b, NULL);
}

void cuda_dnn_graph_causal(dnn_graph *g, dnn_desc y, dnn_desc x, dnn_desc b, dnn_layout scores)
{
    dnn_desc row = cuda_dnn_graph_virtual(g, DNN_I32, scores);
    dnn_desc col = cuda_dnn_graph_virtual(g, DNN_I32, scores);
    dnn_desc seen = cuda_dnn_graph_virtual(g, DNN_BOOL, scores);

    pointwise(g, DNN_INDEX, DNN_I32, 2, row, x, NULL, NULL);
    pointwise(g, DNN_INDEX, DNN_I32, 3, col, x, NULL, NULL);
    pointwise(g, DNN_CMP_GE, DNN_BOOL, 0, seen, row, col, NULL);
    pointwise(g, DNN_SELECT, DNN_F32, 0, y, x, b, seen);
}

void cuda_dnn_graph_reduce(dnn_graph *g, dnn_reduce op, dnn_desc y, dnn_desc x)
{
    dnn_desc how = create(g, DNN_REDUCTION), desc = create(g, DNN_OPERATION_REDUCTION);
    int value = (int)op;

    set(g, how, DNN_REDUCTION_OPERATOR, DNN_TYPE_REDUCTION_OPERATOR, 1, &value);
    set_type(g, how, DNN_REDUCTION_COMPUTE_TYPE, DNN_F32);
    finalize(g, how, "a reduction's kind");
    set_desc(g, desc, DNN_OP_REDUCTION_X, x);
    set_desc(g, desc, DNN_OP_REDUCTION_Y, y);
    set_desc(g, desc, DNN_OP_REDUCTION_DESC, how);
    add_op(g, desc, "a reduction");
}

void cuda_dnn_graph_reshape(dnn_graph *g, dnn_desc y, dnn_desc x)
{
    dnn_desc op = create(g, DNN_OPERATION_RESHAPE);

    set_desc(g, op, DNN_OP_RESHAPE_X, x);
    set_desc(g, op, DNN_OP_RESHAPE_Y, y);
    add_op(g, op, "a reshape");
}

/* ---- engines */

/* Compiles the graph for one engine; that it cannot is no failure of the graph.  On success the
 * plan is kept in g. */
static bool try_engine(dnn_graph *g, dnn_desc engine, int64_t limit)
{
    const dnn_api *api = g->api;
    dnn_desc plan = create(g, DNN_EXECUTION_PLAN);
    int64_t n = 0, bytes = 0;

    return plan && api->desc_set(plan, DNN_PLAN_HANDLE, DNN_TYPE_HANDLE, 1, &g->handle) == 0 &&
           api->desc_set(plan, DNN_PLAN_ENGINECFG, DNN_TYPE_DESCRIPTOR, 1, &engine) == 0 &&
           api->desc_finalize(plan) == 0 &&
           api->desc_get(plan, DNN_PLAN_WORKSPACE_BYTES, DNN_TYPE_INT64, 1, &n, &bytes) == 0 &&
           bytes <= limit && (g->workspace_bytes = bytes, g->plan = plan, true);
}

/* Asks cuDNN for engines, best first, and takes the first that compiles and fits. */
static bool choose_engine(dnn_graph *g, dnn_desc graph, dnn_heur heur, int64_t limit)
{
    dnn_desc ask = create(g, DNN_ENGINEHEUR), engines[MAX_ENGINES];
    int mode = (int)heur;
    int64_t n = 0;

    set_desc(g, ask, DNN_ENGINEHEUR_GRAPH, graph);
    set(g, ask, DNN_ENGINEHEUR_MODE, DNN_TYPE_HEUR_MODE, 1, &mode);
    for (int i = 0; i < MAX_ENGINES; i++)
        engines[i] = create(g, DNN_ENGINECFG);
    if (g->status != 0 || g->api->desc_finalize(ask) != 0 ||
        g->api->desc_get(ask, DNN_ENGINEHEUR_RESULTS, DNN_TYPE_DESCRIPTOR, MAX_ENGINES, &n,
                         engines) != 0)
        return false; /* no engine of this heuristic */
    for (int64_t i = 0; i < n && i < MAX_ENGINES; i++)
        if (try_engine(g, engines[i], limit))
            return true;
    return false;
}

lt_err cuda_dnn_graph_finish(dnn_graph *g, int64_t workspace_bytes)
{
    dnn_desc graph = create(g, DNN_OPERATION_GRAPH);

    set(g, graph, DNN_GRAPH_HANDLE, DNN_TYPE_HANDLE, 1, &g->handle);
    set(g, graph, DNN_GRAPH_OPS, DNN_TYPE_DESCRIPTOR, g->n_ops, g->ops);
    finalize(g, graph, "the graph");
    if (g->status == 0 && (choose_engine(g, graph, DNN_HEUR_A, workspace_bytes) ||
                           choose_engine(g, graph, DNN_HEUR_FALLBACK, workspace_bytes)))
        return LT_OK;
    if (g->status == 0)
        return lt_fail(LT_ENOTSUP, "no engine takes it within %lld bytes of workspace",
                       (long long)workspace_bytes);
    return lt_fail(LT_ENOTSUP, "%s", g->error);
}

lt_err cuda_dnn_graph_run(dnn_graph *g, const int64_t *uids, void **pointers, int n,
                          void *workspace)
{
    const dnn_api *api = g->api;
    dnn_desc pack = NULL;
    dnn_status status = api->desc_create(DNN_VARIANT_PACK, &pack);

    if (status == 0)
        status = api->desc_set(pack, DNN_PACK_UIDS, DNN_TYPE_INT64, n, uids);
    if (status == 0)
        status = api->desc_set(pack, DNN_PACK_POINTERS, DNN_TYPE_VOID_PTR, n, pointers);
    if (status == 0)
        status = api->desc_set(pack, DNN_PACK_WORKSPACE, DNN_TYPE_VOID_PTR, 1, &workspace);
    if (status == 0)
        status = api->desc_finalize(pack);
    if (status == 0)
        status = api->execute(g->handle, g->plan, pack);
    if (pack)
        (void)api->desc_destroy(pack);
    return status == 0 ? LT_OK : lt_fail(LT_EFAULT, "%s", api->error_string(status));
}
