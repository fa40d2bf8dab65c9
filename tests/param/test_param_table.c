/* test_param_table.c - counts, names, padding and first values of the parameters. */
#include "lt_test.h"
#include "base/mem.h"
#include "param/param_table.h"

#include <math.h>
#include <stdlib.h>

static lt_model_config named(const char *name)
{
    lt_model_config m = { 0 };

    LT_BUG_ON(!lt_model_config_named(&m, name));
    return m;
}

/* Row by Hugging Face name; -1 if there is none. */
static int find_name(const lt_param_table *t, const char *name)
{
    for (int i = 0; i < t->n_params; i++)
        if (strcmp(t->params[i].name, name) == 0)
            return i;
    return -1;
}

/* What transformers counts for the four models; lm_head is the token embedding. */
LT_TEST(param_table_counts_as_published)
{
    static const struct {
        const char *name;
        int64_t count;
        int n_params;
    } models[] = { { "gpt2", 124439808, 148 },
                   { "gpt2-medium", 354823168, 292 },
                   { "gpt2-large", 774030080, 436 },
                   { "gpt2-xl", 1557611200, 580 } };

    for (size_t i = 0; i < LT_COUNT(models); i++) {
        lt_model_config m = named(models[i].name);
        lt_param_table *t = lt_param_table_new(&m);
        int64_t sum = 0;

        for (int k = 0; k < t->n_params; k++)
            sum += t->params[k].count;
        LT_CHECK_INT(t->n_elements, models[i].count);
        LT_CHECK_INT(sum, models[i].count);
        LT_CHECK_INT(t->n_params, models[i].n_params);
        LT_CHECK_INT(t->n_units, m.n_layer + 2);
        lt_param_table_free(t);
    }
    lt_param_table_free(NULL);
}

LT_TEST(param_table_untied_head_is_one_more_row)
{
    lt_model_config m = named("gpt2");
    lt_param_table *t;
    const lt_param *head;

    m.tied = false;
    t = lt_param_table_new(&m);
    LT_CHECK_INT(t->n_params, 149);
    LT_CHECK_INT(t->n_elements, 124439808 + 50257 * 768);
    head = &t->params[find_name(t, "lm_head.weight")];
    LT_CHECK_INT(head->role, LT_ROLE_LM_HEAD);
    LT_CHECK_INT(head->unit, 13);
    lt_param_table_free(t);
}

LT_TEST(param_table_finds_names_and_roles)
{
    static const struct {
        const char *name;
        lt_role role;
        int layer, unit, n_dims;
        int64_t rows, cols;
        lt_hf_layout layout;
        bool decay;
    } rows[] = {
        { "wte.weight", LT_ROLE_TOKEN_EMBED, -1, 0, 2, 50257, 768, LT_HF_LINEAR, true },
        { "wpe.weight", LT_ROLE_POSITION_EMBED, -1, 0, 2, 1024, 768, LT_HF_LINEAR, true },
        { "h.0.ln_1.weight", LT_ROLE_NORM1_WEIGHT, 0, 1, 1, 1, 768, LT_HF_LINEAR, false },
        { "h.3.attn.c_attn.weight", LT_ROLE_QKV_WEIGHT, 3, 4, 2, 2304, 768, LT_HF_CONV1D, true },
        { "h.3.attn.c_attn.bias", LT_ROLE_QKV_BIAS, 3, 4, 1, 1, 2304, LT_HF_LINEAR, false },
        { "h.10.attn.c_proj.weight", LT_ROLE_ATTPROJ_WEIGHT, 10, 11, 2, 768, 768, LT_HF_CONV1D,
          true },
        { "h.11.ln_2.bias", LT_ROLE_NORM2_BIAS, 11, 12, 1, 1, 768, LT_HF_LINEAR, false },
        { "h.11.mlp.c_fc.weight", LT_ROLE_FC_WEIGHT, 11, 12, 2, 3072, 768, LT_HF_CONV1D, true },
        { "h.11.mlp.c_proj.weight", LT_ROLE_FCPROJ_WEIGHT, 11, 12, 2, 768, 3072, LT_HF_CONV1D,
          true },
        { "ln_f.bias", LT_ROLE_FINAL_NORM_BIAS, -1, 13, 1, 1, 768, LT_HF_LINEAR, false },
    };
    lt_model_config m = named("gpt2");
    lt_param_table *t = lt_param_table_new(&m);

    for (size_t i = 0; i < LT_COUNT(rows); i++) {
        char full[LT_PARAM_NAME_BYTES];
        const lt_param *p;
        int at;

        snprintf(full, sizeof full, "transformer.%s", rows[i].name);
        at = find_name(t, full);
        LT_FAIL_IF(at < 0, "%s: not found", full);
        p = &t->params[at];
        LT_CHECK_INT(lt_param_find(t, rows[i].role, rows[i].layer), at);
        LT_CHECK_INT(p->unit, rows[i].unit);
        LT_CHECK_INT(p->n_dims, rows[i].n_dims);
        LT_CHECK_INT(p->rows, rows[i].rows);
        LT_CHECK_INT(p->cols, rows[i].cols);
        LT_CHECK_INT(p->layout, rows[i].layout);
        LT_CHECK_INT(p->decay, rows[i].decay);
        LT_CHECK(p->trainable);
    }
    LT_CHECK_INT(find_name(t, "lm_head.weight"), -1); /* tied */
    LT_CHECK_INT(lt_param_find(t, LT_ROLE_LM_HEAD, -1), -1);
    LT_CHECK_INT(lt_param_find(t, LT_ROLE_QKV_WEIGHT, 12), -1);
    LT_CHECK_INT(lt_param_find(t, LT_ROLE_QKV_WEIGHT, -1), -1);
    lt_param_table_free(t);
}

LT_TEST(param_table_names_differ_and_units_are_adjacent)
{
    lt_model_config m = named("gpt2");
    lt_param_table *t = lt_param_table_new(&m);

    for (int i = 0; i < t->n_params; i++) {
        LT_CHECK_INT(find_name(t, t->params[i].name), i);
        if (i > 0)
            LT_CHECK(t->params[i].unit == t->params[i - 1].unit ||
                     t->params[i].unit == t->params[i - 1].unit + 1);
    }
    LT_CHECK_INT(t->params[0].unit, 0);
    LT_CHECK_INT(t->params[t->n_params - 1].unit, t->n_units - 1);
    lt_param_table_free(t);
}

/* Only rows of the vocabulary are padded; logical elements stay a prefix of the physical ones. */
LT_TEST(param_table_pads_the_vocabulary)
{
    static const int64_t vocabs[][2] = {
        { 1, 128 }, { 127, 128 }, { 128, 128 }, { 129, 256 }, { 50257, 50304 }
    };

    for (size_t v = 0; v < LT_COUNT(vocabs); v++) {
        lt_model_config m = named("gpt2");
        lt_param_table *t;

        m.vocab_size = vocabs[v][0];
        m.tied = v % 2;
        t = lt_param_table_new(&m);
        for (int i = 0; i < t->n_params; i++) {
            const lt_param *p = &t->params[i];
            bool vocab = p->role == LT_ROLE_TOKEN_EMBED || p->role == LT_ROLE_LM_HEAD;

            LT_CHECK_INT(p->rows, vocab ? vocabs[v][0] : p->rows);
            LT_CHECK_INT(p->phys_rows, vocab ? vocabs[v][1] : p->rows);
            LT_CHECK_INT(p->count, p->rows * p->cols);
            LT_CHECK_INT(p->phys_count, p->phys_rows * p->cols);
        }
        lt_param_table_free(t);
    }
}

static float *init(const lt_param_table *t, const lt_model_config *m, int index, uint64_t seed)
{
    float *x = lt_new_array0((size_t)t->params[index].count, sizeof *x);

    lt_param_init_slice(t, m, index, seed, 0, t->params[index].count, x);
    return x;
}

/* Mean and deviation within 5 standard errors; tails where a normal has them. */
static void check_normal(const float *x, int64_t n, double std)
{
    double sum = 0, squares = 0, tail = 0, count = (double)n;

    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i];
        squares += (double)x[i] * (double)x[i];
        tail += fabs((double)x[i]) > 2 * std;
    }
    LT_CHECK_NEAR(sum / count, 0, 5 * std / sqrt(count));
    LT_CHECK_NEAR(sqrt(squares / count), std, 5 * std / sqrt(2 * count));
    LT_CHECK_NEAR(tail / count, 0.0455, 5 * sqrt(0.0455 / count));
}

LT_TEST(param_table_init_has_its_statistics)
{
    static const struct {
        lt_role role;
        double std;
    } matrices[] = { { LT_ROLE_QKV_WEIGHT, 0.02 },
                     { LT_ROLE_FC_WEIGHT, 0.02 },
                     { LT_ROLE_ATTPROJ_WEIGHT, 0.01 }, /* 0.02 / sqrt(2 * 2 layers) */
                     { LT_ROLE_FCPROJ_WEIGHT, 0.01 } };
    lt_model_config m = named("gpt2");
    lt_param_table *t;

    m.n_layer = 2;
    m.n_embd = 96;
    m.head_dim = 8;
    m.n_inner = 384;
    t = lt_param_table_new(&m);
    for (size_t i = 0; i < LT_COUNT(matrices); i++) {
        int index = lt_param_find(t, matrices[i].role, 1);
        float *x = init(t, &m, index, 42);

        check_normal(x, t->params[index].count, matrices[i].std);
        free(x);
    }
    for (int i = 0; i < t->n_params; i++) {
        const lt_param *p = &t->params[i];
        float *x, want = strstr(p->name, "ln_") && strstr(p->name, "weight") ? 1.0f : 0.0f;

        if (p->n_dims == 2)
            continue;
        x = init(t, &m, i, 42);
        for (int64_t k = 0; k < p->count; k++)
            LT_CHECK(x[k] == want);
        free(x);
    }
    lt_param_table_free(t);
}

/* Any slice is the same as that part of the whole, in any order; seeds and rows differ. */
LT_TEST(param_table_init_is_a_pure_function)
{
    lt_model_config m = named("gpt2");
    lt_param_table *t = lt_param_table_new(&m);
    int index = lt_param_find(t, LT_ROLE_ATTPROJ_WEIGHT, 5), same_seed = 0, same_row = 0;
    int64_t n = t->params[index].count;
    float *whole = init(t, &m, index, 1), *other = init(t, &m, index, 2), part[997];

    for (int64_t last = n; last > 0; last -= 50021) {
        int64_t k = last < (int64_t)LT_COUNT(part) ? last : (int64_t)LT_COUNT(part);

        lt_param_init_slice(t, &m, index, 1, last - k, k, part);
        LT_CHECK(memcmp(part, whole + last - k, (size_t)k * sizeof *part) == 0);
    }
    lt_param_init_slice(t, &m, index, 1, n, 0, part); /* nothing, at the end */
    for (int64_t i = 0; i < n; i++)
        same_seed += whole[i] == other[i];
    lt_param_init_slice(t, &m, lt_param_find(t, LT_ROLE_ATTPROJ_WEIGHT, 6), 1, 0,
                        (int64_t)LT_COUNT(part), part);
    for (size_t i = 0; i < LT_COUNT(part); i++)
        same_row += whole[i] == part[i];
    LT_CHECK(same_seed < 10 && same_row < 3);
    free(whole);
    free(other);
    lt_param_table_free(t);
}
