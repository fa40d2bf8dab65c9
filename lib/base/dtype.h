/* base/dtype.h - element types and the 16-bit floats. */
#ifndef LT_BASE_DTYPE_H
#define LT_BASE_DTYPE_H

#include "base/err.h"
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lt_dtype {
    LT_F32,
    LT_BF16,
    LT_F16,
    LT_I32,
    LT_F64,
    LT_I64,
    LT_U8,
    LT_N_DTYPES
} lt_dtype;

size_t lt_dtype_bytes(lt_dtype t);
const char *lt_dtype_name(lt_dtype t);                    /* "fp32", "bf16", "fp16", "int32", ... */
const char *lt_dtype_safetensors(lt_dtype t);             /* "F32", "BF16", "F16", "I32", ... */
bool lt_dtype_from_name(lt_dtype *out, const char *name); /* "fp32", "bf16", ... */
bool lt_dtype_from_safetensors(lt_dtype *out, const char *name);

static inline float lt_bf16_to_f32(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* Round to nearest even; NaN stays NaN. */
static inline uint16_t lt_f32_to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((u >> 16) | 0x40u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

float lt_f16_to_f32(uint16_t h);
uint16_t lt_f32_to_f16(float f); /* nearest even; overflow gives infinity */

/* n elements from one type to another through fp32 (fp64 narrows); src and dst must not overlap. */
void lt_convert(void *dst, lt_dtype to, const void *src, lt_dtype from, size_t n);

#ifdef __cplusplus
}
#endif
#endif
