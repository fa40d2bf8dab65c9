/* device/cuda/cuda_dnn.c - which calls go to cuDNN, their graphs, slices and scratch.
 *
 *     scratch:  | row sums | dq sums (free order) |  cuDNN's workspace ...            |
 *     forward:  | lse, when the caller wants none |  cuDNN's workspace ...            | */
#include "device/cuda/cuda_dnn.h"
#include "base/log.h"
#include "base/mem.h"
#include "device/cuda/cuda_dnn_attention.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ALIGNMENT = 256,
    MARGIN = 16 << 20, /* workspace of an engine besides what its form is known to need */
    ANY_LENGTH = 91600 /* the version since when the gradient takes T % 128 != 0 unaided */
};

typedef struct compiled {
    dnn_attention_shape shape;
    dnn_graph graph;
    bool usable;
} compiled;

struct cuda_dnn {
    dnn_api api;
    dnn_handle handle; /* NULL: not loaded yet */
    void *stream;
    bool demanded, deterministic;
    bool absent; /* was looked for in vain */
    compiled **graphs;
    size_t n_graphs, capacity;
    char fault[512];
};

/* One call; g NULL: forward. */
typedef struct call {
    cuda_dnn *dnn;
    const lt_attention *f;
    const lt_attention_grad *g;
    char *scratch;
    size_t scratch_bytes;
    int64_t step_batch, step_kv_head; /* what a slice takes at most */
} call;

/* Where a slice begins and what it holds; heads are kv heads. */
typedef struct slice {
    int64_t batch, n_batch, kv_head, n_kv_head;
} slice;

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

/* ---- scratch */

/* A query head's share of the gradient's scratch, as cuDNN 9.19 was seen to take it.  The ordered
 * form's dS is padded to tiles; with fewer kv heads dk and dv exist once per query head first. */
static int64_t grad_head_bytes(int64_t t, int64_t head_dim, bool grouped, bool ordered)
{
    int64_t sums = t * 4 + (grouped ? 2 * t * head_dim * 2 : 0);

    if (ordered)
        return sums + round_up(t, 64) * round_up(t, 128) * 2;
    return sums + t * head_dim * 4;
}

/* Cuts the call so that a slice stays within `bytes`; false when not even one kv head does. */
static bool cut(call *c, int64_t head_bytes, int64_t bytes)
{
    const lt_attention *f = c->f;
    int64_t kv_head = head_bytes * (f->n_head / f->n_kv_head), sequence = kv_head * f->n_kv_head;
    int64_t room = bytes / sequence, n_slices;

    c->step_kv_head = f->n_kv_head;
    if (room > 0) {
        n_slices = (f->n_batch + room - 1) / room;
        c->step_batch = (f->n_batch + n_slices - 1) / n_slices;
        return true;
    }
    room = bytes / kv_head;
    if (room == 0)
        return false;
    n_slices = (f->n_kv_head + room - 1) / room;
    c->step_kv_head = (f->n_kv_head + n_slices - 1) / n_slices;
    c->step_batch = 1;
    return true;
}

static bool takes_width(int64_t head_dim)
{
    return head_dim % 8 == 0 && head_dim <= 256;
}

static bool takes_length(int64_t t)
{
    return t > 0 && t % 64 == 0;
}

static bool takes_type(lt_dtype type)
{
    return type == LT_BF16 || type == LT_F16;
}

static lt_err check_need(const lt_dev_need *need)
{
    if (need->attention != LT_ATTENTION_CUDNN)
        return LT_OK;
    if (!takes_type(need->act))
        return lt_fail(LT_ENOTSUP, "attention: cudnn: expected bf16 or fp16, found %s",
                       lt_dtype_name(need->act));
    if (!takes_width(need->head_dim))
        return lt_fail(LT_ENOTSUP,
                       "attention: cudnn: expected heads of a multiple of 8 up to 256 wide, found "
                       "%lld",
                       (long long)need->head_dim);
    if (!takes_length(need->t_q))
        return lt_fail(LT_ENOTSUP,
                       "attention: cudnn: expected a sequence length that is a multiple of 64, "
                       "found %lld",
                       (long long)need->t_q);
    return LT_OK;
}

lt_err cuda_dnn_plan(const lt_dev_need *need, size_t *scratch_bytes)
{
    const lt_attention f = { .n_batch = need->n_batch,
                             .n_head = need->n_head,
                             .n_kv_head = need->n_kv_head };
    bool grouped = need->n_head != need->n_kv_head;
    int64_t most = 0;
    call c = { .f = &f };
    lt_err err;

    *scratch_bytes = 0;
    LT_TRY(err = check_need(need));
    if (need->attention == LT_ATTENTION_REFERENCE || !takes_type(need->act) ||
        !takes_width(need->head_dim) || need->t_q < 64)
        return LT_OK;
    for (int ordered = 0; ordered < 2; ordered++) {
        int64_t t = need->t_q, head = grad_head_bytes(t, need->head_dim, grouped, ordered);
        int64_t bytes = need->n_head / need->n_kv_head * head;

        if (cut(&c, head, CUDA_DNN_SLICE_BYTES))
            bytes *= c.step_batch * c.step_kv_head;
        most = bytes > most ? bytes : most;
    }
    *scratch_bytes = (size_t)(most + MARGIN);
fail:
    return err;
}

/* ---- graphs */

static lt_err load(cuda_dnn *dnn)
{
    dnn_status status;
    lt_err err;

    LT_TRY(err = cuda_dnn_api_open(&dnn->api));
    status = dnn->api.create(&dnn->handle);
    if (status == 0)
        status = dnn->api.set_stream(dnn->handle, dnn->stream);
    if (status != 0)
        err = lt_fail(LT_ENOTSUP, "%s: %s", dnn->api.name, dnn->api.error_string(status));
    else
        lt_log_debug("attention: %s", dnn->api.name);
fail:
    return err;
}

static bool is_loaded(cuda_dnn *dnn)
{
    if (!dnn->handle && !dnn->absent && load(dnn) != LT_OK) {
        dnn->absent = true;
        lt_log_info("attention: %s; lt's own kernels do it, several times slower", lt_err_text());
    }
    return !dnn->absent;
}

/* The graph of this shape, compiled now if it is new. */
static compiled *graph_of(cuda_dnn *dnn, const dnn_attention_shape *s, int64_t workspace)
{
    compiled *c;

    for (size_t i = 0; i < dnn->n_graphs; i++)
        if (memcmp(&dnn->graphs[i]->shape, s, sizeof *s) == 0)
            return dnn->graphs[i];
    c = lt_new0(sizeof *c);
    c->shape = *s;
    cuda_dnn_graph_init(&c->graph, &dnn->api, dnn->handle);
    cuda_dnn_attention_build(&c->graph, s);
    c->usable = cuda_dnn_graph_finish(&c->graph, workspace) == LT_OK;
    if (!c->usable) {
        (void)snprintf(dnn->fault, sizeof dnn->fault,
                       "attention%s through %s, B %lld H %lld/%lld T %lld D %lld: %s",
                       s->grad ? "_grad" : "", dnn->api.name, (long long)s->n_batch,
                       (long long)s->n_head, (long long)s->n_kv_head, (long long)s->t,
                       (long long)s->head_dim, lt_err_text());
        lt_log_info("%s", dnn->fault);
    } else
        lt_log_debug("cuDNN attention%s B %lld H %lld/%lld T %lld D %lld: workspace %lld bytes",
                     s->grad ? "_grad" : "", (long long)s->n_batch, (long long)s->n_head,
                     (long long)s->n_kv_head, (long long)s->t, (long long)s->head_dim,
                     (long long)c->graph.workspace_bytes);
    lt_array_reserve(&dnn->graphs, &dnn->capacity, dnn->n_graphs + 1, sizeof *dnn->graphs);
    return dnn->graphs[dnn->n_graphs++] = c;
}

/* ---- calls */

static bool is_aligned(lt_tensor t)
{
    return (uintptr_t)t.data % 16 == 0 && t.stride % 8 == 0;
}

static bool takes(const lt_attention *f, const lt_attention_grad *g)
{
    if (!takes_type(f->q.dtype) || !f->causal || f->doc_start.data || f->t_q != f->t_k ||
        !takes_width(f->head_dim) || !takes_length(f->t_q))
        return false;
    if (!is_aligned(f->q) || !is_aligned(f->k) || !is_aligned(f->v) || !is_aligned(f->out) ||
        (f->lse.data && ((uintptr_t)f->lse.data % 16 != 0 || f->lse.stride != f->t_q)))
        return false;
    return !g ||
           (is_aligned(g->dq) && is_aligned(g->dk) && is_aligned(g->dv) && is_aligned(g->dout));
}

static dnn_attention_shape shape_of(const call *c, const slice *at)
{
    const lt_attention *f = c->f;
    dnn_attention_shape s = { .type = f->q.dtype == LT_BF16 ? DNN_BF16 : DNN_F16,
                              .n_batch = at->n_batch,
                              .n_head = at->n_kv_head * (f->n_head / f->n_kv_head),
                              .n_kv_head = at->n_kv_head,
                              .t = f->t_q,
                              .head_dim = f->head_dim,
                              .kv_rows = f->kv_rows,
                              .q = f->q.stride,
                              .k = f->k.stride,
                              .v = f->v.stride,
                              .out = f->out.stride };

    if (c->g) {
        s.grad = 1;
        s.ordered = c->dnn->deterministic;
        s.dq = c->g->dq.stride;
        s.dk = c->g->dk.stride;
        s.dv = c->g->dv.stride;
        s.dout = c->g->dout.stride;
    }
    return s;
}

/* The slice's corner of a tensor of queries or of keys. */
static void *query_at(const call *c, const slice *at, lt_tensor t)
{
    int64_t group = c->f->n_head / c->f->n_kv_head;

    return lt_at(t, at->batch * c->f->t_q, at->kv_head * group * c->f->head_dim);
}

static void *key_at(const call *c, const slice *at, lt_tensor t)
{
    return lt_at(t, at->batch * c->f->kv_rows, at->kv_head * c->f->head_dim);
}

/* Takes `bytes` from the scratch. */
static void *take(const call *c, size_t *used, int64_t bytes)
{
    void *p = c->scratch + *used;

    *used += (size_t)round_up(bytes, ALIGNMENT);
    return p;
}

static cuda_dnn_result run_slice(const call *c, const slice *at)
{
    static const float neg_inf = -INFINITY, one = 1;
    const lt_attention *f = c->f;
    dnn_attention_shape s = shape_of(c, at);
    int64_t row_bytes = s.n_batch * s.n_head * s.t * 4, uids[DNN_UID_END];
    int64_t first_row = (at->batch * f->n_head + at->kv_head * (f->n_head / f->n_kv_head)) * s.t;
    void *pointers[DNN_UID_END] = { NULL }, *packed[DNN_UID_END];
    float scale = f->scale;
    size_t used = 0;
    compiled *graph;
    int n = 0;

    pointers[DNN_UID_Q] = query_at(c, at, f->q);
    pointers[DNN_UID_K] = key_at(c, at, f->k);
    pointers[DNN_UID_V] = key_at(c, at, f->v);
    pointers[DNN_UID_OUT] = query_at(c, at, f->out);
    pointers[DNN_UID_SCALE] = &scale;
    pointers[DNN_UID_NEG_INF] = (void *)&neg_inf;
    pointers[DNN_UID_LSE] = f->lse.data ? lt_f32(f->lse) + first_row : take(c, &used, row_bytes);
    if (c->g) {
        pointers[DNN_UID_ONE] = (void *)&one;
        pointers[DNN_UID_DOUT] = query_at(c, at, c->g->dout);
        pointers[DNN_UID_DQ] = query_at(c, at, c->g->dq);
        pointers[DNN_UID_DK] = key_at(c, at, c->g->dk);
        pointers[DNN_UID_DV] = key_at(c, at, c->g->dv);
        pointers[DNN_UID_ROW_SUM] = take(c, &used, row_bytes);
        if (!s.ordered)
            pointers[DNN_UID_DQ_SUM] = take(c, &used, row_bytes * s.head_dim);
    }
    if (used > c->scratch_bytes)
        return CUDA_DNN_LEFT;
    graph = graph_of(c->dnn, &s, (int64_t)(c->scratch_bytes - used));
    if (!graph->usable)
        return c->dnn->demanded ? CUDA_DNN_REFUSED : CUDA_DNN_LEFT;
    for (int64_t uid = 0; uid < DNN_UID_END; uid++)
        if (pointers[uid]) {
            uids[n] = uid;
            packed[n++] = pointers[uid];
        }
    if (cuda_dnn_graph_run(&graph->graph, uids, packed, n, c->scratch + used) == LT_OK)
        return CUDA_DNN_DONE;
    (void)snprintf(c->dnn->fault, sizeof c->dnn->fault, "attention%s through %s: %s",
                   c->g ? "_grad" : "", c->dnn->api.name, lt_err_text());
    return CUDA_DNN_FAILED;
}

cuda_dnn_result cuda_dnn_attention(cuda_dnn *dnn, const lt_attention *f, const lt_attention_grad *g,
                                   void *scratch, size_t scratch_bytes)
{
    call c = { dnn, f, g, scratch, scratch_bytes, f->n_batch, f->n_kv_head };
    cuda_dnn_result result = CUDA_DNN_LEFT;
    int64_t head;

    if (!dnn || !takes(f, g) || !is_loaded(dnn))
        return CUDA_DNN_LEFT;
    if (g && dnn->api.version < ANY_LENGTH && f->t_q % 128 != 0) {
        (void)snprintf(dnn->fault, sizeof dnn->fault,
                       "attention_grad through %s, T %lld: not a multiple of 128", dnn->api.name,
                       (long long)f->t_q);
        return dnn->demanded ? CUDA_DNN_REFUSED : CUDA_DNN_LEFT;
    }
    head = grad_head_bytes(f->t_q, f->head_dim, f->n_head != f->n_kv_head, dnn->deterministic);
    if (g && (scratch_bytes < MARGIN || !cut(&c, head, (int64_t)scratch_bytes - MARGIN)))
        return CUDA_DNN_LEFT;
    for (slice at = { 0 }; at.batch < f->n_batch; at.batch += c.step_batch)
        for (at.kv_head = 0; at.kv_head < f->n_kv_head; at.kv_head += c.step_kv_head) {
            int64_t sequences = f->n_batch - at.batch, heads = f->n_kv_head - at.kv_head;

            at.n_batch = sequences < c.step_batch ? sequences : c.step_batch;
            at.n_kv_head = heads < c.step_kv_head ? heads : c.step_kv_head;
            result = run_slice(&c, &at);
            if (result != CUDA_DNN_DONE)
                return result;
        }
    return result;
}

const char *cuda_dnn_fault(const cuda_dnn *dnn)
{
    return dnn->fault;
}

/* ---- life */

lt_err cuda_dnn_new(cuda_dnn **out, const lt_dev_options *options, void *stream)
{
    cuda_dnn *dnn;
    lt_err err = LT_OK;

    *out = NULL;
    if (options->attention == LT_ATTENTION_REFERENCE)
        return LT_OK;
    dnn = lt_new0(sizeof *dnn);
    dnn->stream = stream;
    dnn->deterministic = options->deterministic;
    dnn->demanded = options->attention == LT_ATTENTION_CUDNN;
    if (dnn->demanded && load(dnn) != LT_OK)
        LT_TRY(err = lt_fail_in("attention: cudnn"));
    *out = dnn;
    return LT_OK;
fail:
    cuda_dnn_free(dnn);
    return err;
}

void cuda_dnn_free(cuda_dnn *dnn)
{
    if (!dnn)
        return;
    for (size_t i = 0; i < dnn->n_graphs; i++) {
        cuda_dnn_graph_release(&dnn->graphs[i]->graph);
        free(dnn->graphs[i]);
    }
    if (dnn->handle)
        (void)dnn->api.destroy(dnn->handle);
    free(dnn->graphs);
    free(dnn);
}
