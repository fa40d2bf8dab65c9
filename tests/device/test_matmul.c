/* tests/device/test_matmul.c - matmul on the CPU against sums in double.
 *
 * Every matrix lies in a larger buffer: rows are further apart than they are wide and the gaps hold
 * NaN, so reading a gap spoils the result and writing one is seen.  Outputs that are not added to
 * start as NaN.  Everything runs with every kernel that the processor has. */
#include "base/mem.h"
#include "base/rng.h"
#include "device/cpu/cpu.h"
#include "lt_test.h"

#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MARGIN = 64 }; /* bytes before the first row; as many or more after the last */

typedef enum kernel { AMX, AVX512, BLAS, N_KERNELS } kernel;

typedef enum addend { ADD_NOTHING, ADD_D, ADD_C, ADD_C_IS_D, N_ADDENDS } addend;

typedef struct shape {
    int64_t m, n, k;
    lt_dtype act, d;
    bool trans_a, trans_b, bias, aux, col_sum, add_col_sum;
    addend addend;
    lt_epilogue epilogue;
    lt_act kind;
} shape;

typedef struct buffer {
    lt_tensor t;
    char *data, *before; /* the whole buffer, and what it held before the call */
    size_t bytes;
} buffer;

static uint64_t n_buffers; /* stream of the random numbers */

static double get(lt_tensor t, int64_t row, int64_t col)
{
    int64_t i = row * t.stride + col;

    float x;

    lt_convert(&x, LT_F32, (char *)t.data + (size_t)i * lt_dtype_bytes(t.dtype), t.dtype, 1);
    return x;
}

static void put(lt_tensor t, int64_t row, int64_t col, float x)
{
    lt_convert(lt_at(t, row, col), t.dtype, &x, LT_F32, 1);
}

/* Random numbers in [-1, 1), or NaN when there is nothing to read; no rows: absent. */
static void buffer_init(buffer *b, lt_dtype dtype, int64_t rows, int64_t cols, bool is_read)
{
    int64_t stride = cols + (int64_t)(n_buffers % 4) * 3 + 1;
    size_t width = lt_dtype_bytes(dtype);

    *b = (buffer){ lt_absent(), NULL, NULL, 0 };
    n_buffers++;
    if (rows == 0)
        return;
    b->bytes = (size_t)(rows * stride) * width + 2 * MARGIN;
    b->data = lt_new0(b->bytes);
    b->before = lt_new0(b->bytes);
    memset(b->data, 0xff, b->bytes); /* NaN in either type */
    b->t = lt_matrix(b->data + MARGIN, dtype, rows, cols);
    b->t.stride = stride;
    for (int64_t i = 0; i < rows && is_read; i++)
        for (int64_t j = 0; j < cols; j++)
            put(b->t, i, j,
                (float)(2 * lt_random_unit(7, n_buffers, (uint64_t)(i * cols + j)) - 1));
    memcpy(b->before, b->data, b->bytes);
}

static void buffer_release(buffer *b)
{
    free(b->data);
    free(b->before);
}

/* Has anything outside of the view (or, for an input, anything at all) changed? */
static bool is_intact(const buffer *b, bool is_output)
{
    size_t width = lt_dtype_bytes(b->t.dtype);

    if (!b->data || !is_output)
        return !b->data || memcmp(b->data, b->before, b->bytes) == 0;
    for (int64_t row = 0; row < b->t.rows; row++) {
        size_t first = (size_t)((char *)lt_at(b->t, row, 0) - b->data);

        memcpy(b->before + first, b->data + first, (size_t)b->t.cols * width);
    }
    return memcmp(b->data, b->before, b->bytes) == 0;
}

static double act(double x, lt_act kind)
{
    switch (kind) {
    case LT_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case LT_ACT_GELU_ERF:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case LT_ACT_RELU:
        return x > 0 ? x : 0;
    case LT_ACT_SILU:
        return x / (1 + exp(-x));
    default:
        return x;
    }
}

static double act_grad(double x, lt_act kind)
{
    const double h = 1e-5;

    if (kind == LT_ACT_RELU)
        return x > 0 ? 1 : 0;
    return (act(x + h, kind) - act(x - h, kind)) / (2 * h);
}

typedef struct problem {
    shape s;
    buffer d, a, b, c, bias, aux, col_sum, d_before, col_sum_before;
    lt_matmul m;
} problem;

static void problem_init(problem *p, const shape *s)
{
    bool in_place = s->addend == ADD_D || s->addend == ADD_C_IS_D;
    bool dact = s->epilogue == LT_EPI_DACT;

    p->s = *s;
    buffer_init(&p->d, s->d, s->m, s->n, in_place);
    buffer_init(&p->a, s->act, s->trans_a ? s->k : s->m, s->trans_a ? s->m : s->k, true);
    buffer_init(&p->b, s->act, s->trans_b ? s->n : s->k, s->trans_b ? s->k : s->n, true);
    buffer_init(&p->c, s->d, s->addend == ADD_C ? s->m : 0, s->n, true);
    buffer_init(&p->bias, s->act, s->bias, s->n, true);
    buffer_init(&p->aux, s->act, s->aux ? s->m : 0, s->n, dact);
    buffer_init(&p->col_sum, LT_F32, s->col_sum, s->n, s->add_col_sum);
    p->m = (lt_matmul){
        .d = p->d.t,
        .a = p->a.t,
        .b = p->b.t,
        .c = s->addend == ADD_C_IS_D ? p->d.t : p->c.t,
        .bias = p->bias.t,
        .aux = p->aux.t,
        .col_sum = p->col_sum.t,
        .epilogue = s->epilogue,
        .act = s->kind,
        .trans_a = s->trans_a,
        .trans_b = s->trans_b,
        .add = s->addend == ADD_D,
        .add_col_sum = s->add_col_sum,
    };
    p->d_before = p->d;
    p->d_before.t.data = p->d.before + MARGIN;
    p->col_sum_before = p->col_sum;
    p->col_sum_before.t.data = p->col_sum.data ? p->col_sum.before + MARGIN : NULL;
}

static void problem_release(problem *p)
{
    buffer *all[] = { &p->d, &p->a, &p->b, &p->c, &p->bias, &p->aux, &p->col_sum };

    for (size_t i = 0; i < LT_COUNT(all); i++)
        buffer_release(all[i]);
}

/* op(A) op(B) + what is added, at (i, j); *error bounds what fp32 sums may be off. */
static double linear(const problem *p, int64_t i, int64_t j, double *error)
{
    const shape *s = &p->s;
    double sum = 0, size = 0, extra[2] = { 0 };

    for (int64_t k = 0; k < s->k; k++) {
        double x = s->trans_a ? get(p->a.t, k, i) : get(p->a.t, i, k);
        double y = s->trans_b ? get(p->b.t, j, k) : get(p->b.t, k, j);

        sum += x * y;
        size += fabs(x * y);
    }
    if (s->addend == ADD_C)
        extra[0] = get(p->c.t, i, j);
    else if (s->addend != ADD_NOTHING)
        extra[0] = get(p->d_before.t, i, j);
    if (s->bias)
        extra[1] = get(p->bias.t, 0, j);
    *error = (size + fabs(extra[0]) + fabs(extra[1])) * 0x1p-21;
    return sum + extra[0] + extra[1];
}

static double rounding(lt_dtype t, double x)
{
    return t == LT_BF16  ? fabs(x) * 0x1p-8
           : t == LT_F16 ? fabs(x) * 0x1p-11 + 0x1p-25
                         : fabs(x) * 0x1p-23;
}

/* Element (i, j) of D and aux against the definition; a NaN is never within a bound. */
static bool element_is_right(const problem *p, int64_t i, int64_t j)
{
    const shape *s = &p->s;
    double error, want = linear(p, i, j, &error), found = get(p->d.t, i, j);

    if (s->epilogue == LT_EPI_DACT) {
        double slope = act_grad(get(p->aux.t, i, j), s->kind);

        error = error * fabs(slope) + fabs(want) * 4e-6;
        want *= slope;
    } else if (s->epilogue == LT_EPI_ACT && s->aux) {
        double x = get(p->aux.t, i, j);

        if (!(fabs(x - want) <= error + rounding(s->act, want)))
            return false;
        want = act(x, s->kind);
        error = 1e-6 * (1 + fabs(x));
    } else if (s->epilogue == LT_EPI_ACT) {
        error = 1.2 * (error + rounding(s->act, want)) + 1e-6 * (1 + fabs(want));
        want = act(want, s->kind);
    }
    return fabs(found - want) <= error + rounding(s->d, want) + 1e-7;
}

static bool col_sums_are_right(const problem *p)
{
    for (int64_t j = 0; j < p->s.n && p->s.col_sum; j++) {
        double sum = p->s.add_col_sum ? get(p->col_sum_before.t, 0, j) : 0, size = fabs(sum);

        for (int64_t i = 0; i < p->s.m; i++) {
            sum += get(p->d.t, i, j);
            size += fabs(get(p->d.t, i, j));
        }
        if (!(fabs(get(p->col_sum.t, 0, j) - sum) <= size * 0x1p-20))
            return false;
    }
    return true;
}

static const char *describe(const shape *s)
{
    static char text[200];

    snprintf(text, sizeof text,
             "m %ld n %ld k %ld %s->%s trans %d%d addend %d bias %d epilogue %d act %d aux %d "
             "col_sum %d%d",
             (long)s->m, (long)s->n, (long)s->k, lt_dtype_name(s->act), lt_dtype_name(s->d),
             s->trans_a, s->trans_b, s->addend, s->bias, s->epilogue, s->kind, s->aux, s->col_sum,
             s->add_col_sum);
    return text;
}

/* The best kernel that dev may use. */
static const char *kernel_name(lt_dev *dev)
{
    return cpu_of(dev)->has_amx_bf16 ? "amx" : cpu_of(dev)->has_avx512_bf16 ? "avx512" : "blas";
}

/* Lets dev use no better kernel than `most`; false when it has to do with a lesser one. */
static bool limit_to(lt_dev *dev, kernel most)
{
    lt_cpu_dev *cpu = cpu_of(dev);

    cpu->has_amx_bf16 = cpu->has_amx_bf16 && most == AMX;
    cpu->has_avx512_bf16 = cpu->has_avx512_bf16 && most != BLAS;
    return most == AMX ? cpu->has_amx_bf16 : most == BLAS || cpu->has_avx512_bf16;
}

/* Checks elements `step` apart (1: all of them). */
static void check_shape(lt_dev *dev, const shape *s, int64_t step)
{
    problem p;
    const char *wrong = NULL;

    problem_init(&p, s);
    dev->ops->matmul(dev, &p.m);
    for (int64_t e = 0; e < s->m * s->n && !wrong; e += step)
        if (!element_is_right(&p, e / s->n, e % s->n))
            wrong = "element";
    if (!wrong && !col_sums_are_right(&p))
        wrong = "column sum";
    if (!is_intact(&p.a, false) || !is_intact(&p.b, false) || !is_intact(&p.c, false) ||
        !is_intact(&p.bias, false) || !is_intact(&p.aux, s->epilogue == LT_EPI_ACT))
        wrong = "input";
    if (!is_intact(&p.d, true) || !is_intact(&p.col_sum, true))
        wrong = "guard";
    problem_release(&p);
    LT_FAIL_IF(wrong, "wrong %s: %s, %s", wrong, describe(s), kernel_name(dev));
}

static lt_err open_cpu(lt_dev **dev, int n_threads)
{
    lt_dev_options options = { .n_threads = n_threads };
    lt_dev_need need = { .act = LT_F32,
                         .grad = LT_F32,
                         .n_threads = n_threads,
                         .rows = 1024,
                         .n_embd = 1024,
                         .n_inner = 1024,
                         .n_head = 1,
                         .n_kv_head = 1,
                         .head_dim = 64,
                         .n_batch = 1,
                         .t_q = 64,
                         .t_k = 64,
                         .chunk_rows = 64,
                         .n_vocab = 2048 };
    lt_err err = lt_dev_open(dev, "cpu", &options);

    if (err == LT_OK)
        err = lt_dev_reserve(*dev, &need);
    return err;
}

static void with_every_kernel(int n_threads, void (*run)(lt_dev *dev))
{
    for (kernel most = 0; most < N_KERNELS; most++) {
        lt_dev *dev = NULL;

        LT_CHECK_OK(open_cpu(&dev, n_threads));
        if (limit_to(dev, most))
            run(dev);
        lt_dev_close(dev);
    }
}

static const lt_dtype types[4] = { LT_F32, LT_BF16, LT_F16, LT_BF16 };

/* Shape number i of an endless list: every option by chance, sizes mostly odd. */
static shape random_shape(uint64_t i, int64_t most)
{
    uint64_t r = lt_random_u64(11, 0, i);
    lt_dtype type = types[r >> 20 & 3];
    shape s = {
        .m = 1 + (int64_t)(lt_random_u64(11, 1, i) % (uint64_t)most),
        .n = 1 + (int64_t)(lt_random_u64(11, 2, i) % (uint64_t)most),
        .k = 1 + (int64_t)(lt_random_u64(11, 3, i) % (uint64_t)most),
        .act = type,
        .d = r & 2 ? type : LT_F32,
        .trans_a = r & 4,
        .trans_b = r & 8,
        .bias = r & 16,
        .addend = (addend)(r >> 5 & 3),
        .epilogue = (lt_epilogue)(r >> 7 & 3),
        .kind = (lt_act)((r >> 9) % 5),
    };

    if (s.epilogue > LT_EPI_DACT)
        s.epilogue = LT_EPI_NONE;
    if (s.epilogue == LT_EPI_ACT)
        s.d = s.act;
    s.aux = s.epilogue == LT_EPI_DACT || (s.epilogue == LT_EPI_ACT && (r >> 16 & 1));
    s.col_sum = s.epilogue == LT_EPI_DACT && (r >> 17 & 1);
    s.add_col_sum = s.col_sum && (r >> 18 & 1);
    return s;
}

static void run_small(lt_dev *dev)
{
    for (uint64_t i = 0; i < 400; i++) {
        shape s = random_shape(i, 70);

        check_shape(dev, &s, 1);
    }
}

LT_TEST(matmul_small_shapes_with_every_option)
{
    with_every_kernel(2, run_small);
}

static void run_layouts(lt_dev *dev)
{
    static const int64_t sizes[] = { 1, 2, 15, 16, 33, 49 };
    enum { N = sizeof sizes / sizeof *sizes };

    for (int layout = 0; layout < 12; layout++)
        for (int i = 0; i < N * N * N; i++) {
            lt_dtype act = types[layout / 4];
            shape s = {
                .m = sizes[i % N],
                .n = sizes[i / N % N],
                .k = sizes[i / (N * N)],
                .act = act,
                .d = act,
                .trans_a = layout & 1,
                .trans_b = layout & 2,
            };

            check_shape(dev, &s, 1);
        }
}

LT_TEST(matmul_every_layout_at_the_edges_of_a_kernel)
{
    with_every_kernel(1, run_layouts);
}

/* More than one tile in each direction, more than one packed block of K, ragged ends. */
static void run_large(lt_dev *dev)
{
    static const int64_t sizes[][3] = { { 300, 500, 1101 }, { 521, 97, 700 }, { 33, 801, 2049 },
                                        { 1, 900, 768 },    { 700, 1, 513 },  { 256, 768, 512 },
                                        { 64, 2304, 768 },  { 768, 384, 256 } };

    for (uint64_t i = 0; i < 6 * LT_COUNT(sizes); i++) {
        shape s = random_shape(1000 + i, 1);

        s.m = sizes[i % 8][0];
        s.n = sizes[i % 8][1];
        s.k = sizes[i % 8][2];
        check_shape(dev, &s, 61);
    }
}

LT_TEST(matmul_several_tiles)
{
    with_every_kernel(2, run_large);
}

/* D of the same problem on n_threads workers. */
static char *result(const shape *s, int n_threads, kernel most, size_t *bytes)
{
    lt_dev *dev = NULL;
    problem p;
    char *copy = NULL;

    n_buffers = 0;
    problem_init(&p, s);
    if (open_cpu(&dev, n_threads) == LT_OK) {
        limit_to(dev, most);
        dev->ops->matmul(dev, &p.m);
        *bytes = p.d.bytes;
        copy = lt_new0(p.d.bytes);
        memcpy(copy, p.d.data, p.d.bytes);
    }
    lt_dev_close(dev);
    problem_release(&p);
    return copy;
}

LT_TEST(matmul_bits_do_not_depend_on_the_threads)
{
    for (uint64_t i = 0; i < 18; i++) {
        shape s = random_shape(2000 + i / N_KERNELS, 1);
        kernel most = (kernel)(i % N_KERNELS);
        bool same = true;
        size_t bytes = 0;
        char *first;

        s.m = 270;
        s.n = 411;
        s.k = 780 + (int64_t)i;
        first = result(&s, 1, most, &bytes);
        for (int n_threads = 3; n_threads <= 5; n_threads += 2) {
            char *again = result(&s, n_threads, most, &bytes);

            same = same && first && again && memcmp(first, again, bytes) == 0;
            free(again);
        }
        free(first);
        LT_FAIL_IF(!same, "%s, kernel %d", describe(&s), (int)most);
    }
}

/* Pages of which the last must not be touched. */
typedef struct wall {
    char *map;
    size_t bytes;
} wall;

/* Copies the view to where its last element is the last before that page. */
static bool wall_init(wall *w, lt_tensor *t)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), width = lt_dtype_bytes(t->dtype);
    size_t used = (size_t)((t->rows - 1) * t->stride + t->cols) * width;
    char *data;

    w->bytes = LT_ALIGN_UP(used, page) + page;
    w->map = mmap(NULL, w->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (w->map == MAP_FAILED || mprotect(w->map + w->bytes - page, page, PROT_NONE) != 0)
        return false;
    data = w->map + w->bytes - page - used;
    memcpy(data, t->data, used);
    t->data = data;
    return true;
}

static void wall_release(wall *w)
{
    munmap(w->map, w->bytes);
}

static void check_walled(lt_dev *dev, const shape *s)
{
    problem p;
    wall d, a, b;
    bool right = true;

    problem_init(&p, s);
    LT_CHECK(wall_init(&d, &p.m.d) && wall_init(&a, &p.m.a) && wall_init(&b, &p.m.b));
    p.d.t = p.m.d;
    dev->ops->matmul(dev, &p.m);
    for (int64_t e = 0; e < s->m * s->n && right; e++)
        right = element_is_right(&p, e / s->n, e % s->n);
    wall_release(&d);
    wall_release(&a);
    wall_release(&b);
    problem_release(&p);
    LT_FAIL_IF(!right, "%s, %s", describe(s), kernel_name(dev));
}

static void run_walled(lt_dev *dev)
{
    static const int64_t sizes[] = { 1, 17, 31, 64 };
    enum { N = sizeof sizes / sizeof *sizes };

    for (int layout = 0; layout < 12; layout++)
        for (int i = 0; i < N * N * N; i++) {
            lt_dtype act = types[layout / 4];
            shape s = {
                .m = sizes[i % N],
                .n = sizes[i / N % N],
                .k = sizes[i / (N * N)],
                .act = act,
                .d = act,
                .trans_a = layout & 1,
                .trans_b = layout & 2,
                .addend = i & 1 ? ADD_D : ADD_NOTHING,
            };

            check_walled(dev, &s);
        }
}

LT_TEST(matmul_touches_nothing_beyond_its_operands)
{
    with_every_kernel(1, run_walled);
}

LT_TEST(matmul_of_nothing_touches_nothing)
{
    lt_dev *dev = NULL;
    float d = 3, a = 1;

    LT_CHECK_OK(open_cpu(&dev, 1));
    dev->ops->matmul(dev, &(lt_matmul){ .d = lt_matrix(&d, LT_F32, 0, 1),
                                        .a = lt_matrix(&a, LT_F32, 0, 1),
                                        .b = lt_matrix(&a, LT_F32, 1, 1) });
    LT_CHECK_NEAR(d, 3, 0);
    lt_dev_close(dev);
}
