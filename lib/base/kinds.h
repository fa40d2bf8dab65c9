/* base/kinds.h - the few words that configuration, model and device must mean alike. */
#ifndef LT_BASE_KINDS_H
#define LT_BASE_KINDS_H

typedef enum lt_norm_kind { LT_NORM_LAYER, LT_NORM_RMS } lt_norm_kind;

typedef enum lt_act {
    LT_ACT_NONE,
    LT_ACT_GELU_TANH, /* HF "gelu_new": 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
    LT_ACT_GELU_ERF,  /* HF "gelu" */
    LT_ACT_RELU,
    LT_ACT_SILU,
} lt_act;

/* What is kept between forward and backward; the rest is computed again. */
typedef enum lt_recompute {
    LT_RECOMPUTE_NONE,      /* every activation is kept */
    LT_RECOMPUTE_SELECTIVE, /* norm outputs and activation function outputs are computed again */
    LT_RECOMPUTE_BLOCK,     /* only the input of each block is kept */
} lt_recompute;

/* Who computes attention on a GPU.  AUTO: cuDNN where it is present and takes the call, else our
 * own kernels; CUDNN: no device opens without it and no training shape is planned that it does not
 * take; REFERENCE: our own kernels. */
typedef enum lt_attention_kind {
    LT_ATTENTION_AUTO,
    LT_ATTENTION_CUDNN,
    LT_ATTENTION_REFERENCE
} lt_attention_kind;

/* How the learning rate goes: ours, then DeepSpeed's (optim/schedule.h). */
typedef enum lt_lr_kind {
    LT_LR_COSINE,           /* linear warm-up to lr, then a half cosine to min_lr at total_steps */
    LT_LR_LINEAR,           /* linear warm-up to lr, then a line to min_lr at total_steps */
    LT_LR_CONSTANT,         /* linear warm-up to lr, then lr */
    LT_LR_DS_WARMUP,        /* WarmupLR: warm-up from warmup_min_lr to warmup_max_lr, then flat */
    LT_LR_DS_WARMUP_DECAY,  /* WarmupDecayLR: then a line to 0 at total_num_steps */
    LT_LR_DS_WARMUP_COSINE, /* WarmupCosineLR: fractions of lr; a half cosine to cos_min_ratio */
    LT_LR_DS_ONE_CYCLE,     /* OneCycle: up, down, then decay; the momentum runs the other way */
    LT_LR_DS_RANGE_TEST,    /* LRRangeTest: grows for ever, to find the rate that diverges */
} lt_lr_kind;

#endif
