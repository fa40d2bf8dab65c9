/* test_tape.c - passes that are played from tape do what the model's code does, in its order.
 *
 * On the CPU, before which a recording device is faked (fake_graphs.h), the traces of a free, a
 * recorded and a played pass must agree.  With LT_TEST_DEVICE=cuda the last test compares real
 * graphs with free runs, bit by bit. */
#include "fake_graphs.h"
#include "lt_test.h"
#include "tiny_gpt2.h"
#include "base/rng.h"
#include "model/model.h"

#include <stdlib.h>

enum { B = 2, T = 64, ROWS = B * T, VOCAB = 300, MAX_PARAMS = 64, SLOTS = 12 };

/* ---- a tiny GPT-2; each parameter and gradient has a buffer of its own */

typedef struct tiny {
    lt_unit_access access; /* first */
    lt_model_config config;
    lt_model_shape shape;
    lt_param_table *table;
    lt_model *model;
    lt_dev *dev;
    lt_tensor params[MAX_PARAMS], grads[MAX_PARAMS]; /* compute type; fp32 */
    lt_tensor master[MAX_PARAMS], m[MAX_PARAMS], v[MAX_PARAMS];
    int32_t *ids[SLOTS]; /* device, as the rest: each slot ids, targets, positions */
    float *losses;
    double *sums;
    lt_step_state *state;
    void *arena;
    int n_looked_up; /* parameters asked for: the model's code runs */
} tiny;

static lt_tensor access_param(lt_unit_access *a, int index)
{
    ((tiny *)a)->n_looked_up++;
    return ((tiny *)a)->params[index];
}

static lt_tensor access_grad(lt_unit_access *a, int index)
{
    return ((tiny *)a)->grads[index];
}

static void note_hook(int hook, int unit)
{
    LT_BUG_ON(fake.recording); /* a hook is no part of a graph */
    if (fake.real)
        put_trace(TRACE_HOOK, (uint64_t)(hook * 100 + unit));
}

static void access_acquire(lt_unit_access *a, int unit)
{
    (void)a;
    note_hook(1, unit);
}

static void access_release(lt_unit_access *a, int unit)
{
    (void)a;
    note_hook(2, unit);
}

static void access_grads_done(lt_unit_access *a, int unit)
{
    (void)a;
    note_hook(3, unit);
}

static void *take(tiny *m, size_t bytes)
{
    void *p = NULL;

    LT_BUG_ON(lt_dev_alloc(m->dev, LT_MEMORY_DEVICE, bytes, &p) != LT_OK);
    return p;
}

static void send(tiny *m, void *dst, const void *src, size_t bytes)
{
    lt_dev_copy(m->dev, LT_STREAM_COMPUTE, dst, src, bytes);
    LT_BUG_ON(lt_dev_sync(m->dev) != LT_OK);
}

static void fill_param(tiny *m, int i)
{
    const lt_param *p = &m->table->params[i];
    size_t n = (size_t)p->phys_count;
    float *x = lt_new_array0(n, sizeof *x);
    void *narrow = lt_new_array0(n, sizeof *x);

    LT_BUG_ON(i >= MAX_PARAMS);
    m->params[i] = lt_matrix(take(m, n * 4), m->shape.act, p->phys_rows, p->cols);
    m->grads[i] = lt_matrix(take(m, n * 4), LT_F32, p->phys_rows, p->cols);
    m->master[i] = lt_vector(take(m, n * 4), LT_F32, (int64_t)n);
    m->m[i] = lt_vector(take(m, n * 4), LT_F32, (int64_t)n);
    m->v[i] = lt_vector(take(m, n * 4), LT_F32, (int64_t)n);
    lt_param_init_slice(m->table, &m->config, i, 5, 0, p->count, x);
    lt_convert(narrow, m->shape.act, x, LT_F32, n);
    send(m, m->master[i].data, x, n * 4);
    send(m, m->params[i].data, narrow, n * lt_dtype_bytes(m->shape.act));
    free(x);
    free(narrow);
}

static void fill_slots(tiny *m)
{
    int32_t host[3 * ROWS];

    for (int s = 0; s < SLOTS; s++) {
        for (int i = 0; i < 2 * ROWS; i++)
            host[i] = (int32_t)(lt_random_u64(3, (uint64_t)(s % 2), (uint64_t)i) % VOCAB);
        for (int i = 0; i < ROWS; i++)
            host[2 * ROWS + i] = i % T;
        m->ids[s] = take(m, sizeof host);
        send(m, m->ids[s], host, sizeof host);
    }
}

static lt_model_config config_of(void)
{
    lt_model_config config = tiny_gpt2(VOCAB, T, 64, 2, 256);

    config.init_std = 0.02;
    return config;
}

static tiny *tiny_open(const char *device, lt_dtype act, bool with_fake)
{
    const lt_step_state state = { .lr = 1e-3f, .inv_tokens = 1.0f / ROWS, .loss_scale = 1 };
    tiny *m = lt_new0(sizeof *m);
    lt_dev_need need;

    memset(&fake, 0, sizeof fake);
    m->access = (lt_unit_access){ access_param, access_grad, access_acquire, access_release,
                                  access_grads_done };
    m->config = config_of();
    m->shape = (lt_model_shape){
        .n_batch = B, .seq = T, .act = act, .grad = LT_F32, .chunk_rows = 48, .uses = { true, true }
    };
    m->table = lt_param_table_new(&m->config);
    LT_BUG_ON(lt_model_new(&m->model, &m->config, m->table, &m->shape) != LT_OK);
    if (lt_dev_open(&m->dev, device, &(lt_dev_options){ .n_threads = 2, .deterministic = true }))
        lt_bug(__FILE__, __LINE__, __func__, lt_err_text());
    need = lt_model_need(m->model);
    need.n_threads = 2;
    LT_BUG_ON(lt_dev_reserve(m->dev, &need) != LT_OK);
    for (int i = 0; i < m->table->n_params; i++)
        fill_param(m, i);
    fill_slots(m);
    m->losses = take(m, ROWS * sizeof *m->losses);
    m->sums = take(m, (MAX_PARAMS + 1) * sizeof *m->sums);
    m->state = take(m, sizeof state);
    send(m, m->state, &state, sizeof state);
    m->arena = take(m, lt_model_arena_bytes(m->model));
    if (with_fake)
        fake_install(m->dev);
    lt_model_bind(m->model, m->dev, &m->access, m->arena, NULL);
    m->dev->ops->step_begin(m->dev, m->state);
    return m;
}

static void tiny_close(tiny *m)
{
    void *others[] = { m->losses, m->sums, m->state, m->arena };

    lt_model_free(m->model);
    LT_BUG_ON(fake.n_graphs != 0);
    for (int i = 0; i < m->table->n_params; i++) {
        lt_tensor *t[] = { &m->params[i], &m->grads[i], &m->master[i], &m->m[i], &m->v[i] };

        for (size_t k = 0; k < LT_COUNT(t); k++)
            lt_dev_free(m->dev, LT_MEMORY_DEVICE, t[k]->data);
    }
    for (int s = 0; s < SLOTS; s++)
        lt_dev_free(m->dev, LT_MEMORY_DEVICE, m->ids[s]);
    for (size_t i = 0; i < LT_COUNT(others); i++)
        lt_dev_free(m->dev, LT_MEMORY_DEVICE, others[i]);
    lt_dev_close(m->dev);
    lt_param_table_free(m->table);
    free(m);
}

static lt_model_batch batch_of(const tiny *m, int slot)
{
    return (lt_model_batch){ .ids = lt_vector(m->ids[slot], LT_I32, ROWS),
                             .targets = lt_vector(m->ids[slot] + ROWS, LT_I32, ROWS),
                             .positions = lt_vector(m->ids[slot] + 2 * ROWS, LT_I32, ROWS) };
}

static void pass(tiny *m, int slot, bool add)
{
    lt_model_batch batch = batch_of(m, slot);

    fake.n_trace = 0;
    m->n_looked_up = 0;
    lt_model_train(m->model, &batch, lt_vector(m->losses, LT_F32, ROWS), m->state, add);
}

/* What the last pass left behind, in bits. */
static uint64_t result_of(tiny *m)
{
    uint64_t h = 0;

    for (int i = 0; i < m->table->n_params; i++)
        for (int64_t k = 0; k < m->table->params[i].phys_count; k++) {
            uint32_t bits;

            memcpy(&bits, (float *)m->grads[i].data + k, sizeof bits);
            mix(&h, bits);
        }
    for (int i = 0; i < ROWS; i++) {
        uint32_t bits;

        memcpy(&bits, m->losses + i, sizeof bits);
        mix(&h, bits);
    }
    return h;
}

/* ---- tests */

LT_TEST(tape_plays_what_the_model_did_in_its_order)
{
    tiny *m = tiny_open("cpu", LT_F32, true);
    uint64_t first[MAX_TRACE], result;
    int n, graphs = 2 * (int)m->config.n_layer + 3;

    pass(m, 0, false);
    LT_CHECK_INT(fake.n_captures, 0);
    n = fake.n_trace;
    memcpy(first, fake.trace, sizeof first);
    result = result_of(m);
    LT_CHECK(n > 40 && m->n_looked_up > 0);
    for (int run = 1; run < 4; run++) { /* recorded, played, played */
        pass(m, 0, false);
        LT_CHECK_INT(fake.n_trace, n);
        LT_CHECK(memcmp(fake.trace, first, (size_t)n * sizeof *first) == 0);
        LT_CHECK(result_of(m) == result);
        LT_CHECK((m->n_looked_up > 0) == (run == 1));
        LT_CHECK_INT(fake.n_captures, graphs);
        LT_CHECK_INT(fake.n_launches, run * graphs);
    }
    tiny_close(m);
}

LT_TEST(tape_tells_passes_apart_by_buffers_and_flags)
{
    tiny *m = tiny_open("cpu", LT_F32, true);
    lt_model_batch batch = batch_of(m, 0);
    void *scratch = m->dev->scratch;
    int recorded;

    for (int run = 0; run < 3; run++)
        for (int slot = 0; slot < 2; slot++)
            for (int add = 0; add < 2; add++) {
                pass(m, slot, add);
                LT_CHECK((m->n_looked_up > 0) == (run < 2));
            }
    for (int run = 0; run < 3; run++) {
        m->n_looked_up = 0;
        lt_model_evaluate(m->model, &batch, lt_vector(m->losses, LT_F32, ROWS));
        LT_CHECK((m->n_looked_up > 0) == (run < 2));
    }
    pass(m, 0, false);
    LT_CHECK_INT(m->n_looked_up, 0);
    m->dev->scratch = take(m, m->dev->scratch_bytes); /* as after lt_dev_reserve */
    pass(m, 0, false);
    LT_CHECK(m->n_looked_up > 0);
    lt_dev_free(m->dev, LT_MEMORY_DEVICE, m->dev->scratch);
    m->dev->scratch = scratch;
    m->dev->ops = fake.real; /* a table that is not the device's own */
    recorded = fake.n_graphs;
    pass(m, 0, false);
    LT_CHECK(m->n_looked_up > 0);
    LT_CHECK_INT(fake.n_graphs, recorded);
    tiny_close(m);
}

LT_TEST(tape_keeps_a_bounded_number_of_passes)
{
    tiny *m = tiny_open("cpu", LT_F32, true);
    int most = 0;

    for (int slot = 0; slot < SLOTS; slot++)
        for (int run = 0; run < 3; run++) {
            pass(m, slot, false);
            LT_CHECK((m->n_looked_up > 0) == (run < 2));
            most = fake.n_graphs > most ? fake.n_graphs : most;
        }
    LT_CHECK_INT(most, 8 * (2 * (int)m->config.n_layer + 3));
    pass(m, SLOTS - 1, false);
    LT_CHECK_INT(m->n_looked_up, 0);
    pass(m, 0, false); /* made room long ago */
    LT_CHECK(m->n_looked_up > 0);
    tiny_close(m);
}

LT_TEST(tape_can_be_turned_off_and_gives_up_after_a_fault)
{
    tiny *m = tiny_open("cpu", LT_F32, true);

    lt_model_set_graphs(m->model, false);
    for (int run = 0; run < 3; run++)
        pass(m, 0, false);
    LT_CHECK_INT(fake.n_captures, 0);
    lt_model_set_graphs(m->model, true);
    pass(m, 0, false);
    fake.cannot_end = true;
    pass(m, 0, false);
    LT_CHECK_INT(fake.n_captures, 1);
    for (int run = 0; run < 3; run++) {
        pass(m, 0, false);
        LT_CHECK(m->n_looked_up > 0);
    }
    LT_CHECK_INT(fake.n_captures, 1);
    LT_CHECK_INT(fake.n_graphs, 0);
    tiny_close(m);
}

/* Losses of each row of 20 steps of two micro-batches, in bits. */
static void train(const char *device, bool graphs, uint32_t bits[20][ROWS])
{
    const lt_adamw adam = { .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .decoupled = true };
    tiny *m = tiny_open(device, LT_BF16, strcmp(device, "cpu") == 0);
    const lt_ops *ops = m->dev->ops;

    lt_model_set_graphs(m->model, graphs);
    for (int step = 0; step < 20; step++) {
        ops->step_begin(m->dev, m->state);
        pass(m, step % 2, false);
        pass(m, 1 - step % 2, true);
        ops->grad_norm_finish(m->dev, m->state, m->sums, 1, 1, 0, &adam);
        for (int i = 0; i < m->table->n_params; i++) {
            int64_t n = m->table->params[i].phys_count;

            ops->adamw(m->dev, m->master[i], lt_vector(m->params[i].data, LT_BF16, n), m->m[i],
                       m->v[i], lt_vector(m->grads[i].data, LT_F32, n), m->state, &adam);
        }
        send(m, bits[step], m->losses, sizeof bits[step]);
    }
    LT_BUG_ON(graphs != (m->n_looked_up == 0));
    tiny_close(m);
}

LT_TEST(graphs_change_no_bit_of_twenty_steps)
{
    static uint32_t free_run[20][ROWS], played[20][ROWS];
    const char *device = getenv("LT_TEST_DEVICE");
    float before, after;

    train(device ? device : "cpu", false, free_run);
    train(device ? device : "cpu", true, played);
    LT_CHECK(memcmp(free_run, played, sizeof played) == 0);
    memcpy(&before, &played[0][7], sizeof before);
    memcpy(&after, &played[18][7], sizeof after);
    LT_CHECK(after < before - 0.1f); /* it did learn */
}
