/* model/act_plan.h - where activations live: lifetimes packed into one arena.
 *
 * The model's code runs once against a recording device (act_record.c), whose operations do nothing
 * but tell the plan which tensors they touch.  lt_act_pack then places all of them in one arena so
 * that two that live at the same time never overlap.  Later the same code runs for real and the
 * n-th define gets the n-th place: lifetimes are true by construction, and recomputation needs no
 * table of its own: defining a tensor again starts another life.
 *
 *      arena |  a a a a a   d d d d d d |      time runs to the right; d takes over the bytes
 *            |    b b b b b b   e e e   |      of a once a was used for the last time
 *            +--------------------------+
 */
#ifndef LT_MODEL_ACT_PLAN_H
#define LT_MODEL_ACT_PLAN_H

#include "device/device.h"

typedef struct lt_act_plan lt_act_plan;

lt_act_plan *lt_act_plan_new(int n_slots); /* recording; slots are the model's names for tensors */
void lt_act_plan_free(lt_act_plan *p);     /* NULL is fine */

/* A new tensor in `slot` of `rows` x `cols`; what the slot held before is dead. */
lt_tensor lt_act_define(lt_act_plan *p, int slot, lt_dtype dtype, int64_t rows, int64_t cols);
/* What the slot holds now. */
lt_tensor lt_act_use(lt_act_plan *p, int slot);

/* For the recording device: an operation touches t (tensors of others are passed over); then time
 * goes on. */
void lt_act_touch(lt_act_plan *p, lt_tensor t);
void lt_act_tick(lt_act_plan *p);

/* A device whose operations only record; free() it.  Borrows p. */
lt_dev *lt_act_recorder_new(lt_act_plan *p);

/* Ends the recording; returns the bytes of the arena. */
size_t lt_act_pack(lt_act_plan *p);
void lt_act_bind(lt_act_plan *p, void *arena); /* 256-byte aligned, lt_act_pack() bytes */
void lt_act_restart(lt_act_plan *p);           /* before each run of the recorded code */

#endif
