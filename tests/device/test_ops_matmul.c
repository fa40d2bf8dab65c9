/* tests/device/test_ops_matmul.c - matmul of any device against sums in double: the three layouts
 * of a linear layer, both types, every option.  Large cases, for which a GPU chooses its algorithm
 * by time, are compared in some rows.  tests/device/test_matmul.c looks closer at the CPU's. */
#include "op_case.h"

typedef struct matmul_case {
    int64_t m, n, k;
    lt_dtype act, d;
    bool trans_a, trans_b, bias;
    enum { NOTHING, ADD, C, C_IS_D } addend;
    lt_epilogue epilogue;
    bool no_aux, col_sum, add_col_sum;
    int64_t gap;   /* between rows, 0: odd ones */
    int64_t every; /* only every so manieth row is compared; 0: all */
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

/* The rows that are compared. */
static lt_tensor compared(const matmul_case *s, lt_tensor t)
{
    int64_t every = s->every ? s->every : 1;

    t.rows = (t.rows + every - 1) / every;
    t.stride *= every;
    return t;
}

/* (compared rows, N): the product with everything that is added, before the epilogue */
static double *linear_part(const matmul_case *s, const matmul_tensors *t)
{
    int64_t every = s->every ? s->every : 1, rows = (s->m + every - 1) / every;
    double *want = op_array(rows * s->n), *a = op_values(t->a->sent), *b = op_values(t->b->sent);

    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < s->n; j++) {
            double sum = t->bias ? op_get(t->bias->sent, 0, j) : 0;
            int64_t i = r * every;

            for (int64_t k = 0; k < s->k; k++)
                sum += a[s->trans_a ? k * s->m + i : i * s->k + k] *
                       b[s->trans_b ? j * s->k + k : k * s->n + j];
            sum += t->c ? op_get(t->c->sent, i, j) : 0;
            sum += s->addend == ADD ? op_get(t->d->sent, i, j) : 0;
            want[r * s->n + j] = sum;
        }
    return want;
}

static void check_matmul(matmul_case s)
{
    matmul_tensors t;
    lt_tensor d;
    double *want, *sums;
    /* What is added and applied may see the product, act() what goes into aux, as it is stored. */
    bool more = s.bias || s.addend != NOTHING || s.epilogue != LT_EPI_NONE;
    bool rounded = (s.d != LT_F32 && more) || (s.act != LT_F32 && s.epilogue == LT_EPI_ACT);
    double bound = rounded ? 1e-2 : op_tolerance(s.d);

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
    d = compared(&s, t.d->now);
    if (s.epilogue == LT_EPI_ACT && t.aux)
        LT_CHECK_NEAR(op_error_n(compared(&s, t.aux->now), want, d.rows * s.n), 0, bound);
    for (int64_t i = 0; i < d.rows * s.n; i++) {
        if (s.epilogue == LT_EPI_ACT)
            want[i] = gelu(want[i]);
        else if (s.epilogue == LT_EPI_DACT)
            want[i] *= gelu_slope(op_get(compared(&s, t.aux->sent), i / s.n, i % s.n));
    }
    LT_CHECK_NEAR(op_error_n(d, want, d.rows * s.n), 0, bound);
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

/* 1.07e9 operations and rows on 16-byte boundaries: a GPU's library takes all of these. */
static matmul_case large_case(void)
{
    return (matmul_case){ .m = 1024, .n = 1024, .k = 512, .gap = 8, .every = 73 };
}

LT_TEST(large_matmul_in_every_layout)
{
    for (int i = 0; i < 3; i++) {
        matmul_case s = large_case();

        s.trans_a = i == 1;
        s.trans_b = i == 2;
        s.bias = i == 2;
        check_all_types(s);
    }
}

/* Choosing an algorithm must not add more than once. */
LT_TEST(large_matmul_adds_once)
{
    for (int addend = ADD; addend <= C_IS_D; addend++) {
        matmul_case s = large_case();

        s.trans_a = true;
        s.addend = addend;
        s.act = LT_BF16;
        s.d = addend == C ? LT_BF16 : LT_F32;
        check_matmul(s);
    }
}

LT_TEST(large_matmul_ends_with_an_activation_or_its_slope)
{
    for (int i = 0; i < 4; i++) {
        matmul_case s = large_case();

        s.epilogue = i < 2 ? LT_EPI_ACT : LT_EPI_DACT;
        s.trans_b = s.bias = i < 2;
        s.act = s.d = i % 2 ? LT_BF16 : LT_F32;
        s.col_sum = i >= 2;
        s.add_col_sum = i == 3;
        check_matmul(s);
    }
}

LT_TEST(matmul_gives_the_same_bits_again)
{
    op_tensor *a, *b, *d[2];
    size_t row;

    LT_CHECK_OK(op_begin());
    a = op_new(LT_BF16, 1024, 1024, OP_IN);
    b = op_new(LT_BF16, 512, 1024, OP_IN);
    for (int i = 0; i < 2; i++)
        d[i] = op_new_strided(LT_F32, 1024, 512, 8, OP_OUT);
    op_send();
    for (int i = 0; i < 2; i++)
        op.dev->ops->matmul(
            op.dev, &(lt_matmul){ .d = d[i]->dev, .a = a->dev, .b = b->dev, .trans_b = true });
    LT_CHECK_OK(op_receive());
    row = (size_t)d[0]->now.cols * sizeof(float);
    for (int64_t i = 0; i < 1024; i++)
        LT_CHECK(memcmp(lt_at(d[0]->now, i, 0), lt_at(d[1]->now, i, 0), row) == 0);
}
