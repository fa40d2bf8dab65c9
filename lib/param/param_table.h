/* param/param_table.h - model config -> the table of parameters.  Plain data.
 *
 * A row says what a parameter is called (Hugging Face's name), how large it is, how Hugging Face
 * lays it out, which unit it belongs to, whether it decays and trains.  In memory and in
 * checkpoints a matrix is (out, in), in contiguous.  The vocabulary is padded in memory to a
 * multiple of LT_VOCAB_PAD rows; pad rows stand at the end, are zero, and are never exported: the
 * logical elements are the prefix [0, count) of the physical ones.
 *
 * Units, in the order of the forward pass: 0 = embeddings, 1..n_layer = blocks, n_layer + 1 = head
 * (final norm and, unless tied, lm_head).  Rows of a unit are adjacent in the table.
 * Where the elements of a unit lie in memory is zero/'s business. */
#ifndef LT_PARAM_PARAM_TABLE_H
#define LT_PARAM_PARAM_TABLE_H

#include "base/dtype.h"
#include "config/model_config.h"

enum { LT_VOCAB_PAD = 128, LT_PARAM_NAME_BYTES = 96 };

typedef enum lt_hf_layout {
    LT_HF_LINEAR, /* as in memory */
    LT_HF_CONV1D, /* stored (in, out): import and merge transpose */
} lt_hf_layout;

typedef enum lt_param_init {
    LT_INIT_NORMAL,   /* N(0, init_std) */
    LT_INIT_RESIDUAL, /* N(0, init_std / sqrt(2 n_layer)): projections that write the residual */
    LT_INIT_ZERO,
    LT_INIT_ONE,
} lt_param_init;

/* What the transformer uses a parameter for. */
typedef enum lt_role {
    LT_ROLE_TOKEN_EMBED,
    LT_ROLE_POSITION_EMBED,
    LT_ROLE_NORM1_WEIGHT,
    LT_ROLE_NORM1_BIAS,
    LT_ROLE_QKV_WEIGHT,
    LT_ROLE_QKV_BIAS,
    LT_ROLE_ATTPROJ_WEIGHT,
    LT_ROLE_ATTPROJ_BIAS,
    LT_ROLE_NORM2_WEIGHT,
    LT_ROLE_NORM2_BIAS,
    LT_ROLE_FC_WEIGHT,
    LT_ROLE_FC_BIAS,
    LT_ROLE_FCPROJ_WEIGHT,
    LT_ROLE_FCPROJ_BIAS,
    LT_ROLE_FINAL_NORM_WEIGHT,
    LT_ROLE_FINAL_NORM_BIAS,
    LT_ROLE_LM_HEAD,
    LT_N_ROLES,
} lt_role;

typedef struct lt_param {
    char name[LT_PARAM_NAME_BYTES]; /* "transformer.h.0.attn.c_attn.weight" */
    lt_role role;
    int unit;
    int layer;          /* -1 outside blocks */
    int n_dims;         /* 1 or 2 */
    int64_t rows, cols; /* logical, (out, in); a vector is 1 x cols */
    int64_t phys_rows;  /* rows in memory, >= rows */
    int64_t count;      /* logical elements, rows * cols */
    int64_t phys_count; /* elements in memory */
    lt_hf_layout layout;
    lt_param_init init;
    bool decay; /* weight decay applies (matrices) */
    bool trainable;
} lt_param;

typedef struct lt_param_table {
    lt_param *params; /* n_params rows */
    int n_params;
    int n_units;
    int64_t n_elements; /* logical, the size people quote */
} lt_param_table;

/* The table of a checked config; free with lt_param_table_free. */
lt_param_table *lt_param_table_new(const lt_model_config *m);
void lt_param_table_free(lt_param_table *t); /* NULL is fine */

/* Row of (role, layer), layer -1 outside blocks; -1 if the model has none. */
int lt_param_find(const lt_param_table *t, lt_role role, int layer);

/* Initial values of the logical elements [first, first + n) of row `index`: a pure function of
 * (seed, row, element), so any rank fills its own slice. */
void lt_param_init_slice(const lt_param_table *t, const lt_model_config *m, int index,
                         uint64_t seed, int64_t first, int64_t n, float *dst);

#endif
