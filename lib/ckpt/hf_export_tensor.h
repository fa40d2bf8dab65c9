/* ckpt/hf_export_tensor.h - one tensor of a checkpoint into an open safetensors writer. */
#ifndef LT_CKPT_HF_EXPORT_TENSOR_H
#define LT_CKPT_HF_EXPORT_TENSOR_H

#include "ckpt/hf_export.h"
#include "ckpt/safetensors_writer.h"

/* What all tensors of an export share. */
typedef struct lt_hf_stream {
    lt_ckpt *ckpt;
    lt_dtype dtype;
    bool allow_nonfinite;
    uint64_t done, total; /* bytes written and to write */
    lt_ckpt_watch *watch; /* or NULL */
    float *tile, *stage;  /* LT_HF_EXPORT_BUFFER bytes each */
} lt_hf_stream;

/* The shape in the Hugging Face file: transposed for conv1d. */
void lt_hf_stored_shape(const lt_ckpt_tensor *t, uint64_t dims[2]);

LT_MUST_USE lt_err lt_hf_stream_tensor(lt_hf_stream *s, lt_safetensors_writer *w,
                                       const lt_ckpt_tensor *t);

#endif
