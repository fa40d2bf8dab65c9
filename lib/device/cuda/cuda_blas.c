/* device/cuda/cuda_blas.c - opening, the plans of the calls seen so far, the table in the user's
 * cache folder.
 *
 * That table is read at open and written, whole or not at all, after every new choice, so that a
 * run that is killed makes the same ones when it goes on.  Without a home it is not kept.
 * LT_GEMM_TUNE=0 turns timing and the folder off. */
#include "base/file.h"
#include "base/log.h"
#include "device/cuda/cuda_blas_plan.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the cache folder */

/* NULL when there is no home; free() it. */
static char *table_path(const char *gpu, size_t version)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *name = lt_asprintf("gemm-%s-%zu.txt", gpu, version), *path = NULL;

    for (char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '.')
            *c = '-';
    if (cache && cache[0] == '/')
        path = lt_asprintf("%s/lt/%.200s", cache, name);
    else if (home && home[0] == '/')
        path = lt_asprintf("%s/.cache/lt/%.200s", home, name);
    free(name);
    return path;
}

/* A table that cannot be read only costs the time to make it again. */
static void read_table(lt_cuda_blas *b)
{
    lt_buf text = { 0 };

    if (!b->path || !lt_path_exists(b->path))
        return;
    if (lt_file_read_all(&text, b->path, LT_GEMM_TABLE_TEXT_BYTES) != LT_OK ||
        lt_gemm_table_read(&b->table, b->title, lt_buf_cstr(&text), text.size, b->path) != LT_OK)
        lt_log_warn("%s; choosing GEMM algorithms anew", lt_err_text());
    lt_buf_release(&text);
}

void cuda_blas_remember(lt_cuda_blas *b, const lt_gemm_choice *choice)
{
    char *folder = b->path ? lt_strdup(b->path) : NULL;
    lt_buf text = { 0 };

    lt_gemm_table_put(&b->table, choice);
    if (folder) {
        *strrchr(folder, '/') = '\0';
        lt_gemm_table_write(&b->table, b->title, &text);
        if (lt_mkdirs(folder) != LT_OK ||
            lt_file_write_atomic(b->path, text.data, text.size) != LT_OK)
            lt_log_debug("%s; the choice of GEMM algorithms is not kept", lt_err_text());
    }
    lt_buf_release(&text);
    free(folder);
}

/* ---- open and close */

void cuda_blas_describe(const lt_cuda_blas *b, char *text, size_t size)
{
    size_t v = b ? b->lt.GetVersion() : 0;

    if (b)
        snprintf(text, size, "cuBLASLt %zu.%zu.%zu", v / 10000, v / 100 % 100, v % 100);
    else
        snprintf(text, size, "no cuBLASLt");
}

lt_cuda_blas *cuda_blas_open(const char *gpu, struct CUstream_st *stream,
                             const lt_dev_options *options)
{
    lt_cuda_blas *b = lt_new0(sizeof *b);
    const char *tune = getenv("LT_GEMM_TUNE");
    char version[64];
    lt_err err;

    LT_TRY(err = cuda_blas_api_open(&b->lt));
    if (b->lt.Create(&b->handle) != CUBLAS_STATUS_SUCCESS) {
        err = lt_fail(LT_ENOTSUP, "device: cuda: cuBLASLt does not work with this GPU");
        goto fail;
    }
    b->stream = stream;
    b->rules = (options->deterministic ? 1 : 0) | (options->allow_tf32 ? 2 : 0);
    b->tune = !tune || strcmp(tune, "0") != 0;
    cuda_blas_describe(b, version, sizeof version);
    snprintf(b->title, sizeof b->title, "lt-gemm %.80s, %s", gpu, version);
    if (b->tune)
        b->path = table_path(gpu, b->lt.GetVersion());
    read_table(b);
    return b;
fail:
    lt_log_debug("%s; using our own matrix products", lt_err_text());
    cuda_blas_close(b);
    return NULL;
}

static void forget_plans(lt_cuda_blas *b)
{
    for (size_t i = 0; i < b->n_plans; i++)
        cuda_blas_product_release(&b->plans[i].product, b);
    b->n_plans = b->oldest = 0;
}

void cuda_blas_close(lt_cuda_blas *b)
{
    if (!b)
        return;
    forget_plans(b);
    if (b->handle)
        (void)b->lt.Destroy(b->handle);
    cuda_blas_api_close(&b->lt);
    lt_gemm_table_release(&b->table);
    free(b->plans);
    free(b->path);
    free(b);
}

/* ---- products */

/* A place for one more plan. */
static cuda_blas_plan *new_plan(lt_cuda_blas *b)
{
    cuda_blas_plan *plan;

    if (b->n_plans < CUDA_BLAS_PLANS) {
        lt_array_reserve(&b->plans, &b->capacity, b->n_plans + 1, sizeof *b->plans);
        plan = &b->plans[b->n_plans++];
    } else {
        plan = &b->plans[b->oldest++ % CUDA_BLAS_PLANS];
        cuda_blas_product_release(&plan->product, b);
    }
    memset(plan, 0, sizeof *plan);
    return plan;
}

static cuda_blas_plan *plan_of(lt_cuda_blas *b, lt_dev *dev, const lt_matmul *m)
{
    cuda_blas_key key = cuda_blas_key_of(b, m);
    cuda_blas_plan *plan;

    for (size_t i = 0; i < b->n_plans; i++)
        if (memcmp(&b->plans[i].key, &key, sizeof key) == 0)
            return &b->plans[i];
    plan = new_plan(b);
    plan->key = key;
    cuda_blas_choose(plan, b, dev, m);
    return plan;
}

/* The types of bias and aux are the activations', and the library and our kernels that end a
 * product want D's to be the same. */
static bool has_types(const lt_matmul *m)
{
    bool same = m->d.dtype == m->a.dtype;

    return same || (!m->bias.data && m->epilogue == LT_EPI_NONE);
}

bool cuda_blas_matmul(lt_cuda_blas *b, lt_dev *dev, const lt_matmul *m)
{
    cuda_blas_plan *plan;

    if (!b || !has_types(m))
        return false;
    plan = plan_of(b, dev, m);
    if (plan->usable && !cuda_blas_product_run(&plan->product, b, dev, m)) {
        lt_log_warn("device: cuda: cuBLASLt refused a matrix product that it had proposed; using "
                    "our own kernel for it");
        plan->usable = false;
    }
    if (plan->usable)
        cuda_matmul_end(dev, m, plan->product.form);
    return plan->usable;
}

/* ---- choices as a blob */

void lt_cuda_gemm_algorithms(lt_dev *dev, lt_buf *out)
{
    lt_cuda_blas *b = cuda_blas_of(dev);

    if (b)
        lt_gemm_table_write(&b->table, b->title, out);
}

lt_err lt_cuda_gemm_load(lt_dev *dev, const char *text, size_t n, const char *source)
{
    lt_cuda_blas *b = cuda_blas_of(dev);
    lt_err err;

    if (!b || n == 0)
        return LT_OK;
    LT_TRY(err = lt_gemm_table_read(&b->table, b->title, text, n, source));
    forget_plans(b); /* the next call of each kind looks into the table again */
fail:
    return err;
}
