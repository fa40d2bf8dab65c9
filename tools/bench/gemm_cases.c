/* gemm_cases.c - layouts, epilogues and sizes follow lib/model/block.c and the head_loss slot. */
#include "gemm_cases.h"

#include "param/param_table.h"

static gemm_case *add(gemm_list *l, const char *name, lt_dtype act, int64_t m, int64_t n, int64_t k)
{
    gemm_case *c = &l->items[l->n++];

    LT_BUG_ON(l->n > GEMM_MAX_CASES);
    *c = (gemm_case){ .name = name, .m = m, .n = n, .k = k, .calls = 1, .act = act, .d = act };
    return c;
}

/* y (R, out) = x W^T + bias */
static gemm_case *forward(gemm_list *l, const char *name, lt_dtype act, int64_t rows, int64_t out,
                          int64_t in)
{
    gemm_case *c = add(l, name, act, rows, out, in);

    c->trans_b = true;
    c->bias = true;
    return c;
}

/* dW (out, in) = dy^T x */
static gemm_case *weight_grad(gemm_list *l, const char *name, lt_dtype act, int64_t rows,
                              int64_t out, int64_t in)
{
    gemm_case *c = add(l, name, act, out, in, rows);

    c->trans_a = true;
    c->d = LT_F32;
    return c;
}

void gemm_cases_of_model(gemm_list *l, const lt_model_config *c, lt_dtype act, int64_t rows,
                         int64_t head_rows)
{
    int64_t width = c->n_embd, inner = c->n_inner, heads = c->n_head * c->head_dim;
    int64_t qkv = (c->n_head + 2 * c->n_kv_head) * c->head_dim;
    int64_t vocab = (int64_t)LT_ALIGN_UP(c->vocab_size, LT_VOCAB_PAD);
    gemm_case *x;
    int in_blocks;

    *l = (gemm_list){ 0 };
    forward(l, "qkv fprop", act, rows, qkv, width);
    forward(l, "attproj fprop", act, rows, width, heads);
    forward(l, "fc fprop", act, rows, inner, width)->epilogue = LT_EPI_ACT;
    forward(l, "fcproj fprop", act, rows, width, inner);
    add(l, "qkv dgrad", act, rows, width, qkv);
    add(l, "attproj dgrad", act, rows, heads, width);
    add(l, "fc dgrad", act, rows, width, inner);
    x = add(l, "fcproj dgrad", act, rows, inner, width);
    x->epilogue = LT_EPI_DACT;
    x->col_sum = true;
    weight_grad(l, "qkv wgrad", act, rows, qkv, width);
    weight_grad(l, "attproj wgrad", act, rows, width, heads);
    weight_grad(l, "fc wgrad", act, rows, inner, width);
    weight_grad(l, "fcproj wgrad", act, rows, width, inner);
    in_blocks = l->n;
    forward(l, "lmhead fprop", act, head_rows, vocab, width)->bias = false;
    add(l, "lmhead dgrad", act, head_rows, width, vocab);
    weight_grad(l, "lmhead wgrad", act, head_rows, vocab, width);
    for (int i = 0; i < l->n; i++)
        l->items[i].calls = i < in_blocks ? c->n_layer : (rows + head_rows - 1) / head_rows;
}

void gemm_cases_of_size(gemm_list *l, lt_dtype act, int64_t m, int64_t n, int64_t k)
{
    *l = (gemm_list){ 0 };
    forward(l, "fprop", act, m, n, k)->bias = false;
    add(l, "dgrad", act, m, n, k);
    weight_grad(l, "wgrad", act, k, m, n);
}

double gemm_flops(const gemm_case *c)
{
    return 2.0 * (double)c->m * (double)c->n * (double)c->k;
}
