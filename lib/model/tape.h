/* model/tape.h - passes over the model, recorded once and played back as graphs.
 *
 * A pass enqueues the same operations on the same memory whenever its key is the same, so a device
 * that can (lt_backend.capture_begin) need not be told kernel by kernel each time.  The first pass
 * with a key runs as it stands: libraries tune and compile in it.  The second is recorded, later
 * ones are played without running the model's code.  Recorded are the operations between two hooks,
 * one graph each; the hooks (lt_unit_access) enqueue collectives, copies and events, belong to the
 * step and are called in every pass:
 *
 *     acquire 1 | graph | release 1 | acquire 2 | graph | release 2 ...
 *
 * Owns the graphs.  A table of operations other than that of lt_tapes_new (device/profile.h) is
 * never recorded.  An operation that cannot be recorded is a fault that the next lt_dev_sync
 * returns.  LT_GRAPHS=0 in the environment: every pass runs as it stands. */
#ifndef LT_MODEL_TAPE_H
#define LT_MODEL_TAPE_H

#include "model/model.h"

typedef struct lt_tapes lt_tapes;

typedef enum lt_hook { LT_HOOK_ACQUIRE, LT_HOOK_RELEASE, LT_HOOK_GRADS_DONE } lt_hook;

/* What a pass depends on besides the units' addresses, which never change. */
enum { LT_TAPE_BUFFERS = 6 };
typedef struct lt_tape_key {
    const void *buffers[LT_TAPE_BUFFERS];
    lt_use use;
    bool add;
} lt_tape_key;

/* NULL where a device cannot record; every call takes that.  Borrows both. */
lt_tapes *lt_tapes_new(lt_dev *dev, lt_unit_access *access);
void lt_tapes_free(lt_tapes *t); /* before the device is closed */
void lt_tapes_set(lt_tapes *t, bool on);

/* A pass begins.  True: it was on tape and is enqueued; nothing is left to do. */
bool lt_tape_begin(lt_tapes *t, const lt_tape_key *key);
void lt_tape_end(lt_tapes *t);
/* Within a pass: an operation follows; a hook is due, which is called in here. */
void lt_tape_op(lt_tapes *t);
void lt_tape_hook(lt_tapes *t, lt_hook hook, int unit);

/* The hook alone. */
void lt_hook_call(lt_unit_access *access, lt_hook hook, int unit);

#endif
