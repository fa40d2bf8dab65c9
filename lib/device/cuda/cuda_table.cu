/* device/cuda/cuda_table.cu - the GPU's operation table, in the order of device/ops.h. */
#include "device/cuda/cuda.cuh"

const lt_ops cuda_ops = {
    .zero = cuda_zero,
    .copy = cuda_copy,
    .matmul = cuda_matmul,
    .col_sum = cuda_col_sum,
    .act = cuda_act,
    .embed = cuda_embed,
    .embed_grad = cuda_embed_grad,
    .residual_norm = cuda_residual_norm,
    .norm_grad = cuda_norm_grad,
    .attention = cuda_attention,
    .attention_grad = cuda_attention_grad,
    .head_loss = cuda_head_loss,
    .step_begin = cuda_step_begin,
    .sum_losses = cuda_sum_losses,
    .sum_squares = cuda_sum_squares,
    .grad_norm_finish = cuda_grad_norm_finish,
    .find_nonfinite = cuda_find_nonfinite,
    .loss_scale_update = cuda_loss_scale_update,
    .accumulate = cuda_accumulate,
    .adamw = cuda_adamw,
};
