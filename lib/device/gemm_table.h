/* device/gemm_table.h - which algorithm was chosen for which call: a table and its text.
 *
 *     lt-gemm NVIDIA H200, cuBLASLt 13.1.0                       the title: nothing else fits
 *     bf16 bf16 nt 65536 2304 768 ... : 0 5f0c1b22a7e04d19       call : form, fingerprint
 *
 * The text is not trusted: it can only choose among the algorithms that the library itself proposes
 * for a call, so a wrong line costs time and nothing else.  Knows nothing of CUDA. */
#ifndef LT_DEVICE_GEMM_TABLE_H
#define LT_DEVICE_GEMM_TABLE_H

#include "base/mem.h"

enum {
    LT_GEMM_CALL_BYTES = 192, /* of the words that stand for a call, NUL included */
    LT_GEMM_TABLE_CALLS = 4096,
    LT_GEMM_TABLE_TEXT_BYTES = 1 << 20,
};

typedef struct lt_gemm_choice {
    char call[LT_GEMM_CALL_BYTES];
    int form;             /* cuda_blas_form, 0 to 9 in a text */
    uint64_t fingerprint; /* of the algorithm's bytes */
} lt_gemm_choice;

typedef struct lt_gemm_table {
    lt_gemm_choice *items;
    size_t n, capacity;
} lt_gemm_table; /* {0} is empty */

void lt_gemm_table_release(lt_gemm_table *t);
const lt_gemm_choice *lt_gemm_table_find(const lt_gemm_table *t, const char *call);
/* Replaces what is there for the call; a full table stays as it is. */
void lt_gemm_table_put(lt_gemm_table *t, const lt_gemm_choice *choice);
void lt_gemm_table_write(const lt_gemm_table *t, const char *title, lt_buf *out);
/* Puts every line of the text, or none: LT_EMISMATCH for another title, LT_EFORMAT for damage. */
LT_MUST_USE lt_err lt_gemm_table_read(lt_gemm_table *t, const char *title, const char *text,
                                      size_t n, const char *source);

#endif
