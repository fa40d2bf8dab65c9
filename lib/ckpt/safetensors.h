/* ckpt/safetensors.h - reads one safetensors file.  Owns the descriptor and the parsed header.
 *
 * The file is untrusted.  It is refused unless: it is a regular file; the header has at most
 * 100 MB and the file holds it; keys are unique, names at most 1 KiB, at most 10^6 tensors of rank
 * at most 8; every shape product times the element size, without overflow, equals the tensor's
 * span; spans start at 0, leave no hole, do not overlap, and the last one ends where the file ends.
 * Data is read with pread; nothing is mapped. */
#ifndef LT_CKPT_SAFETENSORS_H
#define LT_CKPT_SAFETENSORS_H

#include "base/dtype.h"
#include "base/mem.h"

enum {
    LT_SAFETENSORS_RANK = 8,
    LT_SAFETENSORS_NAME_BYTES = 1024, /* without the NUL */
    LT_SAFETENSORS_MAX_TENSORS = 1000000,
    LT_SAFETENSORS_MAX_HEADER = 100000000,
};

typedef struct lt_safetensor {
    const char *name;       /* owned by the file */
    const char *dtype_name; /* as written: "F32", "BOOL", ... */
    lt_dtype dtype;         /* LT_N_DTYPES: a type that lt does not compute with */
    int n_dims;
    uint64_t dims[LT_SAFETENSORS_RANK];
    uint64_t count; /* elements; 1 for a scalar */
    uint64_t begin; /* offset of the first byte in the file */
    uint64_t bytes;
} lt_safetensor;

typedef struct lt_safetensors lt_safetensors;

LT_MUST_USE lt_err lt_safetensors_open(lt_safetensors **out, const char *path);

/* The header alone: the first n bytes of a file of file_size bytes called `name`.  No data can be
 * read from the result. */
LT_MUST_USE lt_err lt_safetensors_parse(lt_safetensors **out, const void *bytes, size_t n,
                                        uint64_t file_size, const char *name);
void lt_safetensors_close(lt_safetensors *s); /* NULL is fine */

const char *lt_safetensors_path(const lt_safetensors *s);
size_t lt_safetensors_count(const lt_safetensors *s);
const lt_safetensor *lt_safetensors_at(const lt_safetensors *s, size_t i); /* as the data lies */
const lt_safetensor *lt_safetensors_find(const lt_safetensors *s, const char *name); /* or NULL */
const char *lt_safetensors_metadata(const lt_safetensors *s, const char *key);       /* or NULL */

/* Elements [first, first + n) of t, converted.  Only between F32, BF16, F16, F64, I32, I64, U8. */
LT_MUST_USE lt_err lt_safetensors_read(const lt_safetensors *s, const lt_safetensor *t,
                                       uint64_t first, uint64_t n, void *dst, lt_dtype dst_dtype);

/* "[48, 144]" for sentences; returns dst. */
enum { LT_SHAPE_TEXT_BYTES = 200 };
const char *lt_shape_text(char dst[LT_SHAPE_TEXT_BYTES], int n_dims, const uint64_t *dims);

#endif
