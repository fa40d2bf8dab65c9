/* bench_time.h - how fast one call of a device is: in a burst, and hot.
 *
 * A GPU holds its clocks for a fraction of a second and then slows down to its power limit, so both
 * are told apart.  Calls of a batch follow one another without a wait. */
#ifndef LT_TOOLS_BENCH_TIME_H
#define LT_TOOLS_BENCH_TIME_H

#include "device/device.h"

/* Embed it first and cast. */
typedef struct bench_call bench_call;
struct bench_call {
    void (*run)(bench_call *call, lt_dev *dev);
};

/* Seconds a call takes. */
typedef struct bench_seconds {
    double best;   /* in the fastest batch of about 4 ms, after a call that nobody times */
    double steady; /* over everything behind the first half of the time given, 3 calls at least */
} bench_seconds;

LT_MUST_USE lt_err bench_time(lt_dev *dev, bench_call *call, double seconds, bench_seconds *out);

/* D = A B^T over squares of side n in type act; takes the scratch that it needs. */
LT_MUST_USE lt_err bench_time_square(lt_dev *dev, lt_dtype act, int64_t n, double seconds,
                                     bench_seconds *out);

/* FLOP/s of that square; the faster of two measurements by their bursts. */
double bench_square_rate(int64_t n, double seconds);

/* What lt_dev_reserve needs for matrix products of these types and nothing else. */
lt_dev_need bench_need_products(const lt_dev *dev, lt_dtype act, int64_t rows, int64_t cols);

/* Bytes per second, read and written, of a copy of `bytes` bytes inside the device. */
LT_MUST_USE lt_err bench_copy_rate(lt_dev *dev, int64_t bytes, double *bytes_per_s);

#endif
