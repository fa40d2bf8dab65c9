/* train_floor.c - the arithmetic of the floor, and a small table of data sheets. */
#include "train_floor.h"

#include "base/mem.h"

#include <string.h>

/* TFLOP/s without sparsity (data sheets name twice that for half precision); single: without tensor
 * cores, for lt does not round to TF32 unless told. */
static const struct {
    const char *name; /* found in the device's name; the first that is */
    double half, single;
} sheets[] = {
    { "H200 NVL", 835.5, 60 }, /* NVIDIA H200 data sheet */
    { "H200", 989.4, 66.9 },   /* SXM; GH200 too */
    { "H100 NVL", 835.5, 60 }, /* NVIDIA H100 data sheet */
    { "H100 PCIe", 756.5, 51.2 },
    { "H100", 989.4, 66.9 }, /* SXM */
    { "H800", 989.4, 66.9 },
    { "A100", 312, 19.5 }, /* NVIDIA A100 data sheet */
    { "A800", 312, 19.5 },
    { "GB200", 2500, 80 },       /* NVIDIA GB200 NVL72 data sheet, one of 72 */
    { "B200", 2250, 75 },        /* NVIDIA HGX B200 data sheet, one of 8 */
    { "L40S", 362.05, 91.6 },    /* NVIDIA L40S data sheet */
    { "RTX 4090", 165.2, 82.6 }, /* NVIDIA Ada white paper, products summed in fp32 */
};

double bench_data_sheet_peak(const char *device, lt_dtype act)
{
    for (size_t i = 0; i < LT_COUNT(sheets); i++)
        if (strstr(device, sheets[i].name))
            return 1e12 * (act == LT_F32 ? sheets[i].single : sheets[i].half);
    return 0;
}

void bench_floor(double seconds[LT_N_CLASSES], const lt_model_config *c, const lt_param_table *t,
                 lt_dtype act, int64_t batch, int64_t seq, int64_t n_micro,
                 const floor_rates *rates)
{
    double rows = (double)(batch * seq), layers = (double)c->n_layer, width = (double)c->n_embd;
    double size = (double)lt_dtype_bytes(act), u = rows * width * size; /* one (R, C) tensor */
    double vocab = (double)LT_ALIGN_UP(c->vocab_size, LT_VOCAB_PAD), weights = 0, params = 0;
    double heads = (double)(c->n_head * c->head_dim), flops[LT_N_CLASSES] = { 0 };
    double bytes[LT_N_CLASSES] = { 0 };

    for (int i = 0; i < t->n_params; i++) {
        params += (double)t->params[i].phys_count;
        if (t->params[i].n_dims == 2 && t->params[i].layer >= 0)
            weights += (double)t->params[i].phys_count;
    }
    flops[LT_CLASS_MATMUL] = 6 * rows * weights;
    flops[LT_CLASS_ATTENTION] = 7 * layers * rows * (double)seq * heads; /* 3.5 times 2 B T^2 H D */
    flops[LT_CLASS_HEAD] = 6 * rows * vocab * width;
    bytes[LT_CLASS_HEAD] = 2 * rows * vocab * size; /* logits read, their gradient written */
    /* Forward: x, branch, sum, norm; backward: two gradients, sum, result.
     * Two a block, one last. */
    bytes[LT_CLASS_NORM] = 8 * u * (2 * layers + 1);
    bytes[LT_CLASS_POINTWISE] = layers * (u + 3 * rows * heads * size); /* bias gradients */
    /* Rows looked up, their sum; its gradient, of which a tied table takes only rows that occur. */
    bytes[LT_CLASS_EMBED] = 3 * u + (c->tied ? 0 : 4 * vocab * width);
    for (int i = 0; i < LT_N_CLASSES; i++)
        seconds[i] =
            (double)n_micro * (flops[i] / rates->flops_per_s + bytes[i] / rates->bytes_per_s);
    /* Norm: the gradient; AdamW: gradient, weight, two moments,
     * and three of them and a copy back. */
    bytes[LT_CLASS_OPTIMIZER] = params * (4 + 16 + 12 + (act == LT_F32 ? 0 : size));
    seconds[LT_CLASS_OPTIMIZER] = bytes[LT_CLASS_OPTIMIZER] / rates->bytes_per_s;
}
