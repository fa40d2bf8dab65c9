/* tests/device/test_ops.c - zero, copy, col_sum, act, embed, embed_grad against sums in double. */
#include "op_packs.h"

LT_TEST(zero_clears_exactly_the_bytes_asked_for)
{
    op_tensor *t;

    LT_CHECK_OK(op_begin());
    t = op_new(LT_U8, 1, 1003, OP_INOUT);
    op_send();
    op.dev->ops->zero(op.dev, t->dev.data, 1003);
    LT_CHECK_OK(op_receive());
    for (int64_t i = 0; i < 1003; i++)
        LT_CHECK_INT(op_get(t->now, 0, i), 0);
}

/* ---- copy */

static void check_copy(lt_dtype to, lt_dtype from, int64_t rows, int64_t cols, bool aligned)
{
    op_tensor *src, *dst;

    LT_CHECK_OK(op_begin());
    src = op_new_aligned(from, rows, cols, aligned, OP_IN);
    for (int64_t i = 0; i < rows * cols; i++)
        op_set(src->sent, i / cols, i % cols, 40 * op_get(src->sent, i / cols, i % cols));
    dst = op_new_aligned(to, rows, cols, aligned, OP_OUT);
    op_send();
    op.dev->ops->copy(op.dev, dst->dev, src->dev);
    LT_CHECK_OK(op_receive());
    for (int64_t row = 0; row < rows; row++) {
        char want[1024];

        lt_convert(want, to, lt_at(src->sent, row, 0), from, (size_t)cols);
        LT_FAIL_IF(memcmp(want, lt_at(dst->now, row, 0), (size_t)cols * lt_dtype_bytes(to)) != 0,
                   "%s from %s: row %d differs from lt_convert", lt_dtype_name(to),
                   lt_dtype_name(from), (int)row);
    }
}

LT_TEST(copy_converts_every_pair_of_types_as_lt_convert_does)
{
    for (int to = 0; to < LT_N_DTYPES; to++)
        for (int from = 0; from < LT_N_DTYPES; from++) {
            check_copy((lt_dtype)to, (lt_dtype)from, 5, 67, false);
            check_copy((lt_dtype)to, (lt_dtype)from, 5, 68, true);
            check_copy((lt_dtype)to, (lt_dtype)from, 1, 127, false);
            check_copy((lt_dtype)to, (lt_dtype)from, 1, 128, true);
        }
}

/* ---- col_sum */

static void check_col_sum(lt_dtype act, lt_dtype grad, int64_t rows, int64_t cols, int how)
{
    bool add = how & 1;
    op_tensor *x, *out;
    double *want;

    LT_CHECK_OK(op_begin());
    x = op_new_aligned(act, rows, cols, how & 2, OP_IN);
    out = op_new(grad, 1, cols, add ? OP_INOUT : OP_OUT);
    op_send();
    op.dev->ops->col_sum(op.dev, out->dev, x->dev, add);
    LT_CHECK_OK(op_receive());
    want = op_array(cols);
    for (int64_t c = 0; c < cols; c++) {
        want[c] = add ? op_get(out->sent, 0, c) : 0;
        for (int64_t r = 0; r < rows; r++)
            want[c] += op_get(x->sent, r, c);
    }
    LT_CHECK_NEAR(op_error(out, want), 0, op_tolerance(grad));
}

LT_TEST(col_sum_adds_the_rows)
{
    for (int how = 0; how < 4; how++) { /* add, aligned */
        check_col_sum(LT_F32, LT_F32, 301, 97, how);
        check_col_sum(LT_F32, LT_F32, 301, 132, how);
        check_col_sum(LT_F32, LT_F32, 3, 1, how);
        check_col_sum(LT_BF16, LT_F32, 130, 264, how);
        check_col_sum(LT_BF16, LT_BF16, 130, 33, how);
        check_col_sum(LT_BF16, LT_BF16, 2100, 8, how);
        if (op_has_f16())
            check_col_sum(LT_F16, how & 1 ? LT_F16 : LT_F32, 130, 264, how);
    }
}

/* ---- act */

static double act_value(double x, lt_act kind)
{
    switch (kind) {
    case LT_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case LT_ACT_GELU_ERF:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case LT_ACT_RELU:
        return fmax(x, 0);
    case LT_ACT_SILU:
        return x / (1 + exp(-x));
    default:
        return x;
    }
}

static void check_act(lt_dtype act, lt_act kind, int64_t gap)
{
    enum { ROWS = 19, COLS = 272 };
    op_tensor *x, *out;
    double *want;

    LT_CHECK_OK(op_begin());
    x = op_new_strided(act, ROWS, COLS, gap, OP_IN);
    for (int64_t c = 0; c < COLS; c++) /* far out, where exp overflows and slopes vanish */
        op_set(x->sent, 0, c, (double)(c - COLS / 2));
    out = op_new_strided(act, ROWS, COLS, gap, OP_OUT);
    op_send();
    op.dev->ops->act(op.dev, out->dev, x->dev, kind);
    LT_CHECK_OK(op_receive());
    want = op_array(ROWS * COLS);
    for (int64_t i = 0; i < ROWS * COLS; i++)
        want[i] = act_value(op_get(x->sent, i / COLS, i % COLS), kind);
    LT_CHECK_NEAR(op_error(out, want), 0, op_tolerance(act));
}

LT_TEST(act_is_the_function_it_names)
{
    for (int kind = LT_ACT_NONE; kind <= LT_ACT_SILU; kind++) {
        for (int64_t gap = 0; gap < 9; gap += 4) {
            check_act(LT_F32, (lt_act)kind, gap);
            check_act(LT_BF16, (lt_act)kind, gap);
            if (op_has_f16())
                check_act(LT_F16, (lt_act)kind, gap);
        }
        check_act(LT_BF16, (lt_act)kind, 1);
    }
}

/* ---- embed and its gradient */

enum { E_ROWS = 300, E_VOCAB = 61, E_PLACES = 50 };

typedef struct embed_case {
    op_tensor *ids, *positions;
} embed_case;

/* Ids repeat, one takes a third of the rows, the first and the last row of the table occur. */
static embed_case embed_ids(void)
{
    embed_case e = { op_new(LT_I32, 1, E_ROWS, OP_IN), op_new(LT_I32, 1, E_ROWS, OP_IN) };

    for (int r = 0; r < E_ROWS; r++) {
        op_i32(e.ids)[r] = r % 3 == 0 ? 7 : (int32_t)(lt_random_u64(3, 1, (uint64_t)r) % E_VOCAB);
        op_i32(e.positions)[r] = r % E_PLACES;
    }
    op_i32(e.ids)[1] = 0;
    op_i32(e.ids)[2] = E_VOCAB - 1;
    return e;
}

static void check_embed(lt_dtype act, int64_t cols, bool with_positions, bool aligned)
{
    embed_case e;
    op_tensor *out, *wte, *wpe;
    double *want;

    LT_CHECK_OK(op_begin());
    e = embed_ids();
    out = op_new_aligned(act, E_ROWS, cols, aligned, OP_OUT);
    wte = op_new_aligned(act, E_VOCAB, cols, aligned, OP_IN);
    wpe = with_positions ? op_new_aligned(act, E_PLACES, cols, aligned, OP_IN) : NULL;
    op_send();
    op.dev->ops->embed(op.dev, out->dev, e.ids->dev,
                       with_positions ? e.positions->dev : lt_absent(), wte->dev,
                       op_dev_or_absent(wpe));
    LT_CHECK_OK(op_receive());
    want = op_array(E_ROWS * cols);
    for (int64_t i = 0; i < E_ROWS * cols; i++) {
        int64_t r = i / cols, c = i % cols;

        want[i] = op_get(wte->sent, op_i32(e.ids)[r], c);
        want[i] += wpe ? op_get(wpe->sent, op_i32(e.positions)[r], c) : 0;
    }
    LT_CHECK_NEAR(op_error(out, want), 0, op_tolerance(act));
}

LT_TEST(embed_adds_token_and_position)
{
    for (int aligned = 0; aligned < 2; aligned++) {
        check_embed(LT_F32, 33, true, aligned);
        check_embed(LT_F32, 300, false, aligned);
        check_embed(LT_BF16, 64, true, aligned);
        check_embed(LT_BF16, 520, true, aligned);
        check_embed(LT_BF16, 7, false, aligned);
        if (op_has_f16())
            check_embed(LT_F16, 520, true, aligned);
    }
}

/* want (table rows, cols) = what was there, or 0, + rows of dout by index */
static double *scattered(const op_tensor *table, const op_tensor *dout, op_tensor *index, bool add)
{
    int64_t cols = dout->sent.cols;
    double *want = add ? op_values(table->sent) : op_array(table->sent.rows * cols);

    for (int64_t r = 0; r < dout->sent.rows; r++)
        for (int64_t c = 0; c < cols; c++)
            want[op_i32(index)[r] * cols + c] += op_get(dout->sent, r, c);
    return want;
}

static void check_embed_grad(lt_dtype act, lt_dtype grad, int64_t cols, bool positions, int how)
{
    bool add_wte = how & 1, add_wpe = how & 2, aligned = how & 4;
    embed_case e;
    op_tensor *dout, *dwte, *dwpe;

    LT_CHECK_OK(op_begin());
    e = embed_ids();
    dout = op_new_aligned(act, E_ROWS, cols, aligned, OP_IN);
    dwte = op_new_aligned(grad, E_VOCAB, cols, aligned, add_wte ? OP_INOUT : OP_OUT);
    dwpe = positions ? op_new_aligned(grad, E_PLACES, cols, aligned, add_wpe ? OP_INOUT : OP_OUT)
                     : NULL;
    op_send();
    op.dev->ops->embed_grad(op.dev, dwte->dev, op_dev_or_absent(dwpe), dout->dev, e.ids->dev,
                            positions ? e.positions->dev : lt_absent(), add_wte, add_wpe);
    LT_CHECK_OK(op_receive());
    LT_CHECK_NEAR(op_error(dwte, scattered(dwte, dout, e.ids, add_wte)), 0, op_tolerance(grad));
    if (dwpe)
        LT_CHECK_NEAR(op_error(dwpe, scattered(dwpe, dout, e.positions, add_wpe)), 0,
                      op_tolerance(grad));
}

LT_TEST(embed_grad_scatters_by_id_and_position)
{
    for (int how = 0; how < 8; how++) { /* add_wte, add_wpe, aligned */
        check_embed_grad(LT_F32, LT_F32, 35, true, how);
        check_embed_grad(LT_F32, LT_F32, 300, false, how);
        check_embed_grad(LT_BF16, LT_F32, 520, true, how);
        check_embed_grad(LT_BF16, LT_BF16, 30, true, how);
        check_embed_grad(LT_BF16, LT_BF16, 264, true, how);
        if (op_has_f16())
            check_embed_grad(LT_F16, how & 1 ? LT_F16 : LT_F32, 264, true, how);
    }
}

/* The order of summation is fixed: twice the same bits. */
LT_TEST(embed_grad_gives_the_same_bits_again)
{
    enum { COLS = 65 };
    embed_case e;
    op_tensor *dout, *dwte[2];

    LT_CHECK_OK(op_begin());
    e = embed_ids();
    dout = op_new(LT_F32, E_ROWS, COLS, OP_IN);
    for (int i = 0; i < 2; i++)
        dwte[i] = op_new_strided(LT_F32, E_VOCAB, COLS, 0, OP_OUT);
    op_send();
    for (int i = 0; i < 2; i++)
        op.dev->ops->embed_grad(op.dev, dwte[i]->dev, lt_absent(), dout->dev, e.ids->dev,
                                lt_absent(), false, false);
    LT_CHECK_OK(op_receive());
    LT_CHECK(memcmp(dwte[0]->now.data, dwte[1]->now.data, E_VOCAB * COLS * sizeof(float)) == 0);
}

/* ---- the backend's own */

LT_TEST(alloc_gives_zeroed_aligned_memory)
{
    const size_t bytes = 100003;
    char *host = lt_new0(bytes);
    void *data;

    LT_CHECK_OK(op_begin());
    memset(host, 1, bytes);
    LT_CHECK_OK(lt_dev_alloc(op.dev, LT_MEMORY_DEVICE, bytes, &data));
    LT_CHECK_INT((uintptr_t)data % 256, 0);
    lt_dev_copy(op.dev, LT_STREAM_COPY_OUT, host, data, bytes);
    LT_CHECK_OK(lt_dev_sync(op.dev));
    for (size_t i = 0; i < bytes; i++)
        LT_CHECK_INT(host[i], 0);
    lt_dev_free(op.dev, LT_MEMORY_DEVICE, data);
    LT_CHECK_OK(lt_dev_alloc(op.dev, LT_MEMORY_PINNED, bytes, &data));
    LT_CHECK_INT((uintptr_t)data % 256, 0);
    for (size_t i = 0; i < bytes; i++)
        LT_CHECK_INT(((char *)data)[i], 0);
    lt_dev_free(op.dev, LT_MEMORY_PINNED, data);
    free(host);
}

LT_TEST(events_order_streams)
{
    enum { N = 1 << 20 };
    const lt_backend *backend = op.dev ? op.dev->backend : NULL;
    lt_event *sent, *summed;
    void *pinned, *device;
    float *host;

    LT_CHECK_OK(op_begin());
    backend = op.dev->backend;
    sent = backend->event_new(op.dev);
    summed = backend->event_new(op.dev);
    LT_CHECK(sent && summed);
    LT_CHECK_OK(lt_dev_alloc(op.dev, LT_MEMORY_PINNED, N * sizeof(float), &pinned));
    LT_CHECK_OK(lt_dev_alloc(op.dev, LT_MEMORY_DEVICE, N * sizeof(float), &device));
    host = pinned;
    for (int i = 0; i < N; i++)
        host[i] = (float)i;
    lt_dev_copy(op.dev, LT_STREAM_COPY_IN, device, pinned, N * sizeof(float));
    backend->event_record(op.dev, sent, LT_STREAM_COPY_IN);
    backend->stream_wait(op.dev, LT_STREAM_COMPUTE, sent);
    op.dev->ops->act(op.dev, lt_vector(device, LT_F32, N), lt_vector(device, LT_F32, N),
                     LT_ACT_RELU);
    op.dev->ops->zero(op.dev, device, 4 * sizeof(float));
    backend->event_record(op.dev, summed, LT_STREAM_COMPUTE);
    backend->stream_wait(op.dev, LT_STREAM_COPY_OUT, summed);
    lt_dev_copy(op.dev, LT_STREAM_COPY_OUT, pinned, device, N * sizeof(float));
    backend->event_record(op.dev, sent, LT_STREAM_COPY_OUT);
    LT_CHECK_OK(backend->event_sync(op.dev, sent));
    for (int i = 0; i < N; i++)
        LT_CHECK_NEAR(host[i], i < 4 ? 0 : i, 0);
    lt_dev_free(op.dev, LT_MEMORY_PINNED, pinned);
    lt_dev_free(op.dev, LT_MEMORY_DEVICE, device);
    backend->event_free(op.dev, sent);
    backend->event_free(op.dev, summed);
}

LT_TEST(plan_refuses_other_types_in_words)
{
    const lt_dev_need need = { .act = LT_F64, .grad = LT_F32 };
    size_t bytes = 0;

    LT_CHECK_OK(op_begin());
    LT_CHECK_FAILS(op.dev->backend->plan(&need, &bytes), LT_ENOTSUP, "fp64");
}

LT_TEST(device_describes_itself)
{
    char text[200] = "";

    LT_CHECK_OK(op_begin());
    op.dev->backend->describe(op.dev, text, sizeof text);
    LT_CHECK(strlen(text) > 3);
}
