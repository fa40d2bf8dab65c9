/* test_gradients.c - the whole model, forward and backward, on the CPU in fp32.
 *
 * A tiny GPT-2 is joined as train/ joins it, but without train/.  Finite differences are the oracle
 * of the gradients; the rest are identities: recomputation changes no bit, accumulation is a larger
 * batch, masked documents are documents apart, a KV cache changes no logit.  Memory of the CPU
 * device is host memory, so the tests read and write parameters and gradients directly. */
#include "lt_test.h"
#include "tiny_gpt2.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/model.h"
#include "zero/store.h"

#include <math.h>
#include <stdlib.h>

enum { VOCAB = 11, PHYS_VOCAB = 128, MAX_ROWS = 32 };
enum { B = 2, T = 5 };

typedef struct tiny {
    lt_unit_access access; /* first: the model's hooks lead back here */
    lt_model_config config;
    lt_model_shape shape;
    lt_param_table *table;
    lt_model *model;
    lt_zero_plan *plan;
    lt_dev *dev;
    lt_group *group;
    lt_comm *comm;
    lt_zero_store *store;
    void *arena, *cache;
    int32_t ids[MAX_ROWS], targets[MAX_ROWS], positions[MAX_ROWS], doc_start[MAX_ROWS];
    bool has_documents;
    float losses[MAX_ROWS], logits[MAX_ROWS * PHYS_VOCAB];
    lt_step_state state;
    int gradients_done[8]; /* [unit]: how often announced */
} tiny;

/* ---- the fixture */

static lt_tensor access_param(lt_unit_access *a, int index)
{
    return lt_zero_param(((tiny *)a)->store, index);
}

static lt_tensor access_grad(lt_unit_access *a, int index)
{
    return lt_zero_grad(((tiny *)a)->store, index);
}

static void access_acquire(lt_unit_access *a, int unit)
{
    lt_zero_gather(((tiny *)a)->store, unit);
}

static void access_release(lt_unit_access *a, int unit)
{
    lt_zero_release(((tiny *)a)->store, unit);
}

static void access_grads_done(lt_unit_access *a, int unit)
{
    ((tiny *)a)->gradients_done[unit]++;
}

static float *param(tiny *m, int index)
{
    return lt_f32(lt_zero_param(m->store, index));
}

static float *grad(tiny *m, int index)
{
    return lt_f32(lt_zero_grad(m->store, index));
}

static lt_model_config tiny_config(bool tied)
{
    lt_model_config config = tiny_gpt2(VOCAB, 8, 8, 2, 20);

    config.tied = tied;
    config.init_std = 0.02;
    return config;
}

static lt_err take(tiny *m, size_t bytes, void **out)
{
    return bytes ? lt_dev_alloc(m->dev, LT_MEMORY_DEVICE, bytes, out) : LT_OK;
}

static lt_err tiny_join(tiny *m)
{
    lt_dev_need need;
    lt_err err;

    LT_TRY(err = lt_model_new(&m->model, &m->config, m->table, &m->shape));
    LT_TRY(err = lt_zero_plan_new(
               &m->plan, m->table,
               &(lt_zero_settings){
                   .world = 1, .compute = LT_F32, .grad = LT_F32, .training = true }));
    LT_TRY(err = lt_dev_open(&m->dev, "cpu", &(lt_dev_options){ .n_threads = 2 }));
    need = lt_model_need(m->model);
    need.n_threads = 2;
    LT_TRY(err = lt_dev_reserve(m->dev, &need));
    m->group = lt_group_self_new();
    LT_TRY(err = lt_comm_open(&m->comm, m->dev, m->group, false));
    LT_TRY(err = lt_zero_store_open(&m->store, m->dev, m->comm, m->plan, m->table));
    LT_TRY(err = take(m, lt_model_arena_bytes(m->model), &m->arena));
    LT_TRY(err = take(m, lt_model_cache_bytes(m->model), &m->cache));
    lt_model_bind(m->model, m->dev, &m->access, m->arena, m->cache);
fail:
    return err;
}

/* Weights of a size that makes every gradient worth comparing, biases and norms too. */
static void fill_params(tiny *m)
{
    for (int i = 0; i < m->table->n_params; i++) {
        const lt_param *p = &m->table->params[i];

        for (int64_t k = 0; k < p->count; k++)
            param(m, i)[k] = (p->init == LT_INIT_ONE ? 1.0f : 0.0f) +
                             0.3f * (float)lt_random_normal(11, (uint64_t)i, (uint64_t)k);
    }
}

static int64_t n_rows(const tiny *m)
{
    return m->shape.n_batch * m->shape.seq;
}

static void fill_tokens(tiny *m)
{
    for (int64_t r = 0; r < n_rows(m); r++) {
        m->ids[r] = (int32_t)(lt_random_u64(12, 0, (uint64_t)r) % VOCAB);
        m->targets[r] = (int32_t)(lt_random_u64(12, 1, (uint64_t)r) % VOCAB);
        m->positions[r] = (int32_t)(r % m->shape.seq);
    }
}

static lt_model_shape shape_of(int64_t n_batch, lt_recompute recompute)
{
    return (lt_model_shape){ .n_batch = n_batch,
                             .seq = T,
                             .act = LT_F32,
                             .grad = LT_F32,
                             .recompute = recompute,
                             .chunk_rows = 3, /* B*T is no multiple of it */
                             .uses = { true, true, true, false } };
}

static lt_err tiny_open(tiny **out, bool tied, const lt_model_shape *shape)
{
    tiny *m = lt_new0(sizeof *m);
    lt_err err;

    *out = m;
    m->access = (lt_unit_access){ access_param, access_grad, access_acquire, access_release,
                                  access_grads_done };
    m->config = tiny_config(tied);
    m->shape = *shape;
    m->table = lt_param_table_new(&m->config);
    LT_TRY(err = lt_model_config_check(&m->config));
    LT_TRY(err = tiny_join(m));
    m->state.grad_scale = m->state.inv_scale = 1;
    fill_params(m);
    fill_tokens(m);
fail:
    return err;
}

static void tiny_close(tiny *m)
{
    if (m->dev) {
        lt_dev_free(m->dev, LT_MEMORY_DEVICE, m->arena);
        lt_dev_free(m->dev, LT_MEMORY_DEVICE, m->cache);
    }
    lt_zero_store_close(m->store);
    lt_comm_close(m->comm);
    lt_group_close(m->group);
    lt_dev_close(m->dev);
    lt_zero_plan_free(m->plan);
    lt_model_free(m->model);
    lt_param_table_free(m->table);
    free(m);
}

/* Rows [first, first + n) of the fixture's tokens. */
static lt_model_batch batch_of(tiny *m, int64_t first, int64_t n)
{
    return (lt_model_batch){ .ids = lt_vector(m->ids + first, LT_I32, n),
                             .targets = lt_vector(m->targets + first, LT_I32, n),
                             .positions = lt_vector(m->positions + first, LT_I32, n),
                             .doc_start = m->has_documents
                                              ? lt_vector(m->doc_start + first, LT_I32, n)
                                              : lt_absent() };
}

static double sum_losses(const tiny *m)
{
    double sum = 0;

    for (int64_t r = 0; r < n_rows(m); r++)
        sum += (double)m->losses[r];
    return sum;
}

/* Gradients of the sum of the token losses of the micro-batch that begins at row `first`. */
static double train_at(tiny *m, int64_t first, bool add)
{
    lt_model_batch batch = batch_of(m, first, n_rows(m));

    lt_model_train(m->model, &batch, lt_vector(m->losses, LT_F32, n_rows(m)), &m->state, add);
    return sum_losses(m);
}

static double evaluate(tiny *m)
{
    lt_model_batch batch = batch_of(m, 0, n_rows(m));

    lt_model_evaluate(m->model, &batch, lt_vector(m->losses, LT_F32, n_rows(m)));
    return sum_losses(m);
}

static void compute_logits(tiny *m)
{
    lt_model_batch batch = batch_of(m, 0, n_rows(m));

    lt_model_logits(m->model, &batch, lt_matrix(m->logits, LT_F32, n_rows(m), PHYS_VOCAB));
}

/* Largest difference of two models' gradients, relative to the largest element of the parameter. */
static double gradients_differ(tiny *a, tiny *b)
{
    double worst = 0;

    for (int i = 0; i < a->table->n_params; i++) {
        double largest = 1e-6, difference = 0;

        for (int64_t k = 0; k < a->table->params[i].phys_count; k++) {
            double x = (double)grad(a, i)[k], y = (double)grad(b, i)[k];

            largest = fmax(largest, fabs(x));
            difference = fmax(difference, fabs(x - y));
        }
        worst = fmax(worst, difference / largest);
    }
    return worst;
}

/* ---- gradients */

/* dLoss / dx by differences of fourth order: fp32 leaves noise of about 1e-6 / step. */
static double numeric_gradient(tiny *m, float *x)
{
    const float step = 0x1p-5f, at = *x;
    double loss[4];

    for (int i = 0; i < 4; i++) {
        static const float where[] = { 1, -1, 2, -2 };

        *x = at + where[i] * step;
        loss[i] = evaluate(m);
    }
    *x = at;
    return (8 * (loss[0] - loss[1]) - (loss[2] - loss[3])) / (12 * (double)step);
}

enum { SAMPLES = 24 };

static void check_param(tiny *m, int index)
{
    const lt_param *p = &m->table->params[index];
    double largest = 0;

    for (int64_t k = 0; k < p->phys_count; k++)
        largest = fmax(largest, fabs((double)grad(m, index)[k]));
    LT_FAIL_IF(!(largest > 1e-3), "%s: largest gradient %g: too small to compare", p->name,
               largest);
    for (int64_t k = p->count; k < p->phys_count; k++)
        LT_FAIL_IF(grad(m, index)[k] != 0, "%s: padding has a gradient", p->name);
    for (int s = 0; s < SAMPLES; s++) {
        uint64_t n = (uint64_t)p->count;
        uint64_t k =
            n <= SAMPLES ? (uint64_t)s % n : lt_random_u64(13, (uint64_t)index, (uint64_t)s) % n;
        double found = (double)grad(m, index)[k],
               expected = numeric_gradient(m, &param(m, index)[k]);

        LT_FAIL_IF(!(fabs(found - expected) <= 1e-2 * fabs(expected) + 1e-3 * largest),
                   "%s[%d]: gradient %.6g, differences say %.6g", p->name, (int)k, found, expected);
    }
}

static void check_gradients(bool tied, bool has_documents)
{
    lt_model_shape shape = shape_of(B, LT_RECOMPUTE_NONE);
    tiny *m = NULL;
    double train_loss;

    LT_CHECK_OK(tiny_open(&m, tied, &shape));
    m->targets[3] = -1; /* a masked target takes no part */
    if (has_documents) {
        static const int32_t starts[B * T] = { 0, 0, 2, 2, 2, 0, 1, 1, 3, 3 };

        m->has_documents = true;
        memcpy(m->doc_start, starts, sizeof starts);
    }
    train_loss = train_at(m, 0, false);
    LT_CHECK(m->losses[3] == 0);
    LT_CHECK(train_loss > 1 && evaluate(m) == train_loss);
    for (int u = 0; u < m->table->n_units; u++)
        LT_CHECK_INT(m->gradients_done[u], 1);
    for (int i = 0; i < m->table->n_params; i++)
        check_param(m, i);
    tiny_close(m);
}

LT_TEST(gradients_untied)
{
    check_gradients(false, false);
}

LT_TEST(gradients_tied)
{
    check_gradients(true, false);
}

LT_TEST(gradients_with_documents)
{
    check_gradients(true, true);
}

/* Tokens and positions that do not occur have no gradient, bit for bit. */
LT_TEST(gradients_of_what_was_not_looked_up_are_zero)
{
    lt_model_shape shape = shape_of(B, LT_RECOMPUTE_NONE);
    tiny *m = NULL;
    int wte, wpe;

    LT_CHECK_OK(tiny_open(&m, false, &shape));
    for (int r = 0; r < B * T; r++)
        m->ids[r] = r % 4;
    train_at(m, 0, false);
    wte = lt_param_find(m->table, LT_ROLE_TOKEN_EMBED, -1);
    wpe = lt_param_find(m->table, LT_ROLE_POSITION_EMBED, -1);
    for (int64_t k = 4 * 8; k < VOCAB * 8; k++)
        LT_CHECK(grad(m, wte)[k] == 0);
    for (int64_t k = T * 8; k < m->table->params[wpe].count; k++)
        LT_CHECK(grad(m, wpe)[k] == 0);
    tiny_close(m);
}

/* grad_scale is a factor of every gradient; a power of two changes no bit but the exponent's. */
LT_TEST(gradients_scale_with_the_step_state)
{
    lt_model_shape shape = shape_of(B, LT_RECOMPUTE_NONE);
    tiny *a = NULL, *b = NULL;

    LT_CHECK_OK(tiny_open(&a, true, &shape));
    LT_CHECK_OK(tiny_open(&b, true, &shape));
    b->state.grad_scale = 0x1p-7f;
    LT_CHECK(train_at(a, 0, false) == train_at(b, 0, false)); /* losses are not scaled */
    for (int i = 0; i < a->table->n_params; i++)
        for (int64_t k = 0; k < a->table->params[i].phys_count; k++)
            LT_CHECK(grad(a, i)[k] * 0x1p-7f == grad(b, i)[k]);
    tiny_close(a);
    tiny_close(b);
}

/* ---- identities */

LT_TEST(gradients_recompute_changes_no_bit)
{
    for (int tied = 0; tied < 2; tied++) {
        tiny *kept = NULL;
        lt_model_shape shape = shape_of(B, LT_RECOMPUTE_NONE);
        double loss;

        LT_CHECK_OK(tiny_open(&kept, tied, &shape));
        loss = train_at(kept, 0, false);
        for (int r = LT_RECOMPUTE_SELECTIVE; r <= LT_RECOMPUTE_BLOCK; r++) {
            tiny *again = NULL;

            shape = shape_of(B, (lt_recompute)r);
            LT_CHECK_OK(tiny_open(&again, tied, &shape));
            LT_CHECK(train_at(again, 0, false) == loss);
            for (int i = 0; i < kept->table->n_params; i++)
                LT_FAIL_IF(memcmp(grad(kept, i), grad(again, i),
                                  (size_t)kept->table->params[i].phys_count * sizeof(float)) != 0,
                           "recompute %d: %s differs", r, kept->table->params[i].name);
            tiny_close(again);
        }
        tiny_close(kept);
    }
}

/* The same step twice over old garbage: nothing depends on what memory held before. */
LT_TEST(gradients_do_not_depend_on_old_memory)
{
    lt_model_shape shape = shape_of(B, LT_RECOMPUTE_SELECTIVE);
    tiny *clean = NULL, *dirty = NULL;

    LT_CHECK_OK(tiny_open(&clean, true, &shape));
    LT_CHECK_OK(tiny_open(&dirty, true, &shape));
    memset(dirty->arena, 0xff, lt_model_arena_bytes(dirty->model)); /* NaN */
    for (int i = 0; i < dirty->table->n_params; i++)
        memset(grad(dirty, i), 0xff, (size_t)dirty->table->params[i].phys_count * sizeof(float));
    LT_CHECK(train_at(clean, 0, false) == train_at(dirty, 0, false));
    for (int i = 0; i < clean->table->n_params; i++)
        LT_FAIL_IF(memcmp(grad(clean, i), grad(dirty, i),
                          (size_t)clean->table->params[i].phys_count * sizeof(float)) != 0,
                   "%s differs", clean->table->params[i].name);
    tiny_close(clean);
    tiny_close(dirty);
}

LT_TEST(gradients_two_micro_batches_are_one_double_batch)
{
    for (int tied = 0; tied < 2; tied++) {
        lt_model_shape half = shape_of(B, LT_RECOMPUTE_NONE),
                       whole = shape_of(2 * B, LT_RECOMPUTE_NONE);
        tiny *a = NULL, *b = NULL;
        double sum, differ;

        LT_CHECK_OK(tiny_open(&a, tied, &whole));
        LT_CHECK_OK(tiny_open(&b, tied, &half));
        memcpy(b->ids, a->ids, sizeof a->ids);
        memcpy(b->targets, a->targets, sizeof a->targets);
        memcpy(b->positions, a->positions, sizeof a->positions);
        a->state.grad_scale = b->state.grad_scale = 1.0f / (2 * B * T);
        sum = train_at(b, 0, false);
        sum += train_at(b, B * T, true);
        LT_CHECK_NEAR(train_at(a, 0, false), sum, 1e-5);
        differ = gradients_differ(a, b);
        LT_FAIL_IF(!(differ <= 1e-6), "gradients differ by %g of the largest", differ);
        tiny_close(a);
        tiny_close(b);
    }
}

/* Sequence 0 holds documents of 3 and 2 tokens.  Apart, each is the head of a sequence of its own,
 * whose tail nobody sees (causal) and nobody learns from (masked targets). */
static void put_apart(const tiny *packed, tiny *apart)
{
    for (int r = 0; r < B * T; r++) {
        int document = r / T, t = r % T, from = document ? 3 + t : t;
        bool inside = t < (document ? 2 : 3);

        apart->ids[r] = inside ? packed->ids[from] : 5;
        apart->targets[r] = inside ? packed->targets[from] : -1;
        apart->positions[r] = t;
    }
}

LT_TEST(gradients_documents_masked_are_documents_apart)
{
    lt_model_shape one = shape_of(1, LT_RECOMPUTE_NONE), two = shape_of(2, LT_RECOMPUTE_NONE);
    static const int32_t starts[T] = { 0, 0, 0, 3, 3 }, positions[T] = { 0, 1, 2, 0, 1 };
    tiny *packed = NULL, *apart = NULL;
    double differ;

    LT_CHECK_OK(tiny_open(&packed, true, &one));
    LT_CHECK_OK(tiny_open(&apart, true, &two));
    put_apart(packed, apart);
    memcpy(packed->doc_start, starts, sizeof starts);
    memcpy(packed->positions, positions, sizeof positions);
    packed->has_documents = true;
    LT_CHECK_NEAR(train_at(packed, 0, false), train_at(apart, 0, false), 1e-5);
    differ = gradients_differ(packed, apart);
    LT_FAIL_IF(!(differ <= 1e-6), "gradients differ by %g of the largest", differ);
    compute_logits(packed);
    compute_logits(apart);
    for (int t = 0; t < T; t++)
        for (int v = 0; v < VOCAB; v++)
            LT_CHECK_NEAR((double)packed->logits[t * PHYS_VOCAB + v],
                          (double)apart->logits[(t < 3 ? t : T + t - 3) * PHYS_VOCAB + v], 1e-5);
    packed->has_documents = false; /* the mask did matter */
    LT_CHECK(fabs(evaluate(packed) - sum_losses(apart)) > 1e-3);
    tiny_close(packed);
    tiny_close(apart);
}

/* ---- generation */

/* Appends positions [past, past + n) of both sequences; m->logits gets a row a sequence. */
static void append(tiny *m, const tiny *tokens, int64_t past, int64_t n)
{
    lt_model_batch batch;

    for (int64_t r = 0; r < B * n; r++) {
        m->positions[r] = (int32_t)(past + r % n);
        m->ids[r] = tokens->ids[r / n * T + past + r % n];
    }
    batch = batch_of(m, 0, B * n);
    lt_model_generate(m->model, &batch, past, n, lt_matrix(m->logits, LT_F32, B, PHYS_VOCAB));
}

static void check_generation(const int *lengths, int n_lengths)
{
    lt_model_shape shape = shape_of(B, LT_RECOMPUTE_NONE);
    tiny *whole = NULL, *stepped = NULL;
    int64_t past = 0;

    LT_CHECK_OK(tiny_open(&whole, true, &shape));
    compute_logits(whole);
    shape.uses[LT_USE_GENERATE] = true;
    shape.generate_batch = B;
    shape.generate_prompt = 4;
    shape.generate_total = 7;
    LT_CHECK_OK(tiny_open(&stepped, true, &shape));
    for (int i = 0; i < n_lengths; i++) {
        append(stepped, whole, past, lengths[i]);
        past += lengths[i];
        for (int b = 0; b < B; b++)
            for (int v = 0; v < VOCAB; v++)
                LT_CHECK_NEAR((double)stepped->logits[b * PHYS_VOCAB + v],
                              (double)whole->logits[(b * T + past - 1) * PHYS_VOCAB + v], 1e-5);
    }
    tiny_close(whole);
    tiny_close(stepped);
}

LT_TEST(generation_of_a_prompt_equals_logits)
{
    check_generation((int[]){ 4 }, 1);
}

LT_TEST(generation_token_by_token_equals_logits)
{
    check_generation((int[]){ 1, 1, 1, 1, 1 }, 5);
    check_generation((int[]){ 3, 1, 1 }, 3);
    check_generation((int[]){ 2, 3 }, 2);
}

/* ---- refusals */

LT_TEST(model_refuses_sequences_beyond_its_positions)
{
    lt_model_shape shape = shape_of(B, LT_RECOMPUTE_NONE);
    lt_model_config config = tiny_config(true);
    lt_param_table *table = lt_param_table_new(&config);
    lt_model *m = NULL;

    shape.seq = 9;
    LT_CHECK_FAILS(lt_model_new(&m, &config, table, &shape), LT_EUSAGE,
                   "the model has 8 positions");
    shape.seq = 8;
    shape.generate_total = 9;
    LT_CHECK_FAILS(lt_model_new(&m, &config, table, &shape), LT_EUSAGE,
                   "generating up to 9 tokens");
    LT_CHECK(!m);
    lt_model_free(NULL);
    lt_param_table_free(table);
}
