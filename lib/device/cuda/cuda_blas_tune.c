/* device/cuda/cuda_blas_tune.c - which form and algorithm a call gets.
 *
 * The library proposes; a choice that is known from an earlier run is taken if it is among the
 * proposals, else they are timed on the call's own operands, with the kernels that end it, and the
 * choice is remembered.  Small calls, calls while a graph is recorded, and all calls without tuning
 * take the first proposal.  A run of a trial writes to the outputs, which the real one overwrites;
 * what it adds to is replaced by a copy. */
#include "device/cuda/cuda_blas_plan.h"
#include "base/hash.h"
#include "base/log.h"

#include <math.h>

enum { PROPOSALS = 16, ROUNDS = 4, MOST_RUNS = 20 };

static const double tuned_flops = 1e9; /* from here on */
static const float near_best = 1.3f;   /* times the best: worth a second look */
static const float round_ms = 1.0f;    /* of runs that are timed together */
static const float clearly = 0.99f;    /* of the best time so far: less is better, not noise */

typedef struct proposals {
    cuda_blas_product product; /* without algorithm */
    cublasLtMatmulAlgo_t algos[PROPOSALS];
    int n;
} proposals;

typedef struct candidate {
    cuda_blas_product product;
    int at; /* in the proposals of its form */
    int runs;
    float ms; /* of one run */
} candidate;

typedef struct tuner {
    lt_cuda_blas *b;
    lt_dev *dev;
    lt_matmul trial;
    void *copies; /* of what a run would add to */
    cudaEvent_t start, stop;
} tuner;

static uint64_t fingerprint(const cublasLtMatmulAlgo_t *algo)
{
    return lt_xxh64(algo, sizeof *algo, 0);
}

/* ---- proposals */

static bool set_preference(lt_cuda_blas *b, cublasLtMatmulPreference_t p, lt_dev *dev,
                           const cuda_blas_key *key)
{
    static const cublasLtMatmulPreferenceAttributes_t aligned[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES
    };
    uint64_t room = dev->scratch_bytes;
    uint32_t align = (uint32_t)key->align, schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    bool ok;

    room = room < CUDA_BLAS_WORKSPACE_BYTES ? room : CUDA_BLAS_WORKSPACE_BYTES;
    if (!(b->rules & 1)) /* blocks may add to D in the order in which they come */
        schemes |= CUBLASLT_REDUCTION_SCHEME_INPLACE;
    ok = b->lt.MatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room,
                                            sizeof room) == CUBLAS_STATUS_SUCCESS &&
         b->lt.MatmulPreferenceSetAttribute(p, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes,
                                            sizeof schemes) == CUBLAS_STATUS_SUCCESS;
    for (size_t i = 0; ok && i < LT_COUNT(aligned); i++)
        ok = b->lt.MatmulPreferenceSetAttribute(p, aligned[i], &align, sizeof align) ==
             CUBLAS_STATUS_SUCCESS;
    return ok;
}

/* none: n is 0 */
static void propose(proposals *out, lt_cuda_blas *b, lt_dev *dev, const cuda_blas_key *key)
{
    cublasLtMatmulHeuristicResult_t results[PROPOSALS];
    cublasLtMatmulPreference_t preference = NULL;
    const cuda_blas_product *p = &out->product;
    int n = 0;

    memset(results, 0, sizeof results);
    if (b->lt.MatmulPreferenceCreate(&preference) != CUBLAS_STATUS_SUCCESS)
        return;
    if (!set_preference(b, preference, dev, key) ||
        b->lt.MatmulAlgoGetHeuristic(b->handle, p->desc, p->a, p->b, p->c, p->d, preference,
                                     PROPOSALS, results, &n) != CUBLAS_STATUS_SUCCESS)
        n = 0;
    for (int i = 0; i < n; i++)
        if (results[i].state == CUBLAS_STATUS_SUCCESS)
            out->algos[out->n++] = results[i].algo;
    (void)b->lt.MatmulPreferenceDestroy(preference);
}

/* ---- timing */

/* From the first element to the last. */
static size_t span_bytes(lt_tensor t)
{
    return t.data ? (size_t)((t.rows - 1) * t.stride + t.cols) * lt_dtype_bytes(t.dtype) : 0;
}

static void close_tuner(tuner *t)
{
    (void)cudaFree(t->copies);
    if (t->start)
        (void)cudaEventDestroy(t->start);
    if (t->stop)
        (void)cudaEventDestroy(t->stop);
    (void)cudaGetLastError(); /* what failed here only costs the choice */
}

static bool open_tuner(tuner *t, const lt_matmul *m)
{
    bool in_place = m->add || (m->c.data && m->c.data == m->d.data);
    size_t d_bytes = in_place ? LT_ALIGN_UP(span_bytes(m->d), 256) : 0;

    t->trial = *m;
    if (cudaEventCreate(&t->start) != cudaSuccess || cudaEventCreate(&t->stop) != cudaSuccess)
        return false;
    if (!in_place && !m->add_col_sum)
        return true;
    if (cudaMalloc(&t->copies, d_bytes + span_bytes(m->col_sum)) != cudaSuccess)
        return false;
    if (in_place) {
        t->trial.d.data = t->copies;
        t->trial.c.data = m->c.data ? t->copies : NULL;
        if (cudaMemcpyAsync(t->copies, m->d.data, span_bytes(m->d), cudaMemcpyDeviceToDevice,
                            t->b->stream) != cudaSuccess)
            return false;
    }
    if (m->col_sum.data) {
        t->trial.col_sum.data = (char *)t->copies + d_bytes;
        t->trial.add_col_sum = false;
    }
    return true;
}

/* Milliseconds of one of n runs; infinite when the algorithm cannot do it. */
static float time_runs(tuner *t, const cuda_blas_product *p, int n)
{
    bool ok = cudaEventRecord(t->start, t->b->stream) == cudaSuccess;
    float ms = 0;

    for (int i = 0; ok && i < n; i++) {
        ok = cuda_blas_product_run(p, t->b, t->dev, &t->trial);
        if (ok)
            cuda_matmul_end(t->dev, &t->trial, p->form);
    }
    ok = ok && cudaEventRecord(t->stop, t->b->stream) == cudaSuccess &&
         cudaEventSynchronize(t->stop) == cudaSuccess &&
         cudaEventElapsedTime(&ms, t->start, t->stop) == cudaSuccess;
    return ok ? ms / (float)n : INFINITY;
}

/* One run of each, after one that loads the kernel: who is not far from the best? */
static int find_candidates(tuner *t, const proposals *all, candidate *out)
{
    float best = INFINITY;
    int n = 0, kept = 0;

    for (int f = 0; f < CUDA_BLAS_N_FORMS; f++)
        for (int i = 0; i < all[f].n; i++) {
            candidate c = { .product = all[f].product, .at = i };

            c.product.algo = all[f].algos[i];
            if (isfinite(time_runs(t, &c.product, 1)))
                c.ms = time_runs(t, &c.product, 1);
            else
                continue;
            best = c.ms < best ? c.ms : best;
            out[n++] = c;
        }
    for (int i = 0; i < n; i++)
        if (out[i].ms <= best * near_best)
            out[kept++] = out[i];
    return kept;
}

/* A GPU slows down as it gets warm, so candidates take turns and their sums are compared. */
static void time_candidates(tuner *t, candidate *c, int n)
{
    for (int i = 0; i < n; i++) {
        c[i].runs = c[i].ms * MOST_RUNS > round_ms ? (int)ceilf(round_ms / c[i].ms) : MOST_RUNS;
        c[i].ms = 0;
    }
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < n; i++)
            c[i].ms += time_runs(t, &c[i].product, c[i].runs) / ROUNDS;
}

/* Times everything; false when that was not possible. */
static bool find_fastest(tuner *t, const proposals *all, cuda_blas_form *form, int *at)
{
    candidate c[CUDA_BLAS_N_FORMS * PROPOSALS];
    int n = find_candidates(t, all, c), best = 0;

    time_candidates(t, c, n);
    for (int i = 1; i < n; i++)
        if (c[i].ms < c[best].ms * clearly)
            best = i;
    if (n == 0 || !isfinite(c[best].ms))
        return false;
    *form = c[best].product.form;
    *at = c[best].at;
    lt_log_debug("cuBLASLt: %lld x %lld x %lld: %d candidates, %.4f ms, best %.4f ms (form %d, "
                 "proposal %d)",
                 (long long)t->trial.d.rows, (long long)t->trial.d.cols,
                 (long long)(t->trial.trans_a ? t->trial.a.rows : t->trial.a.cols), n,
                 (double)c[0].ms, (double)c[best].ms, (int)*form, *at);
    return true;
}

/* ---- choice */

static bool is_recording(const lt_cuda_blas *b)
{
    enum cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;

    return cudaStreamIsCapturing(b->stream, &status) != cudaSuccess ||
           status != cudaStreamCaptureStatusNone;
}

static bool is_known(const lt_gemm_table *table, const char *call, const proposals *all,
                     cuda_blas_form *form, int *at)
{
    const lt_gemm_choice *known = lt_gemm_table_find(table, call);

    if (!known || known->form >= CUDA_BLAS_N_FORMS)
        return false;
    for (int i = 0; i < all[known->form].n; i++)
        if (fingerprint(&all[known->form].algos[i]) == known->fingerprint) {
            *form = (cuda_blas_form)known->form;
            *at = i;
            return true;
        }
    return false;
}

static void tune(lt_cuda_blas *b, lt_dev *dev, const lt_matmul *m, const char *call,
                 const proposals *all, cuda_blas_form *form, int *at)
{
    tuner t = { .b = b, .dev = dev };
    lt_gemm_choice choice = { 0 };

    if (open_tuner(&t, m) && find_fastest(&t, all, form, at)) {
        memcpy(choice.call, call, sizeof choice.call);
        choice.form = *form;
        choice.fingerprint = fingerprint(&all[*form].algos[*at]);
        cuda_blas_remember(b, &choice);
    }
    close_tuner(&t);
}

void cuda_blas_choose(cuda_blas_plan *plan, lt_cuda_blas *b, lt_dev *dev, const lt_matmul *m)
{
    proposals all[CUDA_BLAS_N_FORMS] = { 0 };
    char call[LT_GEMM_CALL_BYTES] = "";
    cuda_blas_form form;
    int at = 0;
    double flops = 2.0 * (double)plan->key.m * (double)plan->key.n * (double)plan->key.k;

    for (int f = 0; f < CUDA_BLAS_N_FORMS; f++)
        if (cuda_blas_product_init(&all[f].product, b, m, (cuda_blas_form)f))
            propose(&all[f], b, dev, &plan->key);
    form = all[CUDA_BLAS_FUSED].n ? CUDA_BLAS_FUSED : CUDA_BLAS_SPLIT;
    plan->usable = all[form].n > 0;
    cuda_blas_key_text(&plan->key, call);
    if (plan->usable && !is_known(&b->table, call, all, &form, &at) && b->tune &&
        flops >= tuned_flops && !is_recording(b))
        tune(b, dev, m, call, all, &form, &at);
    for (int f = 0; f < CUDA_BLAS_N_FORMS; f++)
        if (!plan->usable || f != (int)form)
            cuda_blas_product_release(&all[f].product, b);
    plan->product = all[form].product;
    plan->product.algo = all[form].algos[at];
}
