/* device/ops.h - the operation table: one struct of typed slots, one const table per backend.
 *
 * The comment on a slot is the contract that every backend obeys.  Operations enqueue on the
 * device's compute stream and return nothing; a fault sticks to the device until lt_dev_sync.
 * Wrong shapes and types are bugs and abort.
 *
 * Names: R = B*T rows (tokens), B sequences, T positions, C width, V vocabulary (physical rows),
 * H heads, D head width.  "act" types (activations, weights) are fp32 or bf16, the same in one call
 * unless said otherwise; gradients of parameters ("grad" type) are fp32 or the act type.  Sums are
 * taken in fp32 or better.  `add` true: outputs marked (+)= add to what is there; false: overwrite.
 * Outputs come first, then inputs, then scalars; an optional operand is absent
 * when .data is NULL. */
#ifndef LT_DEVICE_OPS_H
#define LT_DEVICE_OPS_H

#include "base/kinds.h"
#include "device/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_dev lt_dev;

/* Whatever changes from step to step, in device memory, read by pointer so that a recorded graph
 * stays valid.  The host writes the first group before a step; the device writes the rest. */
typedef struct lt_step_state {
    float lr;
    float inv_tokens; /* 1 / target tokens of the step, all ranks and micro-batches */

    /* by step_begin */
    float grad_scale; /* d loss / d (sum of token losses): loss_scale * inv_tokens */
    float inv_scale;  /* 1 / loss_scale */
    double loss_sum;  /* sum of token losses of the step; sum_losses adds to it */

    /* by grad_norm_finish */
    uint64_t adam_t;  /* updates made; a skipped step is none */
    float bias1;      /* 1 - beta1^t */
    float bias2_sqrt; /* sqrt(1 - beta2^t) */
    float grad_norm;  /* global norm before clipping, unscaled */
    float clip;       /* factor that adamw multiplies into gradients: inv_scale * clip factor */
    uint32_t skip;    /* 1: a gradient is not finite, adamw leaves everything as it is */
    uint32_t n_skipped;

    /* by loss_scale_update; the host sets them once, before step 1 or from a checkpoint */
    float loss_scale;         /* 1 without fp16 */
    uint32_t hysteresis_left; /* overflows until the scale falls */
    int64_t scale_step;       /* steps seen, skipped ones included */
    int64_t last_overflow;    /* scale_step of the last skipped one; -1: none */
    uint32_t scale_stuck;     /* 1: an overflow came at the smallest scale */

    /* by find_nonfinite */
    uint32_t first_bad; /* LT_NO_RANGE: none was looked for, or found here */
} lt_step_state;

/* A run of gradient elements that belong together (to one parameter). */
typedef struct lt_range {
    const void *data;
    int64_t count;
} lt_range;
#define LT_NO_RANGE UINT32_MAX

/* D = op(A) op(B) [+ C] [+ bias], then an optional epilogue.  op is the transpose when its flag is
 * set.  The three layouts of a linear layer y = x W^T with W (out, in):
 *     forward   D = x (R, in) * W^T       trans_b
 *     dgrad     D = dy (R, out) * W
 *     wgrad     D = dy^T (out, R) * x     trans_a, grad type, add: d (+)=
 */
typedef enum lt_epilogue {
    LT_EPI_NONE,
    LT_EPI_ACT, /* aux = D as above; D = act(aux).  aux may be absent when nobody needs it */
    /* D = D * act'(aux); col_sum (+)= column sums of D when present (per add_col_sum) */
    LT_EPI_DACT,
} lt_epilogue;

typedef struct lt_matmul {
    lt_tensor d;       /* (M, N): act or grad type */
    lt_tensor a;       /* (M, K), or (K, M) when trans_a: act type */
    lt_tensor b;       /* (K, N), or (N, K) when trans_b: act type */
    lt_tensor c;       /* optional (M, N) of d's type, added; may be d itself.  Not with `add` */
    lt_tensor bias;    /* optional (1, N), act type, added to every row */
    lt_tensor aux;     /* (M, N), act type, see lt_epilogue */
    lt_tensor col_sum; /* optional (1, N), grad type, LT_EPI_DACT only */
    lt_epilogue epilogue;
    lt_act act;
    bool trans_a, trans_b;
    bool add;         /* d (+)=: add to d */
    bool add_col_sum; /* col_sum (+)= */
} lt_matmul;

/* out = norm(resid), resid = x + branch.  LayerNorm: (r - mean) rstd w + b; RMSNorm: r rstd w with
 * rstd = 1 / sqrt(mean(r^2) + eps), mean and bias absent. */
typedef struct lt_residual_norm {
    lt_tensor out;    /* (R, C) act */
    lt_tensor resid;  /* (R, C) act; absent when branch is absent (then resid is x) */
    lt_tensor mean;   /* (1, R) fp32 */
    lt_tensor rstd;   /* (1, R) fp32 */
    lt_tensor x;      /* (R, C) act */
    lt_tensor branch; /* optional (R, C) act */
    lt_tensor weight; /* (1, C) act */
    lt_tensor bias;   /* optional (1, C) act */
    lt_norm_kind kind;
    float eps;
} lt_residual_norm;

/* dx = dresid + d norm / d resid (dout).  dweight (+)=, dbias (+)= by `add`. */
typedef struct lt_norm_grad {
    lt_tensor dx;      /* (R, C) act; may be dresid itself, may be dout itself */
    lt_tensor dweight; /* (1, C) grad */
    lt_tensor dbias;   /* optional (1, C) grad */
    lt_tensor col_sum; /* optional (1, C) grad: (+)= column sums of dx (a bias gradient), by add */
    lt_tensor dout;    /* (R, C) act */
    lt_tensor dresid;  /* optional (R, C) act */
    lt_tensor resid;   /* (R, C) act, what was normalized */
    lt_tensor weight;  /* (1, C) act */
    lt_tensor mean, rstd; /* (1, R) fp32 as written by residual_norm */
    lt_norm_kind kind;
    bool add;
} lt_norm_grad;

/* softmax(scale q k^T + mask) v for B sequences and H heads; query head h reads kv head
 * h / (H / Hkv).  Row b*Tq + t of q, b*Tk + t of k and v; head h in columns [h D, (h+1) D).
 * q, k, v may be column blocks of one packed (R, 3C) matrix.  causal: query t sees key s when
 * s <= t + (Tk - Tq) (a KV cache holds the earlier ones).  doc_start: optional (1, B*Tq) int32,
 * key s is seen only when s >= doc_start of the query's row. */
typedef struct lt_attention {
    lt_tensor out;     /* (B*Tq, H D) act */
    lt_tensor lse;     /* (B*H, Tq) fp32: log sum exp of the scores; optional in forward-only use */
    lt_tensor q, k, v; /* act */
    lt_tensor doc_start;
    int64_t n_batch, n_head, n_kv_head, t_q, t_k, head_dim;
    int64_t kv_rows; /* rows of k and v from one sequence to the next, >= t_k */
    float scale;
    bool causal;
} lt_attention;

typedef struct lt_attention_grad {
    lt_attention fwd;     /* as the forward was called; out and lse are inputs now */
    lt_tensor dq, dk, dv; /* act, strides as q, k, v; overwritten */
    lt_tensor dout;       /* (B*Tq, H D) act */
} lt_attention_grad;

/* logits = x W^T; loss of row r = -log softmax(logits)[target r].  Walks the rows in chunks so that
 * the logits of all rows never exist.  Rows with target < 0 have loss 0 and no gradient.  Columns
 * from n_vocab on (padding) take no part.  With dx present, in the same walk
 *     dlogits = (softmax - onehot) * state->grad_scale,  dx = dlogits W,  dw (+)= dlogits^T x
 * (pad rows of dw get 0 added). */
typedef struct lt_head_loss {
    lt_tensor losses;           /* (1, R) fp32 */
    lt_tensor dx;               /* optional (R, C) act */
    lt_tensor dw;               /* (V, C) grad; with dx */
    lt_tensor chunk;            /* (rows of a chunk, V) act: room for logits */
    lt_tensor x;                /* (R, C) act */
    lt_tensor w;                /* (V, C) act */
    lt_tensor targets;          /* (1, R) int32 */
    const lt_step_state *state; /* device memory */
    int64_t n_vocab;
    bool add; /* dw (+)= */
} lt_head_loss;

/* Constants of the run.  AdamW (Loshchilov & Hutter 2019), PyTorch's order of operations:
 *     p -= lr wd p;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2
 *     p -= lr / bias1 * m / (sqrt(v) / bias2_sqrt + eps)
 * decoupled false: Adam with L2, g += wd p first. */
typedef struct lt_adamw {
    float beta1, beta2, eps, weight_decay;
    bool decoupled;
} lt_adamw;

/* Loss scaling, constants of the run, under DeepSpeed's names;
 * not dynamic: the scale never moves. */
typedef struct lt_loss_scaling {
    bool dynamic;
    float min_loss_scale;
    int64_t loss_scale_window; /* clean steps until the scale doubles */
    uint32_t hysteresis;
    bool consecutive_hysteresis; /* every clean step refills hysteresis, not only a doubling */
} lt_loss_scaling;

typedef struct lt_ops {
    /* ---- memory */
    void (*zero)(lt_dev *dev, void *data, size_t bytes);
    /* dst = src, same shape, any types (strides may differ): casts, KV cache, slices. */
    void (*copy)(lt_dev *dev, lt_tensor dst, lt_tensor src);

    /* ---- linear algebra */
    void (*matmul)(lt_dev *dev, const lt_matmul *m);
    /* out (1, N) grad (+)= column sums of x (R, N) act: a bias gradient */
    void (*col_sum)(lt_dev *dev, lt_tensor out, lt_tensor x, bool add);
    /* out = act(x), both (R, N) act */
    void (*act)(lt_dev *dev, lt_tensor out, lt_tensor x, lt_act kind);

    /* ---- the transformer's own */
    /* out (R, C) = wte (V, C) row ids[r] + wpe (P, C) row positions[r]; ids, positions
     * (1, R) int32; wpe and positions absent together */
    void (*embed)(lt_dev *dev, lt_tensor out, lt_tensor ids, lt_tensor positions, lt_tensor wte,
                  lt_tensor wpe);
    /* dwte (+)= scatter of dout by ids (add_wte), dwpe (+)= by positions (add_wpe); grad types; the
     * order of summation is that of the rows, so the result is deterministic */
    void (*embed_grad)(lt_dev *dev, lt_tensor dwte, lt_tensor dwpe, lt_tensor dout, lt_tensor ids,
                       lt_tensor positions, bool add_wte, bool add_wpe);
    void (*residual_norm)(lt_dev *dev, const lt_residual_norm *n);
    void (*norm_grad)(lt_dev *dev, const lt_norm_grad *n);
    void (*attention)(lt_dev *dev, const lt_attention *a);
    void (*attention_grad)(lt_dev *dev, const lt_attention_grad *a);
    void (*head_loss)(lt_dev *dev, const lt_head_loss *h);

    /* ---- the step; the arithmetic on *state that both backends share is in device/step_math.h */
    /* grad_scale, inv_scale, loss_sum = 0 from inv_tokens and loss_scale */
    void (*step_begin)(lt_dev *dev, lt_step_state *state);
    /* state->loss_sum += sum of losses (1, R) fp32, in double, in a fixed order */
    void (*sum_losses)(lt_dev *dev, lt_step_state *state, lt_tensor losses);
    /* *sum (one double, device memory) = sum of squares of the flat vector g (1, n) fp32 or act */
    void (*sum_squares)(lt_dev *dev, double *sum, lt_tensor g);
    /* sums (n_ranks, n + 2): of each rank n sums of squares, its loss_sum, and a word that is the
     * caller's own.  From them, in this order: loss_sum, grad_norm, skip, clip (max_norm <= 0: no
     * clipping), adam_t, bias1, bias2_sqrt of *state. */
    void (*grad_norm_finish)(lt_dev *dev, lt_step_state *state, const double *sums, int n_ranks,
                             int n, float max_norm, const lt_adamw *run);
    /* Only when state->skip: first_bad = the least i whose ranges[i] (device memory, elements of
     * dtype) has one that is not finite.  Costs nothing in other steps. */
    void (*find_nonfinite)(lt_dev *dev, lt_step_state *state, const lt_range *ranges, int n,
                           lt_dtype dtype);
    /* After grad_norm_finish: moves loss_scale by state->skip. */
    void (*loss_scale_update)(lt_dev *dev, lt_step_state *state, const lt_loss_scaling *run);
    /* dst (1, n) fp32 (+)= src (1, n) of any float type: gradients of micro-steps add up */
    void (*accumulate)(lt_dev *dev, lt_tensor dst, lt_tensor src, bool add);
    /* One AdamW step on flat vectors (1, n): p, m, v fp32, g fp32 or act (scaled by state->clip as
     * it is read), copy optional: the compute weights, act, = cast of p after the step. */
    void (*adamw)(lt_dev *dev, lt_tensor p, lt_tensor copy, lt_tensor m, lt_tensor v, lt_tensor g,
                  const lt_step_state *state, const lt_adamw *run);
} lt_ops;

#ifdef __cplusplus
}
#endif
#endif
