/* lt_ranks.h - unit tests that run on many ranks at once: the macros of lt_test.h in programs named
 * ranks_*.c, started by mpirun (or by srun's variables); lt_ranks.c has their main.
 *
 * Every rank runs every test in the same order.  A check that fails on one rank is printed there
 * and then; rank 0 alone prints "ok N - 4 ranks: name", or "not ok" when it failed anywhere.  A
 * test that talks must not leave early on some ranks only: then the others wait until the time
 * limit. */
#ifndef LT_RANKS_H
#define LT_RANKS_H

#include "comm/group.h"
#include "device/device.h"
#include "lt_test.h"

lt_group *lt_ranks_group(void);
/* LT_DEVICE=cpu (default, one thread) or cuda (the GPU of this rank's number on its host) */
lt_dev *lt_ranks_device(void);

#endif
