/* tests/device/test_ops_matmul.c - matmul of any device against sums in double: the three layouts of
 * a linear layer, both types, every option.  tests/device/test_matmul.c looks closer at the CPU's. */
#include "op_case.h"

typedef struct matmul_case {
    int64_t m, n, k;
    lt_dtype act, d;
    bool trans_a, trans_b, bias;
    enum { NOTHING, ADD, C, C_IS_D } addend;
    lt_epilogue epilogue;
    bool no_aux, col_sum, add_col_sum;
    int64_t gap; /* between rows, 0: odd ones */
} matmul_case;

typedef struct matmul_tensors {
    op_tensor *d, *a, *b, *c, *bias, *aux, *col_sum;
} matmul_tensors;

static const double cubic = 0.044715;

static double gelu(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + cubic * x * x * x)));
}

static double gelu_slope(double x)
{
    return (gelu(x + 1e-5) - gelu(x - 1e-5)) / 2e-5;
}

static op_tensor *new_matrix(const matmul_case *s, lt_dtype dtype, int64_t rows, int64_t cols,
                             op_use use)
{
    if (s->gap)
        return op_new_strided(dtype, rows, cols, s->gap, use);
    return op_new(dtype, rows, cols, use);
}

static matmul_tensors tensors_new(const matmul_case *s)
{
    bool in_place = s->addend == ADD || s->addend == C_IS_D;
    matmul_tensors t = { 0 };

    t.d = new_matrix(s, s->d, s->m, s->n, in_place ? OP_INOUT : OP_OUT);
    t.a = new_matrix(s, s->act, s->trans_a ? s->k : s->m, s->trans_a ? s->m : s->k, OP_IN);
    t.b = new_matrix(s, s->act, s->trans_b ? s->n : s->k, s->trans_b ? s->k : s->n, OP_IN);
    t.c = s->addend == C        ? new_matrix(s, s->d, s->m, s->n, OP_IN)
          : s->addend == C_IS_D ? t.d
                                : NULL;
    t.bias = s->bias ? op_new(s->act, 1, s->n, OP_IN) : NULL;
    if (s->epilogue != LT_EPI_NONE && !s->no_aux)
        t.aux = new_matrix(s, s->act, s->m, s->n, s->epilogue == LT_EPI_ACT ? OP_OUT : OP_IN);
    t.col_sum = s->col_sum ? op_new(LT_F32, 1, s->n, s->add_col_sum ? OP_INOUT : OP_OUT) : NULL;
    return t;
}

/* (M, N): the product with everything that is added, before the epilogue */
static double *linear_part(const matmul_case *s, const matmul_tensors *t)
{
    double *want = op_array(s->m * s->n), *a = op_values(t->a->sent), *b = op_values(t->b->sent);

    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
            double sum = t->bias ? op_get(t->bias->sent, 0, j) : 0;

            for (int64_t k = 0; k < s->k; k++)
                sum += a[s->trans_a ? k * s->m + i : i * s->k + k] *
                       b[s->trans_b ? j * s->k + k : k * s->n + j];
            sum += t->c ? op_get(t->c->sent, i, j) : 0;
            sum += s->addend == ADD ? op_get(t->d->sent, i, j) : 0;
            want[i * s->n + j] = sum;
        }
    return want;
}

static void check_matmul(matmul_case s)
{
    matmul_tensors t;
    double *want, *sums;
    bool rounded = s.act != LT_F32 && s.epilogue == LT_EPI_ACT; /* act() may see aux as stored */

    LT_CHECK_OK(op_begin());
    t = tensors_new(&s);
    op_send();
    op.dev->ops->matmul(op.dev,
                        &(lt_matmul){ t.d->dev, t.a->dev, t.b->dev, op_dev_or_absent(t.c),
                                      op_dev_or_absent(t.bias), op_dev_or_absent(t.aux),
                                      op_dev_or_absent(t.col_sum), s.epilogue, LT_ACT_GELU_TANH,
                                      s.trans_a, s.trans_b, s.addend == ADD, s.add_col_sum });
    LT_CHECK_OK(op_receive());
    want = linear_part(&s, &t);
    if (s.epilogue == LT_EPI_ACT && t.aux)
        LT_CHECK_NEAR(op_error(t.aux, want), 0, op_tolerance(s.act));
    for (int64_t i = 0; i < s.m * s.n; i++) {
        if (s.epilogue == LT_EPI_ACT)
            want[i] = gelu(want[i]);
        else if (s.epilogue == LT_EPI_DACT)
            want[i] *= gelu_slope(op_get(t.aux->sent, i / s.n, i % s.n));
    }
    LT_CHECK_NEAR(op_error(t.d, want), 0, rounded ? 1e-2 : op_tolerance(s.d));
    if (!t.col_sum)
        return;
    sums = op_array(s.n);
    for (int64_t i = 0; i < s.m * s.n; i++)
        sums[i % s.n] += op_get(t.d->now, i / s.n, i % s.n);
    for (int64_t j = 0; s.add_col_sum && j < s.n; j++)
        sums[j] += op_get(t.col_sum->sent, 0, j);
    /* the sum may be that of D before rounding */
    LT_CHECK_NEAR(op_error(t.col_sum, sums), 0, s.d == LT_F32 ? 2e-5 : 1e-2);
}

static void check_all_types(matmul_case s)
{
    s.act = s.d = LT_F32;
    check_matmul(s);
    s.act = LT_BF16;
    check_matmul(s);
    s.d = LT_BF16;
    check_matmul(s);
}

LT_TEST(matmul_in_every_layout)
{
    for (int i = 0; i < 4; i++) {
        check_all_types(
            (matmul_case){ .m = 131, .n = 77, .k = 45, .trans_a = i & 1, .trans_b = i & 2 });
        check_all_types((matmul_case){
            .m = 136, .n = 264, .k = 72, .trans_a = i & 1, .trans_b = i & 2, .gap = 8 });
        check_all_types((matmul_case){ /* aligned rows that end within 16 bytes */
                                       .m = 133,
                                       .n = 261,
                                       .k = 69,
                                       .trans_a = i & 1,
                                       .trans_b = i & 2,
                                       .gap = 3 });
        check_all_types(
            (matmul_case){ .m = 1, .n = 5, .k = 3, .trans_a = i & 1, .trans_b = i & 2 });
    }
}

LT_TEST(matmul_adds_what_it_is_told_to)
{
    for (int addend = NOTHING; addend <= C_IS_D; addend++)
        for (int bias = 0; bias < 2; bias++) {
            matmul_case s = { .m = 33, .n = 70, .k = 40, .trans_b = true, .bias = bias };

            s.addend = addend;
            check_all_types(s);
        }
}

LT_TEST(matmul_ends_with_an_activation)
{
    for (int i = 0; i < 4; i++)
        check_all_types((matmul_case){ .m = 65,
                                       .n = 130,
                                       .k = 20,
                                       .trans_b = true,
                                       .bias = i & 1,
                                       .epilogue = LT_EPI_ACT,
                                       .no_aux = i & 2 });
}

LT_TEST(matmul_ends_with_the_slope_of_an_activation)
{
    for (int i = 0; i < 4; i++)
        check_all_types((matmul_case){ .m = 70,
                                       .n = 40,
                                       .k = 33,
                                       .epilogue = LT_EPI_DACT,
                                       .col_sum = i & 1,
                                       .add_col_sum = i == 3 });
}
