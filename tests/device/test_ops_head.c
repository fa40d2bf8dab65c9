/* tests/device/test_ops_head.c - LM head with cross entropy against sums in double. */
#include "op_case.h"

/* x (rows, cols), w (n_rows_w, cols), of which n_vocab rows count. */
typedef struct reference {
    int64_t rows, cols, w_rows, n_vocab;
    double scale, *x, *w;
    const int32_t *targets;
    double *losses, *dx, *dw, *p;
} reference;

static double row_loss(const reference *r, int64_t row)
{
    double max = -INFINITY, sum = 0, at_target;

    if (r->targets[row] < 0)
        return 0;
    for (int64_t v = 0; v < r->n_vocab; v++) {
        r->p[v] = 0;
        for (int64_t c = 0; c < r->cols; c++)
            r->p[v] += r->x[row * r->cols + c] * r->w[v * r->cols + c];
        max = fmax(max, r->p[v]);
    }
    at_target = r->p[r->targets[row]];
    for (int64_t v = 0; v < r->n_vocab; v++)
        sum += exp(r->p[v] - max);
    for (int64_t v = 0; v < r->n_vocab; v++)
        r->p[v] = exp(r->p[v] - max) / sum;
    return max + log(sum) - at_target;
}

static double scaled_loss(void *arg)
{
    const reference *r = arg;
    double sum = 0;

    for (int64_t row = 0; row < r->rows; row++)
        sum += row_loss(r, row);
    return r->scale * sum;
}

static void reference_run(reference *r)
{
    r->losses = op_array(r->rows);
    r->dx = op_array(r->rows * r->cols);
    r->dw = op_array(r->w_rows * r->cols);
    r->p = op_array(r->n_vocab);
    for (int64_t row = 0; row < r->rows; row++) {
        r->losses[row] = row_loss(r, row);
        for (int64_t v = 0; r->targets[row] >= 0 && v < r->n_vocab; v++) {
            double d = r->scale * (r->p[v] - (v == r->targets[row]));

            for (int64_t c = 0; c < r->cols; c++) {
                r->dx[row * r->cols + c] += d * r->w[v * r->cols + c];
                r->dw[v * r->cols + c] += d * r->x[row * r->cols + c];
            }
        }
    }
}

/* Every fifth row has no target; the first and the last class occur. */
static op_tensor *new_targets(int64_t rows, int64_t n_vocab)
{
    op_tensor *t = op_new(LT_I32, 1, rows, OP_IN);

    for (int64_t r = 0; r < rows; r++)
        op_i32(t)[r] =
            r % 5 == 4 ? -100 : (int32_t)(lt_random_u64(9, 9, (uint64_t)r) % (uint64_t)n_vocab);
    op_i32(t)[0] = 0;
    op_i32(t)[1] = (int32_t)n_vocab - 1;
    return t;
}

LT_TEST(head_loss_reference_is_the_derivative)
{
    reference r = { .rows = 7, .cols = 5, .w_rows = 12, .n_vocab = 11, .scale = 0.25 };

    LT_CHECK_OK(op_begin());
    r.targets = op_i32(new_targets(r.rows, r.n_vocab));
    r.x = op_values(op_new(LT_F32, r.rows, r.cols, OP_IN)->sent);
    r.w = op_values(op_new(LT_F32, r.w_rows, r.cols, OP_IN)->sent);
    reference_run(&r);
    LT_CHECK_NEAR(op_slope_error(scaled_loss, &r, r.x, r.dx, r.rows * r.cols), 0, 1e-6);
    LT_CHECK_NEAR(op_slope_error(scaled_loss, &r, r.w, r.dw, r.w_rows * r.cols), 0, 1e-6);
}

typedef struct head_case {
    lt_dtype act, grad;
    int64_t chunk_rows;
    bool with_grad, add;
    bool aligned; /* logits may be moved in packs */
    bool large;   /* more classes than a block has threads, logits that overflow exp */
} head_case;

static void check_head(head_case s)
{
    enum { ROWS = 50, COLS = 40 };
    const lt_step_state state = { .grad_scale = 0.125f };
    const int64_t w_rows = s.large ? 1536 : 128, n_vocab = s.large ? 1501 : 101;
    const double spread = s.large ? 5 : 0.2; /* of weights; logits are sqrt(COLS) times that */
    reference r = {
        .rows = ROWS, .cols = COLS, .w_rows = w_rows, .n_vocab = n_vocab, .scale = 0.125
    };
    op_tensor *losses, *dx = NULL, *dw = NULL, *chunk, *x, *w, *targets, *device_state;
    double tolerance = s.act == LT_BF16 ? 2e-2 : s.large ? 2e-4 : 2e-5; /* logits are rounded */

    LT_CHECK_OK(op_begin());
    targets = new_targets(ROWS, n_vocab);
    losses = op_new(LT_F32, 1, ROWS, OP_OUT);
    x = op_new(s.act, ROWS, COLS, OP_IN);
    w = op_new(s.act, w_rows, COLS, OP_IN);
    for (int64_t i = 0; i < w_rows * COLS; i++) /* pad rows that would show */
        op_set(w->sent, i / COLS, i % COLS,
               op_get(w->sent, i / COLS, i % COLS) * (i / COLS < n_vocab ? spread : 9));
    chunk = s.aligned ? op_new_strided(s.act, s.chunk_rows, w_rows, 8, OP_OUT)
                      : op_new(s.act, s.chunk_rows, w_rows, OP_OUT);
    device_state = op_new_bytes(&state, sizeof state);
    if (s.with_grad) {
        dx = op_new(s.act, ROWS, COLS, OP_OUT);
        dw = op_new(s.grad, w_rows, COLS, s.add ? OP_INOUT : OP_OUT);
    }
    op_send();
    op.dev->ops->head_loss(op.dev,
                           &(lt_head_loss){ losses->dev, op_dev_or_absent(dx), op_dev_or_absent(dw),
                                            chunk->dev, x->dev, w->dev, targets->dev,
                                            device_state->dev.data, n_vocab, s.add });
    LT_CHECK_OK(op_receive());
    r.x = op_values(x->sent);
    r.w = op_values(w->sent);
    r.targets = op_i32(targets);
    reference_run(&r);
    LT_CHECK_NEAR(op_error(losses, r.losses), 0, tolerance);
    for (int64_t row = 4; row < ROWS; row += 5)
        LT_CHECK_NEAR(op_get(losses->now, 0, row), 0, 0);
    if (!s.with_grad)
        return;
    for (int64_t i = 0; s.add && i < w_rows * COLS; i++)
        r.dw[i] += op_get(dw->sent, i / COLS, i % COLS);
    LT_CHECK_NEAR(op_error(dx, r.dx), 0, tolerance);
    LT_CHECK_NEAR(op_error(dw, r.dw), 0, tolerance);
}

LT_TEST(head_loss_walks_chunks_of_any_size)
{
    static const int64_t chunk_rows[] = { 1, 16, 50, 64 };

    for (size_t i = 0; i < LT_COUNT(chunk_rows); i++)
        for (int how = 0; how < 4; how++) {
            head_case s = { LT_F32,         LT_F32,
                            chunk_rows[i],  .with_grad = true,
                            .add = how & 1, .aligned = how & 2 };

            check_head(s);
            s.act = LT_BF16;
            check_head(s);
        }
    check_head((head_case){ LT_BF16, LT_BF16, 64, .with_grad = true });
}

LT_TEST(head_loss_with_many_classes_and_large_logits)
{
    check_head((head_case){ LT_F32, LT_F32, 16, .with_grad = true, .large = true });
    check_head(
        (head_case){ LT_F32, LT_F32, 16, .with_grad = true, .aligned = true, .large = true });
    check_head((head_case){ LT_F32, LT_F32, 64, .large = true });
}

LT_TEST(head_loss_without_gradients)
{
    check_head((head_case){ LT_F32, LT_F32, .chunk_rows = 16 });
    check_head((head_case){ LT_BF16, LT_F32, .chunk_rows = 64 });
}
