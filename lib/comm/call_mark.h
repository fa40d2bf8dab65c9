/* comm/call_mark.h - what the ranks compare before each collective when debug is on.
 *
 * An implementation fills a mark for each call, hands it to all ranks in its own way, and compares
 * what it got: every rank finds the same difference and stops before the collective. */
#ifndef LT_COMM_CALL_MARK_H
#define LT_COMM_CALL_MARK_H

#include "comm/comm.h"

typedef enum lt_call_kind {
    LT_CALL_REDUCE_SCATTER,
    LT_CALL_ALL_GATHER,
    LT_CALL_BROADCAST
} lt_call_kind;
const char *lt_call_name(lt_call_kind kind);

/* Compared byte by byte, so without holes. */
typedef struct lt_call_mark {
    int64_t number, n; /* of the call, from 1; elements of the input */
    int32_t kind, dtype, root, unused;
} lt_call_mark;

/* Appends "call 17: all_gather of 640 bf16". */
void lt_call_mark_print(lt_buf *text, const lt_call_mark *mark);

lt_call_mark lt_call_mark_of(int64_t number, lt_call_kind kind, lt_tensor in, int root);

/* all and hosts: (world).  LT_EFAULT names the first rank that differs from rank 0,
 * and the calls. */
LT_MUST_USE lt_err lt_call_marks_compare(const lt_call_mark *all, char (*hosts)[LT_HOST_NAME_BYTES],
                                         int world);

#endif
