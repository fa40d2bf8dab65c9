/* device/cpu/cpu_table.c - the CPU's operation table at one instruction set level.  LT_CPU_KERNELS
 * is the table's name, set by the Makefile (lt_cpu_kernels_base, lt_cpu_kernels_v3,
 * lt_cpu_kernels_v4). */
#include "device/cpu/cpu.h"

extern const lt_cpu_kernels LT_CPU_KERNELS;

const lt_cpu_kernels LT_CPU_KERNELS = {
    .ops = {
        .zero = cpu_zero,
        .copy = cpu_copy,
        .matmul = cpu_matmul,
        .col_sum = cpu_col_sum,
        .act = cpu_act_op,
        .embed = cpu_embed,
        .embed_grad = cpu_embed_grad,
        .residual_norm = cpu_residual_norm,
        .norm_grad = cpu_norm_grad,
        .attention = cpu_attention,
        .attention_grad = cpu_attention_grad,
        .head_loss = cpu_head_loss,
        .step_begin = cpu_step_begin,
        .sum_losses = cpu_sum_losses,
        .sum_squares = cpu_sum_squares,
        .grad_norm_finish = cpu_grad_norm_finish,
        .find_nonfinite = cpu_find_nonfinite,
        .loss_scale_update = cpu_loss_scale_update,
        .accumulate = cpu_accumulate,
        .adamw = cpu_adamw,
    },
    .scratch_bytes = cpu_scratch_bytes,
};
