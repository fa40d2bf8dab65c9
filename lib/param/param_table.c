/* param/param_table.c - the families' parameters as rows of data, expanded over layers. */
#include "param/param_table.h"

#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sizes that a row template names. */
typedef enum dim { DIM_ONE, DIM_VOCAB, DIM_POSITIONS, DIM_C, DIM_QKV, DIM_HEADS, DIM_INNER } dim;

typedef struct row_template {
    lt_role role;
    const char *name; /* %d is the layer */
    dim rows, cols;   /* rows DIM_ONE: a vector */
    lt_hf_layout layout;
    lt_param_init init;
} row_template;

typedef struct family {
    const row_template *embeddings, *block, *head; /* each ends with a NULL name */
} family;

static const row_template gpt2_embeddings[] = {
    { LT_ROLE_TOKEN_EMBED, "transformer.wte.weight", DIM_VOCAB, DIM_C, LT_HF_LINEAR,
      LT_INIT_NORMAL },
    { LT_ROLE_POSITION_EMBED, "transformer.wpe.weight", DIM_POSITIONS, DIM_C, LT_HF_LINEAR,
      LT_INIT_NORMAL },
    { 0 },
};
static const row_template gpt2_block[] = {
    { LT_ROLE_NORM1_WEIGHT, "transformer.h.%d.ln_1.weight", DIM_ONE, DIM_C, LT_HF_LINEAR,
      LT_INIT_ONE },
    { LT_ROLE_NORM1_BIAS, "transformer.h.%d.ln_1.bias", DIM_ONE, DIM_C, LT_HF_LINEAR,
      LT_INIT_ZERO },
    { LT_ROLE_QKV_WEIGHT, "transformer.h.%d.attn.c_attn.weight", DIM_QKV, DIM_C, LT_HF_CONV1D,
      LT_INIT_NORMAL },
    { LT_ROLE_QKV_BIAS, "transformer.h.%d.attn.c_attn.bias", DIM_ONE, DIM_QKV, LT_HF_LINEAR,
      LT_INIT_ZERO },
    { LT_ROLE_ATTPROJ_WEIGHT, "transformer.h.%d.attn.c_proj.weight", DIM_C, DIM_HEADS, LT_HF_CONV1D,
      LT_INIT_RESIDUAL },
    { LT_ROLE_ATTPROJ_BIAS, "transformer.h.%d.attn.c_proj.bias", DIM_ONE, DIM_C, LT_HF_LINEAR,
      LT_INIT_ZERO },
    { LT_ROLE_NORM2_WEIGHT, "transformer.h.%d.ln_2.weight", DIM_ONE, DIM_C, LT_HF_LINEAR,
      LT_INIT_ONE },
    { LT_ROLE_NORM2_BIAS, "transformer.h.%d.ln_2.bias", DIM_ONE, DIM_C, LT_HF_LINEAR,
      LT_INIT_ZERO },
    { LT_ROLE_FC_WEIGHT, "transformer.h.%d.mlp.c_fc.weight", DIM_INNER, DIM_C, LT_HF_CONV1D,
      LT_INIT_NORMAL },
    { LT_ROLE_FC_BIAS, "transformer.h.%d.mlp.c_fc.bias", DIM_ONE, DIM_INNER, LT_HF_LINEAR,
      LT_INIT_ZERO },
    { LT_ROLE_FCPROJ_WEIGHT, "transformer.h.%d.mlp.c_proj.weight", DIM_C, DIM_INNER, LT_HF_CONV1D,
      LT_INIT_RESIDUAL },
    { LT_ROLE_FCPROJ_BIAS, "transformer.h.%d.mlp.c_proj.bias", DIM_ONE, DIM_C, LT_HF_LINEAR,
      LT_INIT_ZERO },
    { 0 },
};
static const row_template gpt2_head[] = {
    { LT_ROLE_FINAL_NORM_WEIGHT, "transformer.ln_f.weight", DIM_ONE, DIM_C, LT_HF_LINEAR,
      LT_INIT_ONE },
    { LT_ROLE_FINAL_NORM_BIAS, "transformer.ln_f.bias", DIM_ONE, DIM_C, LT_HF_LINEAR,
      LT_INIT_ZERO },
    { LT_ROLE_LM_HEAD, "lm_head.weight", DIM_VOCAB, DIM_C, LT_HF_LINEAR,
      LT_INIT_NORMAL }, /* unless tied */
    { 0 },
};

static const family families[] = {
    [LT_FAMILY_GPT2] = { gpt2_embeddings, gpt2_block, gpt2_head },
};

static int64_t size_of(const lt_model_config *m, dim d)
{
    switch (d) {
    case DIM_ONE:
        return 1;
    case DIM_VOCAB:
        return m->vocab_size;
    case DIM_POSITIONS:
        return m->n_positions;
    case DIM_C:
        return m->n_embd;
    case DIM_QKV:
        return (m->n_head + 2 * m->n_kv_head) * m->head_dim;
    case DIM_HEADS:
        return m->n_head * m->head_dim;
    case DIM_INNER:
        return m->n_inner;
    }
    return 0;
}

static void add_rows(lt_param_table *t, const lt_model_config *m, const row_template *rows,
                     int layer, int unit)
{
    for (; rows->name; rows++) {
        lt_param *p;

        if (rows->role == LT_ROLE_LM_HEAD && m->tied)
            continue;
        p = &t->params[t->n_params++];
        *p = (lt_param){ .role = rows->role, .unit = unit, .layer = layer, .trainable = true };
        if (layer < 0)
            snprintf(p->name, sizeof p->name, "%s", rows->name);
        else { /* the one place where the layer stands */
            const char *percent = strchr(rows->name, '%');

            snprintf(p->name, sizeof p->name, "%.*s%d%s", (int)(percent - rows->name), rows->name,
                     layer, percent + 2);
        }
        p->n_dims = rows->rows == DIM_ONE ? 1 : 2;
        p->rows = size_of(m, rows->rows);
        p->cols = size_of(m, rows->cols);
        p->phys_rows =
            rows->rows == DIM_VOCAB ? (int64_t)LT_ALIGN_UP(p->rows, LT_VOCAB_PAD) : p->rows;
        p->count = p->rows * p->cols;
        p->phys_count = p->phys_rows * p->cols;
        p->layout = rows->layout;
        p->init = rows->init;
        p->decay = p->n_dims == 2;
        t->n_elements += p->count;
    }
}

lt_param_table *lt_param_table_new(const lt_model_config *m)
{
    const family *f = &families[m->family];
    lt_param_table *t = lt_new0(sizeof *t);
    size_t most =
        LT_COUNT(gpt2_embeddings) + LT_COUNT(gpt2_head) + (size_t)m->n_layer * LT_COUNT(gpt2_block);

    t->params = lt_new_array0(most, sizeof *t->params);
    add_rows(t, m, f->embeddings, -1, 0);
    for (int layer = 0; layer < (int)m->n_layer; layer++)
        add_rows(t, m, f->block, layer, 1 + layer);
    add_rows(t, m, f->head, -1, 1 + (int)m->n_layer);
    t->n_units = (int)m->n_layer + 2;
    return t;
}

void lt_param_table_free(lt_param_table *t)
{
    if (!t)
        return;
    free(t->params);
    free(t);
}

int lt_param_find(const lt_param_table *t, lt_role role, int layer)
{
    for (int i = 0; i < t->n_params; i++)
        if (t->params[i].role == role && t->params[i].layer == layer)
            return i;
    return -1;
}

void lt_param_init_slice(const lt_param_table *t, const lt_model_config *m, int index,
                         uint64_t seed, int64_t first, int64_t n, float *dst)
{
    const lt_param *p = &t->params[index];
    double std = m->init_std;

    LT_BUG_ON(first < 0 || first + n > p->count);
    if (p->init == LT_INIT_ZERO || p->init == LT_INIT_ONE) {
        for (int64_t i = 0; i < n; i++)
            dst[i] = p->init == LT_INIT_ONE ? 1.0f : 0.0f;
        return;
    }
    /* GPT-2 scales the projections that add to the residual stream (Radford et al. 2019, 2.3). */
    if (p->init == LT_INIT_RESIDUAL)
        std /= sqrt(2.0 * (double)m->n_layer);
    for (int64_t i = 0; i < n; i++)
        dst[i] = (float)(std * lt_random_normal(seed, (uint64_t)index, (uint64_t)(first + i)));
}
