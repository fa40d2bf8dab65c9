/* ckpt/manifest.h - the MANIFEST of a checkpoint: what stands where, and the sum of every block.
 *
 * Text in JSON (FORMAT.md) whose last line is the SHA-256 of all lines before it.  Parsing checks
 * everything that can be known without the other files: the digest, names, ranges inside files, and
 * that the slices of a tensor meet without hole or overlap, whatever number of ranks wrote them. */
#ifndef LT_CKPT_MANIFEST_H
#define LT_CKPT_MANIFEST_H

#include "base/dtype.h"
#include "ckpt/block_crc.h"
#include "param/param_table.h"

#define LT_MANIFEST_NAME "MANIFEST"
#define LT_CKPT_WEIGHTS  "weights" /* the group that must hold every tensor */

enum {
    LT_MANIFEST_VERSION = 1,
    LT_MANIFEST_MAX_BYTES = 512 << 20,
    LT_CKPT_ATTEMPT_BYTES = 17, /* 16 hex digits */
    LT_CKPT_WORD_BYTES = 128,   /* run id, writer, group, with the NUL */
};

/* One tensor of the logical space; elements are numbered row by row, (out, in), in contiguous. */
typedef struct lt_ckpt_tensor {
    const char *name;
    lt_dtype dtype; /* F32, BF16 or F16: what the weights were saved as */
    int n_dims;     /* 1 or 2 */
    uint64_t dims[2];
    lt_hf_layout layout; /* CONV1D: Hugging Face stores the transpose */
    bool trainable;
} lt_ckpt_tensor;

/* Where training stood. */
typedef struct lt_ckpt_step {
    uint64_t step, samples, tokens;
    const char *run_id; /* fewer than LT_CKPT_WORD_BYTES bytes */
} lt_ckpt_step;

/* Elements [first, first + count) of a tensor, at `offset` of the file. */
typedef struct lt_manifest_slice {
    uint32_t tensor;
    lt_dtype dtype;
    uint64_t first, count, offset;
} lt_manifest_slice;

typedef struct lt_manifest_file {
    char *name;  /* a plain base name */
    char *group; /* NULL: a blob */
    uint32_t rank;
    uint64_t size;
    uint32_t *crc; /* one a block of LT_CKPT_BLOCK bytes */
    size_t n_blocks, crc_capacity;
    lt_manifest_slice *slices; /* blobs have none */
    size_t n_slices, slice_capacity;
} lt_manifest_file;

/* A slice seen from its tensor. */
typedef struct lt_manifest_piece {
    const char *group; /* borrowed from its file */
    lt_manifest_slice slice;
    uint32_t file;
} lt_manifest_piece;

typedef struct lt_manifest {
    lt_ckpt_step step; /* run_id is owned */
    char *writer;      /* "lt 0.1.0" */
    char attempt[LT_CKPT_ATTEMPT_BYTES];
    uint64_t time;           /* seconds since 1970 */
    uint32_t world;          /* ranks that wrote */
    lt_ckpt_tensor *tensors; /* names are owned */
    size_t n_tensors, tensor_capacity;
    uint32_t *by_name; /* tensors sorted by name */
    lt_manifest_file *files;
    size_t n_files, file_capacity;
    lt_manifest_piece *pieces; /* by group, tensor, first element */
    size_t n_pieces;
} lt_manifest;

/* `name` is for the sentences.  Free with lt_manifest_free. */
LT_MUST_USE lt_err lt_manifest_parse(lt_manifest **out, const char *text, size_t n,
                                     const char *name);
void lt_manifest_free(lt_manifest *m); /* NULL is fine */

/* Index of a tensor or a file; -1 if there is none. */
int64_t lt_manifest_tensor(const lt_manifest *m, const char *name);
int64_t lt_manifest_file_index(const lt_manifest *m, const char *name);

/* The pieces of a tensor in a group, in order; *n is 0 if there are none. */
const lt_manifest_piece *lt_manifest_pieces(const lt_manifest *m, const char *group,
                                            uint32_t tensor, size_t *n);
uint64_t lt_ckpt_tensor_count(const lt_ckpt_tensor *t); /* elements */

/* Writing.  A part is the text of the files of one rank; parts are gathered as text and joined by
 * lt_manifest_write, so any number of ranks needs no other exchange. */
void lt_manifest_add_file(lt_buf *part, const lt_manifest_file *f);
typedef struct lt_manifest_head {
    const lt_ckpt_step *step;
    const char *attempt;
    uint32_t world;
    const lt_ckpt_tensor *tensors;
    size_t n_tensors;
} lt_manifest_head;
void lt_manifest_write(lt_buf *out, const lt_manifest_head *head, const char *const *parts,
                       size_t n_parts);

/* Rules for names, also for those who write them. */
bool lt_ckpt_file_name_ok(const char *name);  /* letters, digits, . _ -; no leading dot */
bool lt_ckpt_group_name_ok(const char *name); /* lower case letters, digits, _ */

#endif
