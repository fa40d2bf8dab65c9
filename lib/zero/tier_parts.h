/* zero/tier_parts.h - the inside of a tier; for tier*.c and record_file.c.
 *
 * tier.c owns the slots: their device memory, their events and who holds what.  A kind owns the
 * records and embeds lt_tier as its first member. */
#ifndef LT_ZERO_TIER_PARTS_H
#define LT_ZERO_TIER_PARTS_H

#include "zero/tier.h"

#include <pthread.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    LT_TIER_ALIGN = 256,  /* of a slot, and of a record in host memory */
    LT_TIER_BLOCK = 4096, /* of a record in a file: what O_DIRECT wants */
};

typedef struct lt_tier_slot {
    void *device;
    int record;        /* the one it holds or held last; -1: none yet */
    bool held;         /* from fetch to store or drop */
    unsigned waited;   /* bit s: stream s has */
    lt_event *arrived; /* COPY_IN: the record is in the slot */
    lt_event *left;    /* its last user is done: COPY_OUT after a store, COMPUTE after a drop */
} lt_tier_slot;

/* What a kind does.  tier.c has checked the arguments and the state of the slot before. */
typedef struct lt_tier_ops {
    size_t bytes; /* of the struct that embeds lt_tier */
    /* Takes t->plan.host and t->plan.file; close follows a failure too. */
    lt_err (*open)(lt_tier *t, const lt_tier_options *o);
    void (*close)(lt_tier *t); /* no copy is under way any more */
    void (*fetch)(lt_tier *t, int record, int slot);
    /* From here on slot->arrived stands for this fetch; NULL: it does. */
    void (*arrive)(lt_tier *t, int slot);
    void (*store)(lt_tier *t, int slot);
    void (*settle)(lt_tier *t); /* the host waits: no fetch and no store is under way */
    void (*flush)(lt_tier *t);  /* after settle: what write kept back; NULL: nothing */
    lt_err (*read)(lt_tier *t, int record, size_t offset, size_t bytes, void *dst);
    lt_err (*write)(lt_tier *t, int record, size_t offset, size_t bytes, const void *src);
} lt_tier_ops;

struct lt_tier {
    const lt_tier_ops *ops;
    lt_dev *dev; /* borrowed */
    char *label;
    bool pinned;
    int n_slots, n_records;
    lt_tier_slot *slots;
    size_t *bytes;    /* [n_records] */
    uint64_t *offset; /* [n_records] in the memory or the file */
    size_t largest;
    lt_tier_bytes plan;
    void *staging;      /* device memory of all slots */
    lt_event *computed; /* scratch: COMPUTE as it was at a store */
    pthread_mutex_t lock;
    lt_err_record fault; /* under the lock; LT_OK while all is well */
};

extern const lt_tier_ops lt_tier_host_ops, lt_tier_file_ops;

/* Page-locked or plain memory, zeroed, counted by the caller in t->plan.host. */
LT_MUST_USE lt_err lt_tier_memory_take(lt_tier *t, uint64_t bytes, void **out);
void lt_tier_memory_give(lt_tier *t, uint64_t bytes, void *memory); /* NULL is fine */

/* The slot's record from src on COPY_IN, once the slot is free; to dst on COPY_OUT, after what
 * compute was given. */
void lt_tier_copy_in(lt_tier *t, int record, int slot, const void *src);
void lt_tier_copy_out(lt_tier *t, int slot, void *dst);
/* The host waits; a fault of the device becomes the tier's. */
void lt_tier_event_sync(lt_tier *t, lt_event *event);

/* Keeps the sentence that this thread has just recorded, if it is the tier's first. */
void lt_tier_note(lt_tier *t);
bool lt_tier_failed(lt_tier *t);

#ifdef __cplusplus
}
#endif
#endif
