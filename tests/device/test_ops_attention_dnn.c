/* tests/device/test_ops_attention_dnn.c - attention through cuDNN against lt's kernels, on a GPU.
 *
 * test_ops_attention.c holds both against sums in double at small sizes; here sizes are those of
 * training, a call is cut into slices of every kind, and bits are compared. */
#include "op_case.h"

enum { SPARE = 16 << 20 }; /* scratch that is kept for an engine besides what is counted */

typedef struct shape {
    int64_t n_batch, n_head, n_kv_head, t, head_dim;
    lt_dtype type;
} shape;

/* Everything of one call, on the host or on the device, in this order. */
typedef struct buffers {
    lt_tensor qkv, dout;      /* in */
    lt_tensor out, lse, dqkv; /* out */
    size_t out_at, bytes;     /* where the outputs begin; all of it */
} buffers;

static lt_tensor place(char *base, size_t *at, lt_dtype type, int64_t rows, int64_t cols)
{
    lt_tensor t = lt_matrix(base + *at, type, rows, cols);

    *at += LT_ALIGN_UP((size_t)(rows * cols) * lt_dtype_bytes(type), 256);
    return t;
}

static buffers lay_out(const shape *s, char *base)
{
    int64_t rows = s->n_batch * s->t, width = s->n_head * s->head_dim;
    int64_t packed = width + 2 * s->n_kv_head * s->head_dim;
    buffers b = { .bytes = 0 };

    b.qkv = place(base, &b.bytes, s->type, rows, packed);
    b.dout = place(base, &b.bytes, s->type, rows, width);
    b.out_at = b.bytes;
    b.out = place(base, &b.bytes, s->type, rows, width);
    b.lse = place(base, &b.bytes, LT_F32, s->n_batch * s->n_head, s->t);
    b.dqkv = place(base, &b.bytes, s->type, rows, packed);
    return b;
}

static lt_dev_need need_of(const shape *s)
{
    return (lt_dev_need){ .act = LT_BF16, /* fp16 is as wide */
                          .grad = LT_F32,
                          .rows = 1,
                          .n_embd = 1,
                          .n_inner = 1,
                          .n_head = s->n_head,
                          .n_kv_head = s->n_kv_head,
                          .head_dim = s->head_dim,
                          .n_batch = s->n_batch,
                          .t_q = s->t,
                          .t_k = s->t };
}

static lt_attention call_of(const shape *s, const buffers *b)
{
    int64_t q = s->n_head * s->head_dim, kv = s->n_kv_head * s->head_dim, rows = b->qkv.rows;

    return (lt_attention){ .out = b->out,
                           .lse = b->lse,
                           .q = lt_block(b->qkv, 0, rows, 0, q),
                           .k = lt_block(b->qkv, 0, rows, q, kv),
                           .v = lt_block(b->qkv, 0, rows, q + kv, kv),
                           .n_batch = s->n_batch,
                           .n_head = s->n_head,
                           .n_kv_head = s->n_kv_head,
                           .t_q = s->t,
                           .t_k = s->t,
                           .kv_rows = s->t,
                           .head_dim = s->head_dim,
                           .scale = 1 / sqrtf((float)s->head_dim),
                           .causal = true };
}

/* Forward and gradient; in: a host copy of the inputs; *out: all of it, to free. */
static lt_err run(lt_dev *dev, const shape *s, const char *in, char **out)
{
    int64_t q = s->n_head * s->head_dim, kv = s->n_kv_head * s->head_dim;
    buffers b = lay_out(s, NULL);
    void *data = NULL;
    lt_attention a;
    lt_err err;

    *out = lt_new0(b.bytes);
    LT_TRY(err = lt_dev_alloc(dev, LT_MEMORY_DEVICE, b.bytes, &data));
    lt_dev_copy(dev, LT_STREAM_COMPUTE, data, in, b.out_at);
    b = lay_out(s, data);
    a = call_of(s, &b);
    dev->ops->attention(dev, &a);
    dev->ops->attention_grad(
        dev, &(lt_attention_grad){ .fwd = a,
                                   .dq = lt_block(b.dqkv, 0, b.dqkv.rows, 0, q),
                                   .dk = lt_block(b.dqkv, 0, b.dqkv.rows, q, kv),
                                   .dv = lt_block(b.dqkv, 0, b.dqkv.rows, q + kv, kv),
                                   .dout = b.dout });
    lt_dev_copy(dev, LT_STREAM_COMPUTE, *out, data, b.bytes);
    err = lt_dev_sync(dev);
fail:
    lt_dev_free(dev, LT_MEMORY_DEVICE, data);
    return err;
}

/* Opens the GPU with as much scratch as attention of this shape is planned to need. */
static lt_err open_dev(lt_dev **out, lt_attention_kind kind, bool deterministic, const shape *s)
{
    const lt_dev_options o = { .deterministic = deterministic, .attention = kind };
    lt_dev_need need = need_of(s);
    lt_err err;

    LT_TRY(err = lt_dev_open(out, "cuda", &o));
    err = lt_dev_reserve(*out, &need);
fail:
    return err;
}

/* Root mean square of the difference, relative to that of `want`; infinity for NaN. */
static double distance(lt_tensor got, lt_tensor want)
{
    double squares = 0, error = 0;

    for (int64_t i = 0; i < want.rows * want.cols; i++) {
        double w = op_get(want, i / want.cols, i % want.cols);
        double d = op_get(got, i / want.cols, i % want.cols) - w;

        squares += w * w;
        error += d * d;
    }
    return error >= 0 ? sqrt(error / squares) : INFINITY;
}

/* A second run, and runs whose scratch holds one sequence or one kv head, give the same bits. */
static lt_err same_bits(const shape *s, const char *in, const char *want, bool *same)
{
    int64_t group = s->n_head / s->n_kv_head, t = s->t;
    /* of one query head: dS, row sums, dk and dv before heads of a group are added up */
    int64_t head = 2 * t * t + 4 * t + (group > 1 ? 4 * t * s->head_dim : 0);
    const int64_t room[] = { INT64_MAX, s->n_head * head, group * head };
    size_t bytes = lay_out(s, NULL).bytes;
    char *got = NULL;
    lt_dev *dev = NULL;
    lt_err err = LT_OK;

    *same = true;
    for (int i = 0; i < 3; i++) {
        size_t all;

        LT_TRY(err = open_dev(&dev, LT_ATTENTION_CUDNN, true, s));
        all = dev->scratch_bytes;
        if (room[i] < (int64_t)all - SPARE)
            dev->scratch_bytes = (size_t)room[i] + SPARE;
        err = run(dev, s, in, &got);
        dev->scratch_bytes = all;
        LT_TRY(err);
        *same = *same && memcmp(got, want, bytes) == 0;
        lt_dev_close(dev);
        free(got);
        dev = NULL;
        got = NULL;
    }
fail:
    lt_dev_close(dev);
    free(got);
    return err;
}

static char *random_inputs(const shape *s)
{
    buffers b = lay_out(s, NULL);
    char *in = lt_new0(b.bytes);

    b = lay_out(s, in);
    for (int64_t i = 0; i < b.qkv.rows * b.qkv.cols; i++)
        op_set(b.qkv, i / b.qkv.cols, i % b.qkv.cols, lt_random_normal(3, 1, (uint64_t)i));
    for (int64_t i = 0; i < b.dout.rows * b.dout.cols; i++)
        op_set(b.dout, i / b.dout.cols, i % b.dout.cols, lt_random_normal(3, 2, (uint64_t)i));
    return in;
}

static void check_against_kernels(shape s)
{
    char *in = random_inputs(&s), *results[3] = { NULL };
    lt_dev *devs[3] = { NULL };
    buffers b[3];
    bool same = false;

    LT_CHECK_OK(open_dev(&devs[0], LT_ATTENTION_REFERENCE, true, &s));
    LT_CHECK_OK(open_dev(&devs[1], LT_ATTENTION_CUDNN, true, &s));
    LT_CHECK_OK(open_dev(&devs[2], LT_ATTENTION_CUDNN, false, &s));
    for (int i = 0; i < 3; i++) {
        LT_CHECK_OK(run(devs[i], &s, in, &results[i]));
        b[i] = lay_out(&s, results[i]);
        lt_dev_close(devs[i]);
    }
    for (int i = 1; i < 3; i++) {
        LT_CHECK_NEAR(distance(b[i].out, b[0].out), 0, 5e-3);
        LT_CHECK_NEAR(distance(b[i].lse, b[0].lse), 0, 1e-5);
        LT_CHECK_NEAR(distance(b[i].dqkv, b[0].dqkv), 0, 8e-3);
        LT_CHECK(memcmp(b[i].out.data, b[0].out.data, 4096) != 0); /* it was another kernel */
    }
    LT_CHECK_OK(same_bits(&s, in, results[1], &same));
    LT_CHECK(same);
    for (int i = 0; i < 3; i++)
        free(results[i]);
    free(in);
}

/* Says why not and returns false where there is no GPU to be tested or no cuDNN. */
static bool has_cudnn(void)
{
    const lt_dev_options o = { .attention = LT_ATTENTION_CUDNN };
    const char *name = getenv("LT_TEST_DEVICE");
    lt_dev *dev = NULL;

    if (!name || strcmp(name, "cuda") != 0) {
        lt_test_skip("LT_TEST_DEVICE is not cuda");
        return false;
    }
    if (lt_dev_open(&dev, name, &o) != LT_OK) {
        lt_test_skip(lt_err_text());
        return false;
    }
    lt_dev_close(dev);
    return true;
}

LT_TEST(attention_by_cudnn_agrees_with_the_kernels)
{
    if (!has_cudnn())
        return;
    check_against_kernels((shape){ 3, 5, 5, 1024, 64, LT_BF16 });
    check_against_kernels((shape){ 2, 3, 3, 512, 128, LT_F16 });
    check_against_kernels((shape){ 3, 4, 2, 256, 64, LT_BF16 });
    check_against_kernels((shape){ 2, 8, 2, 1024, 128, LT_BF16 });
}

LT_TEST(attention_demanded_of_cudnn_is_refused_when_it_cannot)
{
    const lt_backend *cuda = lt_backend_find("cuda");
    lt_dev_need need = need_of(&(shape){ 16, 12, 12, 1024, 64, LT_BF16 });
    size_t bytes = 0, without = 0;

    if (cuda->plan(&need, &bytes) != LT_OK) {
        lt_test_skip(lt_err_text());
        return;
    }
    need.attention = LT_ATTENTION_REFERENCE;
    LT_CHECK_OK(cuda->plan(&need, &without));
    LT_CHECK(without < bytes);
    need.attention = LT_ATTENTION_CUDNN;
    LT_CHECK_OK(cuda->plan(&need, &bytes));
    LT_CHECK(without < bytes);
    need.t_q = 100;
    LT_CHECK_FAILS(cuda->plan(&need, &bytes), LT_ENOTSUP, "multiple of 64, found 100");
    need.t_q = 128;
    need.head_dim = 20;
    LT_CHECK_FAILS(cuda->plan(&need, &bytes), LT_ENOTSUP, "found 20");
    need.head_dim = 64;
    need.act = LT_F32;
    LT_CHECK_FAILS(cuda->plan(&need, &bytes), LT_ENOTSUP, "expected bf16 or fp16, found fp32");
}

LT_TEST(attention_by_cudnn_takes_a_bounded_scratch)
{
    const lt_backend *cuda = lt_backend_find("cuda");
    lt_dev_need small = need_of(&(shape){ 1, 12, 12, 1024, 64, LT_BF16 });
    lt_dev_need large = need_of(&(shape){ 64, 12, 12, 1024, 64, LT_BF16 });
    lt_dev_need long_one = need_of(&(shape){ 2, 32, 32, 8192, 128, LT_BF16 });
    size_t bytes[3];

    if (cuda->plan(&small, &bytes[0]) != LT_OK) {
        lt_test_skip(lt_err_text());
        return;
    }
    LT_CHECK_OK(cuda->plan(&large, &bytes[1]));
    LT_CHECK_OK(cuda->plan(&long_one, &bytes[2]));
    LT_CHECK(bytes[0] < (size_t)128 << 20);
    LT_CHECK(bytes[1] > (size_t)512 << 20 && bytes[1] < (size_t)1100 << 20);
    LT_CHECK(bytes[2] > (size_t)512 << 20 && bytes[2] < (size_t)1100 << 20);
}
