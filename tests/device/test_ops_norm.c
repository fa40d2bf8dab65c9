/* tests/device/test_ops_norm.c - residual_norm and norm_grad against sums in double. */
#include "op_packs.h"

typedef struct norm_case {
    lt_norm_kind kind;
    lt_dtype act, grad;
    int64_t rows, cols;
    bool branch, bias, add;
    bool dresid, col_sum;
    bool aligned; /* rows 16 bytes apart or a multiple of that: a device may move packs */
    enum { DX_APART, DX_IS_DRESID, DX_IS_DOUT } dx;
} norm_case;

static const float eps = 1e-5f;

/* A matrix of the case. */
static op_tensor *new_matrix(const norm_case *s, op_use use)
{
    return op_new_aligned(s->act, s->rows, s->cols, s->aligned, use);
}

/* Of one row r: mean (0 for RMSNorm) and 1 / sqrt(variance + eps). */
static void row_stats(const double *r, int64_t n, lt_norm_kind kind, double *mean, double *rstd)
{
    double sum = 0, squares = 0;

    for (int64_t c = 0; c < n; c++)
        sum += r[c];
    *mean = kind == LT_NORM_LAYER ? sum / (double)n : 0;
    for (int64_t c = 0; c < n; c++)
        squares += (r[c] - *mean) * (r[c] - *mean);
    *rstd = 1 / sqrt(squares / (double)n + (double)eps);
}

/* ---- forward */

static void check_norm(norm_case s)
{
    int64_t n = s.rows * s.cols;
    op_tensor *out, *resid, *mean, *rstd, *x, *branch, *weight, *bias;
    double *want, *sum, *r, *means, *rstds;

    LT_CHECK_OK(op_begin());
    out = new_matrix(&s, OP_OUT);
    resid = s.branch ? new_matrix(&s, OP_OUT) : NULL;
    mean = op_new(LT_F32, 1, s.rows, s.kind == LT_NORM_LAYER ? OP_OUT : OP_IN);
    rstd = op_new(LT_F32, 1, s.rows, OP_OUT);
    x = new_matrix(&s, OP_IN);
    branch = s.branch ? new_matrix(&s, OP_IN) : NULL;
    weight = op_new(s.act, 1, s.cols, OP_IN);
    bias = s.bias ? op_new(s.act, 1, s.cols, OP_IN) : NULL;
    op_send();
    op.dev->ops->residual_norm(
        op.dev, &(lt_residual_norm){ out->dev, op_dev_or_absent(resid),
                                     s.kind == LT_NORM_LAYER ? mean->dev : lt_absent(), rstd->dev,
                                     x->dev, op_dev_or_absent(branch), weight->dev,
                                     op_dev_or_absent(bias), s.kind, eps });
    LT_CHECK_OK(op_receive());

    r = op_values(x->sent);
    if (s.branch) {
        sum = op_array(n);
        for (int64_t i = 0; i < n; i++)
            sum[i] = r[i] + op_get(branch->sent, i / s.cols, i % s.cols);
        LT_CHECK_NEAR(op_error(resid, sum), 0, op_tolerance(s.act));
        r = op_values(resid->now); /* the norm is that of resid as stored */
    }
    want = op_array(n);
    means = op_array(s.rows);
    rstds = op_array(s.rows);
    for (int64_t row = 0; row < s.rows; row++) {
        row_stats(r + row * s.cols, s.cols, s.kind, &means[row], &rstds[row]);
        for (int64_t c = 0; c < s.cols; c++) {
            double y = (r[row * s.cols + c] - means[row]) * rstds[row] * op_get(weight->sent, 0, c);

            want[row * s.cols + c] = y + (bias ? op_get(bias->sent, 0, c) : 0);
        }
    }
    LT_CHECK_NEAR(op_error(out, want), 0, op_tolerance(s.act));
    LT_CHECK_NEAR(op_error(rstd, rstds), 0, 2e-5);
    if (s.kind == LT_NORM_LAYER)
        LT_CHECK_NEAR(op_error(mean, means), 0, 2e-5);
}

LT_TEST(residual_norm_is_the_norm_of_the_sum)
{
    for (int i = 0; i < 32; i++) {
        norm_case s = { .kind = i & 1 ? LT_NORM_RMS : LT_NORM_LAYER,
                        .branch = i & 2,
                        .bias = i & 4,
                        .act = i & 8 ? LT_BF16 : LT_F32,
                        .aligned = i & 16,
                        .rows = 37,
                        .cols = i & 2 ? 131 : 320 };

        check_norm(s);
    }
    check_norm((norm_case){ .act = LT_F32, .rows = 1, .cols = 1, .bias = true });
    check_norm((norm_case){ .act = LT_F32, .rows = 5, .cols = 31, .branch = true });
}

/* From less than a warp's worth of packs to rows that no warp can hold. */
LT_TEST(residual_norm_of_any_width)
{
    static const int64_t widths[] = { 8, 768, 1032, 1600, 2056, 4104 };

    for (size_t i = 0; i < LT_COUNT(widths); i++) {
        norm_case s = { .kind = i & 1 ? LT_NORM_RMS : LT_NORM_LAYER,
                        .branch = true,
                        .bias = true,
                        .aligned = true,
                        .act = LT_BF16,
                        .rows = 7,
                        .cols = widths[i] };

        check_norm(s);
        s.act = LT_F32;
        check_norm(s);
        s.act = LT_F16;
        if (op_has_f16())
            check_norm(s);
    }
}

/* Rows far from zero: a sum of squares less the square of the mean would lose all digits. */
LT_TEST(residual_norm_keeps_its_digits_far_from_zero)
{
    enum { COLS = 200 };
    op_tensor *out, *mean, *rstd, *x, *weight;
    double *values, *want, m, s;

    LT_CHECK_OK(op_begin());
    out = op_new(LT_F32, 1, COLS, OP_OUT);
    mean = op_new(LT_F32, 1, 1, OP_OUT);
    rstd = op_new(LT_F32, 1, 1, OP_OUT);
    x = op_new(LT_F32, 1, COLS, OP_IN);
    weight = op_new(LT_F32, 1, COLS, OP_IN);
    for (int64_t c = 0; c < COLS; c++)
        op_set(x->sent, 0, c, 1000 + op_get(x->sent, 0, c));
    op_send();
    op.dev->ops->residual_norm(op.dev, &(lt_residual_norm){ .out = out->dev,
                                                            .mean = mean->dev,
                                                            .rstd = rstd->dev,
                                                            .x = x->dev,
                                                            .weight = weight->dev,
                                                            .kind = LT_NORM_LAYER,
                                                            .eps = eps });
    LT_CHECK_OK(op_receive());
    values = op_values(x->sent);
    want = op_array(COLS);
    row_stats(values, COLS, LT_NORM_LAYER, &m, &s);
    for (int64_t c = 0; c < COLS; c++)
        want[c] = (values[c] - m) * s * op_get(weight->sent, 0, c);
    LT_CHECK_NEAR(op_error(out, want), 0, 3e-4); /* 1 / 2^24 * 1000, a few times over */
}

/* ---- backward */

typedef struct norm_ref {
    lt_norm_kind kind;
    int64_t rows, cols;
    double *r, *weight, *bias, *dout; /* inputs; bias may be NULL */
    double *dr, *dweight, *dbias;     /* gradients of the sum of dout out */
} norm_ref;

static double norm_ref_loss(void *arg)
{
    const norm_ref *n = arg;
    double loss = 0, mean, rstd;

    for (int64_t row = 0; row < n->rows; row++) {
        const double *r = n->r + row * n->cols, *dout = n->dout + row * n->cols;

        row_stats(r, n->cols, n->kind, &mean, &rstd);
        for (int64_t c = 0; c < n->cols; c++)
            loss += dout[c] * ((r[c] - mean) * rstd * n->weight[c] + n->bias[c]);
    }
    return loss;
}

static void norm_ref_grad(norm_ref *n)
{
    n->dr = op_array(n->rows * n->cols);
    n->dweight = op_array(n->cols);
    n->dbias = op_array(n->cols);
    for (int64_t row = 0; row < n->rows; row++) {
        const double *r = n->r + row * n->cols, *dout = n->dout + row * n->cols;
        double mean, rstd, mean_g = 0, mean_gx = 0;

        row_stats(r, n->cols, n->kind, &mean, &rstd);
        for (int64_t c = 0; c < n->cols; c++) {
            double xh = (r[c] - mean) * rstd, g = dout[c] * n->weight[c];

            n->dweight[c] += dout[c] * xh;
            n->dbias[c] += dout[c];
            mean_g += n->kind == LT_NORM_LAYER ? g / (double)n->cols : 0;
            mean_gx += g * xh / (double)n->cols;
        }
        for (int64_t c = 0; c < n->cols; c++) {
            double xh = (r[c] - mean) * rstd, g = dout[c] * n->weight[c];

            n->dr[row * n->cols + c] = rstd * (g - mean_g - xh * mean_gx);
        }
    }
}

LT_TEST(norm_reference_is_the_derivative)
{
    for (int kind = LT_NORM_LAYER; kind <= LT_NORM_RMS; kind++) {
        norm_ref n = { .kind = (lt_norm_kind)kind, .rows = 5, .cols = 13 };

        LT_CHECK_OK(op_begin());
        n.r = op_values(op_new(LT_F32, n.rows, n.cols, OP_IN)->sent);
        n.dout = op_values(op_new(LT_F32, n.rows, n.cols, OP_IN)->sent);
        n.weight = op_values(op_new(LT_F32, 1, n.cols, OP_IN)->sent);
        n.bias = op_values(op_new(LT_F32, 1, n.cols, OP_IN)->sent);
        norm_ref_grad(&n);
        LT_CHECK_NEAR(op_slope_error(norm_ref_loss, &n, n.r, n.dr, n.rows * n.cols), 0, 1e-6);
        LT_CHECK_NEAR(op_slope_error(norm_ref_loss, &n, n.weight, n.dweight, n.cols), 0, 1e-6);
        LT_CHECK_NEAR(op_slope_error(norm_ref_loss, &n, n.bias, n.dbias, n.cols), 0, 1e-6);
    }
}

typedef struct norm_grad_tensors {
    op_tensor *dx, *dweight, *dbias, *col_sum, *dout, *dresid, *resid, *weight, *mean, *rstd;
} norm_grad_tensors;

static norm_grad_tensors norm_grad_new(const norm_case *s)
{
    op_use sums = s->add ? OP_INOUT : OP_OUT;
    norm_grad_tensors t = { 0 };

    t.dout = new_matrix(s, s->dx == DX_IS_DOUT ? OP_INOUT : OP_IN);
    if (s->dresid)
        t.dresid = new_matrix(s, s->dx == DX_IS_DRESID ? OP_INOUT : OP_IN);
    t.dx = s->dx == DX_IS_DOUT ? t.dout : s->dx == DX_IS_DRESID ? t.dresid : new_matrix(s, OP_OUT);
    t.dweight = op_new(s->grad, 1, s->cols, sums);
    t.dbias = s->bias ? op_new(s->grad, 1, s->cols, sums) : NULL;
    t.col_sum = s->col_sum ? op_new(s->grad, 1, s->cols, sums) : NULL;
    t.resid = new_matrix(s, OP_IN);
    t.weight = op_new(s->act, 1, s->cols, OP_IN);
    t.mean = s->kind == LT_NORM_LAYER ? op_new(LT_F32, 1, s->rows, OP_IN) : NULL;
    t.rstd = op_new(LT_F32, 1, s->rows, OP_IN);
    return t;
}

/* want += what was in t before, when the operation adds */
static const double *plus_before(double *want, const op_tensor *t, bool add)
{
    for (int64_t c = 0; add && c < t->sent.cols; c++)
        want[c] += op_get(t->sent, 0, c);
    return want;
}

static void check_norm_grad(norm_case s)
{
    int64_t n = s.rows * s.cols;
    norm_ref ref = { .kind = s.kind, .rows = s.rows, .cols = s.cols };
    norm_grad_tensors t;
    double *sums;

    LT_CHECK_OK(op_begin());
    t = norm_grad_new(&s);
    ref.r = op_values(t.resid->sent);
    ref.weight = op_values(t.weight->sent);
    ref.dout = op_values(t.dout->sent);
    for (int64_t row = 0; row < s.rows; row++) {
        double mean, rstd;

        row_stats(ref.r + row * s.cols, s.cols, s.kind, &mean, &rstd);
        op_set(t.rstd->sent, 0, row, rstd);
        if (t.mean)
            op_set(t.mean->sent, 0, row, mean);
    }
    norm_ref_grad(&ref);
    for (int64_t i = 0; s.dresid && i < n; i++)
        ref.dr[i] += op_get(t.dresid->sent, i / s.cols, i % s.cols);
    op_send();
    op.dev->ops->norm_grad(op.dev,
                           &(lt_norm_grad){ t.dx->dev, t.dweight->dev, op_dev_or_absent(t.dbias),
                                            op_dev_or_absent(t.col_sum), t.dout->dev,
                                            op_dev_or_absent(t.dresid), t.resid->dev, t.weight->dev,
                                            op_dev_or_absent(t.mean), t.rstd->dev, s.kind, s.add });
    LT_CHECK_OK(op_receive());
    LT_CHECK_NEAR(op_error(t.dx, ref.dr), 0, op_tolerance(s.act));
    LT_CHECK_NEAR(op_error(t.dweight, plus_before(ref.dweight, t.dweight, s.add)), 0,
                  op_tolerance(s.grad));
    if (t.dbias)
        LT_CHECK_NEAR(op_error(t.dbias, plus_before(ref.dbias, t.dbias, s.add)), 0,
                      op_tolerance(s.grad));
    if (!t.col_sum)
        return;
    sums = op_array(s.cols);
    for (int64_t i = 0; i < n; i++)
        sums[i % s.cols] += op_get(t.dx->now, i / s.cols, i % s.cols);
    LT_CHECK_NEAR(op_error(t.col_sum, plus_before(sums, t.col_sum, s.add)), 0,
                  op_tolerance(s.grad));
}

LT_TEST(norm_grad_matches_the_reference)
{
    for (int i = 0; i < 64; i++) {
        norm_case s = { .kind = i & 1 ? LT_NORM_RMS : LT_NORM_LAYER,
                        .add = i & 2,
                        .bias = i & 4,
                        .act = i & 8 ? LT_BF16 : LT_F32,
                        .grad = LT_F32,
                        .dresid = i & 16,
                        .aligned = i & 32,
                        .col_sum = i & 4,
                        .rows = 70,
                        .cols = i & 2 ? 131 : 320 };

        check_norm_grad(s);
    }
}

/* Widths and row counts of a small and of a large model's blocks, and beyond. */
LT_TEST(norm_grad_of_any_width)
{
    static const struct {
        int64_t rows, cols;
    } shapes[] = { { 7, 8 }, { 1100, 64 }, { 300, 1608 }, { 280, 4096 }, { 9, 4104 } };

    for (size_t i = 0; i < LT_COUNT(shapes); i++) {
        norm_case s = { .kind = i & 1 ? LT_NORM_RMS : LT_NORM_LAYER,
                        .bias = true,
                        .col_sum = true,
                        .dresid = true,
                        .aligned = true,
                        .act = LT_BF16,
                        .grad = LT_F32,
                        .rows = shapes[i].rows,
                        .cols = shapes[i].cols };

        check_norm_grad(s);
        s.act = LT_F16;
        if (op_has_f16())
            check_norm_grad(s);
        s.act = LT_F32;
        if (s.cols < 1600)
            check_norm_grad(s);
    }
}

LT_TEST(norm_grad_may_write_over_its_inputs)
{
    for (int i = 0; i < 16; i++) {
        norm_case s = { .kind = i & 1 ? LT_NORM_RMS : LT_NORM_LAYER,
                        .act = i & 2 ? LT_BF16 : LT_F32,
                        .grad = LT_F32,
                        .bias = true,
                        .col_sum = true,
                        .dresid = true,
                        .aligned = i & 8,
                        .rows = 33,
                        .cols = 96,
                        .dx = i & 4 ? DX_IS_DRESID : DX_IS_DOUT };

        check_norm_grad(s);
    }
    check_norm_grad((norm_case){
        .act = LT_BF16, .grad = LT_BF16, .bias = true, .rows = 9, .cols = 40, .dx = DX_IS_DOUT });
}

LT_TEST(norm_grad_writes_gradients_in_the_act_type)
{
    for (int add = 0; add < 2; add++)
        check_norm_grad((norm_case){ .act = LT_BF16,
                                     .grad = LT_BF16,
                                     .bias = true,
                                     .col_sum = true,
                                     .add = add,
                                     .rows = 65,
                                     .cols = 100 });
}
