/* device/cpu/cpu.h - shared by the CPU kernels.
 *
 * Every file in this folder is compiled once per instruction set level (Makefile: base, v3, v4) and
 * only the table of cpu_table.c is visible outside; device/cpu_device.c picks one at run time.  The
 * operations compute in fp32: a bf16 row is widened into a buffer of the worker, worked on,
 * narrowed.  Parallel loops split rows (or columns) among the pool; how many threads there are must
 * not change any result, so reductions over rows are split into a fixed number of parts. */
#ifndef LT_DEVICE_CPU_H
#define LT_DEVICE_CPU_H

#include "device/device.h"

typedef struct lt_cpu_dev {
    lt_dev base;
    bool has_avx512_bf16;       /* vdpbf16ps */
    bool has_amx_bf16;          /* tdpbf16ps, and the system's permission to use it */
    struct lt_cpu_stream *comm; /* LT_STREAM_COMM */
} lt_cpu_dev;

/* What one instruction set level exports. */
typedef struct lt_cpu_kernels {
    lt_ops ops;
    size_t (*scratch_bytes)(const lt_dev_need *need, int n_threads);
} lt_cpu_kernels;

/* A reduction over rows (bias gradients, norm gradients) is cut into this many parts, whatever the
 * number of threads, and the parts are added in order. */
enum { CPU_REDUCE_PARTS = 16 };
enum { CPU_QUERY_BLOCK = 128 }; /* query rows that attention works on at once */
enum { CPU_SUM_BLOCKS = 4096 }; /* most blocks of a sum of squares */

static inline lt_cpu_dev *cpu_of(lt_dev *dev)
{
    return (lt_cpu_dev *)dev;
}

/* Row `row` of t as fp32: the row itself, or widened into buf (t.cols floats). */
const float *cpu_row_load(lt_tensor t, int64_t row, float *buf);
/* Where to compute row `row` of t: in place for fp32, else in buf; then cpu_row_store. */
float *cpu_row_open(lt_tensor t, int64_t row, float *buf);
void cpu_row_store(lt_tensor t, int64_t row, const float *values);

/* Runs task indices 0..n-1 on the pool, or inline when `elements` is too little work to share. */
void cpu_parallel(lt_dev *dev, lt_task *task, int64_t n, int64_t elements);

/* Scratch of `dev` cut in order: p = cpu_scratch(dev, &used, n_floats).  64-byte aligned. */
float *cpu_scratch(lt_dev *dev, size_t *used, size_t n_floats);

/* Bytes of scratch that the operations of this folder need for the largest shapes of a run. */
size_t cpu_scratch_bytes(const lt_dev_need *need, int n_threads);
size_t cpu_matmul_scratch_bytes(const lt_dev_need *need, int n_threads);

/* n values: y = act(x), y may be x; y *= act'(x). */
void cpu_act_n(float *y, const float *x, int64_t n, lt_act kind);
void cpu_act_grad_n(float *y, const float *x, int64_t n, lt_act kind);

void cpu_zero(lt_dev *dev, void *data, size_t bytes);
void cpu_copy(lt_dev *dev, lt_tensor dst, lt_tensor src);
void cpu_matmul(lt_dev *dev, const lt_matmul *m);
void cpu_col_sum(lt_dev *dev, lt_tensor out, lt_tensor x, bool add);
void cpu_act_op(lt_dev *dev, lt_tensor out, lt_tensor x, lt_act kind);
void cpu_embed(lt_dev *dev, lt_tensor out, lt_tensor ids, lt_tensor positions, lt_tensor wte,
               lt_tensor wpe);
void cpu_embed_grad(lt_dev *dev, lt_tensor dwte, lt_tensor dwpe, lt_tensor dout, lt_tensor ids,
                    lt_tensor positions, bool add_wte, bool add_wpe);
void cpu_residual_norm(lt_dev *dev, const lt_residual_norm *n);
void cpu_norm_grad(lt_dev *dev, const lt_norm_grad *n);
void cpu_attention(lt_dev *dev, const lt_attention *a);
void cpu_attention_grad(lt_dev *dev, const lt_attention_grad *a);
void cpu_head_loss(lt_dev *dev, const lt_head_loss *h);
void cpu_step_begin(lt_dev *dev, lt_step_state *state);
void cpu_loss_scale_update(lt_dev *dev, lt_step_state *state, const lt_loss_scaling *run);
void cpu_sum_losses(lt_dev *dev, lt_step_state *state, lt_tensor losses);
void cpu_sum_squares(lt_dev *dev, double *sum, lt_tensor g);
void cpu_grad_norm_finish(lt_dev *dev, lt_step_state *state, const double *sums, int n_ranks, int n,
                          float max_norm, const lt_adamw *run);
void cpu_find_nonfinite(lt_dev *dev, lt_step_state *state, const lt_range *ranges, int n,
                        lt_dtype dtype);
void cpu_accumulate(lt_dev *dev, lt_tensor dst, lt_tensor src, bool add);
void cpu_adamw(lt_dev *dev, lt_tensor p, lt_tensor copy, lt_tensor m, lt_tensor v, lt_tensor g,
               const lt_step_state *state, const lt_adamw *run);

#endif
