/* comm/call_mark.h - what a rank is about to call, as ranks tell each other when debug is on. */
#ifndef LT_COMM_CALL_MARK_H
#define LT_COMM_CALL_MARK_H

#include "base/dtype.h"
#include "comm/group.h"

typedef enum lt_call_kind {
    LT_CALL_REDUCE_SCATTER,
    LT_CALL_ALL_GATHER,
    LT_CALL_BROADCAST
} lt_call_kind;

/* Compared byte by byte, so there is no padding in it. */
typedef struct lt_call_mark {
    int64_t number, n; /* of the call, from 1; elements of the input */
    int32_t kind, dtype, root, unused;
} lt_call_mark;

/* Appends "call 17: all_gather of 640 bf16". */
void lt_call_mark_print(lt_buf *text, const lt_call_mark *c);

/* marks and hosts (world) of all ranks; LT_EFAULT names the first that differs from rank 0, and
 * both calls.  Every rank comes to the same verdict. */
LT_MUST_USE lt_err lt_call_marks_compare(const lt_call_mark *marks,
                                         char (*hosts)[LT_HOST_NAME_BYTES], int world);

#endif
