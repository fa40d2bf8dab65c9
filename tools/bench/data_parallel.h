/* tools/bench/data_parallel.h - training as torch.nn.DataParallel does it, in lt's own engine: the
 * baseline that ZeRO is held against.
 *
 * One process, N devices.  In every step the first device scatters the tokens, every other one
 * copies its weights, each computes in a thread of its own; then the first device fetches losses
 * and gradients, adds them up and updates the only masters and moments there are.  Nothing
 * overlaps. */
#ifndef LT_TOOLS_DATA_PARALLEL_H
#define LT_TOOLS_DATA_PARALLEL_H

#include "model/model.h"

typedef struct data_parallel data_parallel;

typedef struct data_parallel_options {
    const lt_model_config *config; /* copied */
    lt_model_shape shape;          /* of one device: act, n_batch, seq, recompute */
    const char *device;
    int n_devices, n_threads; /* threads: of a CPU device */
} data_parallel_options;

LT_MUST_USE lt_err data_parallel_open(data_parallel **out, const data_parallel_options *o);
void data_parallel_close(data_parallel *p); /* NULL is fine */

/* One whole step on the same random tokens as lt-bench train's ranks; apart: each device in its own
 * thread, else one after another, as the first steps of a model want it. */
LT_MUST_USE lt_err data_parallel_step(data_parallel *p, bool apart, double *loss);

/* Of the device that has most: what was taken, and what is in use by everybody (0: unknown). */
uint64_t data_parallel_bytes(const data_parallel *p);
uint64_t data_parallel_used(const data_parallel *p);
void data_parallel_describe(const data_parallel *p, char *text, size_t size);

#endif
