/* ops_cases.h - what lt-bench ops measures: for each case the tensors it works on and the call.
 * The bytes that a case must move follow from its list: every tensor read once, written once, or
 * both. */
#ifndef LT_TOOLS_OPS_CASES_H
#define LT_TOOLS_OPS_CASES_H

#include "device/device.h"

enum { OPS_MAX_TENSORS = 12, OPS_CONTEXT = 1024, OPS_HEAD_WIDTH = 64 };

typedef enum ops_use {
    OPS_READ,
    OPS_WRITTEN,
    OPS_UPDATED,
    OPS_ASIDE, /* input, but not part of the traffic */
} ops_use;

typedef enum ops_fill {
    OPS_NORMAL,
    OPS_POSITIVE,
    OPS_SMALL,  /* normal, 0.05 wide: logits of order 1, where their rounding does little */
    OPS_IDS,    /* of the vocabulary, the lower the likelier, as in text */
    OPS_PLACES, /* 0, 1, ... OPS_CONTEXT - 1, 0, ... */
    OPS_STATE,  /* an lt_step_state */
} ops_fill;

typedef struct ops_tensor {
    lt_dtype dtype;
    int64_t rows, cols;
    ops_use use;
    ops_fill fill;
} ops_tensor;

typedef struct ops_list {
    ops_tensor items[OPS_MAX_TENSORS];
    int n;
    int64_t more_bytes; /* traffic that the list does not show */
} ops_list;

/* R rows of width C, inner width 4 C; vectors of `flat` elements; the LM head sees fewer rows. */
typedef struct ops_shape {
    lt_dtype act;
    int64_t rows, head_rows, width, vocab, n_vocab, flat;
} ops_shape;

typedef struct ops_case {
    const char *name, *size; /* size: in words */
    void (*list)(ops_list *l, const ops_shape *s);
    void (*call)(lt_dev *dev, const lt_tensor *t, const ops_shape *s);
    void (*less)(lt_dev *dev, const lt_tensor *t, const ops_shape *s); /* its time is taken off */
} ops_case;

extern const ops_case ops_cases[];
extern const int ops_n_cases;

#endif
