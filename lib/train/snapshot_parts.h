/* train/snapshot_parts.h - what saving and loading a run share. */
#ifndef LT_TRAIN_SNAPSHOT_PARTS_H
#define LT_TRAIN_SNAPSHOT_PARTS_H

#include "ckpt/manifest.h"
#include "train/ranks.h"
#include "train/snapshot.h"

enum { LT_SNAPSHOT_GROUPS = 3 };

typedef struct lt_snapshot_group {
    lt_zero_class which;
    const char *group;
} lt_snapshot_group;

extern const lt_snapshot_group lt_snapshot_groups[LT_SNAPSHOT_GROUPS]; /* weights first */

#define LT_SNAPSHOT_TUNING "gemm.txt" /* the same algorithms give the same bits after a resume */

/* The logical space of a table; free() it. */
lt_ckpt_tensor *lt_snapshot_tensors(const lt_param_table *t);

#endif
