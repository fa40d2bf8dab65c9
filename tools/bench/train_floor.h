/* train_floor.h - what a training step cannot be faster than, class by class, and what the makers
 * of GPUs promise. */
#ifndef LT_TOOLS_TRAIN_FLOOR_H
#define LT_TOOLS_TRAIN_FLOOR_H

#include "device/profile.h"
#include "param/param_table.h"

/* Dense FLOP/s of matrix products in this type by the maker's data sheet; 0 for an unknown device.
 * `device` is what lt_backend.describe says. */
double bench_data_sheet_peak(const char *device, lt_dtype act);

typedef struct floor_rates {
    double flops_per_s; /* of a large square product */
    double bytes_per_s; /* of a copy, read and written */
} floor_rates;

/* Seconds of one step of n_micro micro-batches of `batch` sequences of `seq`, each class at the
 * full rate of products or of memory: every tensor once to and from memory, nothing recomputed. */
void bench_floor(double seconds[LT_N_CLASSES], const lt_model_config *c, const lt_param_table *t,
                 lt_dtype act, int64_t batch, int64_t seq, int64_t n_micro,
                 const floor_rates *rates);

#endif
