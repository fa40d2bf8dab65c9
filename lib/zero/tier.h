/* zero/tier.h - records that live outside the device: pinned host memory, or a file.
 *
 * A tier holds n records of fixed sizes (a tile of master weights and moments; a unit's slice of
 * parameters).  Records travel through staging slots in device memory, in the background:
 *
 *     fetch(record, slot)   tier -> slot, on LT_STREAM_COPY_IN, after the slot is free
 *     wait(slot, stream)    `stream` waits until the record is there; its device address
 *     store(slot)           slot -> its record, on LT_STREAM_COPY_OUT, after what compute enqueued
 *     drop(slot)            instead of store: the slot is free after what compute enqueued, the
 *                           record as it was
 * so record i + 1 arrives and record i - 1 leaves while record i is computed on.  With a file, one
 * thread reads and one writes; each record has its CRC-32C, checked when it is read; three slots or
 * more let all of it overlap.  The file is preallocated, loses its name as soon as it is open (a
 * kill leaves nothing behind), and is no part of any checkpoint. */
#ifndef LT_ZERO_TIER_H
#define LT_ZERO_TIER_H

#include "device/device.h"

typedef enum lt_tier_kind { LT_TIER_NONE, LT_TIER_HOST, LT_TIER_FILE } lt_tier_kind;

typedef struct lt_tier lt_tier;

typedef struct lt_tier_options {
    lt_tier_kind kind; /* HOST or FILE */
    bool pinned;       /* HOST: page-locked (else plain memory, slower); FILE: its staging */
    const char *path;  /* FILE: an existing directory */
    const char *label; /* for messages and the file name: "optimizer-00003" */
    int n_slots;       /* staging slots */
    int n_records;
    const size_t *bytes; /* of each record; copied */
} lt_tier_options;

/* Bytes that open will take, by place: the arithmetic that open allocates by.  A few bytes a record
 * and a slot for book-keeping are not counted.  LT_TIER_NONE or no records: all 0. */
typedef struct lt_tier_bytes {
    uint64_t device, host, file;
} lt_tier_bytes;
lt_tier_bytes lt_tier_plan(const lt_tier_options *o);

/* At least one record and one slot.  Records start as zeros.  LT_EIO (LT_ENOENT: no such directory)
 * and LT_ENOMEM with label or path, bytes wanted and bytes there. */
LT_MUST_USE lt_err lt_tier_open(lt_tier **out, lt_dev *dev, const lt_tier_options *o);
void lt_tier_close(lt_tier *t); /* NULL is fine */

/* All calls come from the thread that owns the device.  Slots are used in any order; a slot holds
 * one record from fetch to store or drop, and its address never changes.  A fetch sees what was
 * stored before it, from whichever slot, and nothing stored later.  Waiting twice is fine.  A store
 * comes after a wait of LT_STREAM_COMPUTE; where another stream has waited, compute follows what it
 * does with the record before the drop.  HOST: the host never waits.  FILE: wait blocks until the
 * record is read, and any call may until the copy of the store before it has left the device.
 *
 * The first failure stays for good: a file is neither read nor written after it, slots keep their
 * addresses with anything in them, so a loop need not look before it ends. */
void lt_tier_fetch(lt_tier *t, int record, int slot);
void *lt_tier_wait(lt_tier *t, int slot, lt_stream stream);
void lt_tier_store(lt_tier *t, int slot);
void lt_tier_drop(lt_tier *t, int slot);
/* The first failure so far, without waiting. */
LT_MUST_USE lt_err lt_tier_check(lt_tier *t);
/* Everything stored or written has arrived (the host waits), and the first failure there was. */
LT_MUST_USE lt_err lt_tier_flush(lt_tier *t);

/* Part of a record <-> host memory, blocking, for checkpoints and first weights.  Waits for what
 * was stored, so no flush is needed; no slot may hold a record that is written.  FILE: one record
 * at a time is kept at hand, so parts of one record follow one another cheaply, and what was
 * written goes to the file when another record is asked for, fetched, or at the flush. */
LT_MUST_USE lt_err lt_tier_read(lt_tier *t, int record, size_t offset, size_t bytes, void *dst);
LT_MUST_USE lt_err lt_tier_write(lt_tier *t, int record, size_t offset, size_t bytes,
                                 const void *src);

#endif
