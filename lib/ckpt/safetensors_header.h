/* ckpt/safetensors_header.h - the parsed header of a safetensors file; the rules are in
 * safetensors.h.  Internal to the reader. */
#ifndef LT_CKPT_SAFETENSORS_HEADER_H
#define LT_CKPT_SAFETENSORS_HEADER_H

#include "ckpt/safetensors.h"

enum { LT_SAFETENSORS_PREFIX = 8 }; /* the length of the header, little endian */

typedef struct lt_safetensors_header {
    lt_safetensor *tensors;        /* in order of the data; names are owned */
    const lt_safetensor **by_name; /* the same, sorted by name */
    size_t n_tensors, tensor_capacity;
    struct lt_safetensors_pair {
        char *key, *value;
    } * metadata; /* sorted by key */
    size_t n_metadata, metadata_capacity;
} lt_safetensors_header;

/* text: the n bytes behind the prefix of a file of file_size bytes called `name`.  *h is zeroed by
 * the caller and released by it also after a failure. */
LT_MUST_USE lt_err lt_safetensors_header_parse(lt_safetensors_header *h, const char *text,
                                               uint64_t n, uint64_t file_size, const char *name);
void lt_safetensors_header_release(lt_safetensors_header *h);
const lt_safetensor *lt_safetensors_header_find(const lt_safetensors_header *h, const char *name);

#endif
