/* zero/store_parts.h - shared by the files of the store; private to this folder.
 *
 *     store.c     life, views, what fails
 *     gather.c    parameters come, go and are published
 *     reduce.c    gradients
 *     update.c    the walk over the optimizer state
 *     exchange.c  host memory <-> owned state, refresh
 *
 * Two streams: compute, and communication beside it.  Each hands over to the other by an event:
 * lt_zero_hand_over before a collective reads what compute wrote, `ready` and `reduced` before
 * compute reads what a collective wrote, `used` before a collective overwrites what compute
 * read. */
#ifndef LT_ZERO_STORE_PARTS_H
#define LT_ZERO_STORE_PARTS_H

#include "base/mem.h"
#include "zero/store.h"

typedef struct zero_unit {
    lt_event *ready; /* its last all_gather; on the communication stream */
    bool arriving;   /* compute has not waited for `ready` yet */
    bool ahead;      /* in its slot before anybody asked */
    int uses;        /* gathered and not released */
    int64_t coming;  /* elements that come and go; 0: always here */
    bool staged;     /* its record is, or will be, in its staging slot of the parameter tier */
    uint64_t seen;   /* the last look ahead that met it */
} zero_unit;

typedef struct zero_param_slot {
    char *data;
    int unit;         /* whose parameters are here or on their way, as of the last update; -1 */
    lt_event *used;   /* compute has read them; recorded at the last release */
    uint64_t claimed; /* the last look ahead that wants it */
} zero_param_slot;

typedef struct zero_grad_slot {
    char *data;
    int unit;          /* whose reduced gradients wait to be added to the owned ones; -1 */
    bool add;          /* to what is there; false: the first of the step */
    bool shared;       /* by units that are laid out differently: padding must be cleared */
    lt_event *reduced; /* on the communication stream */
} zero_grad_slot;

/* A walk over the optimizer state: tiles, then the segments that have none. */
typedef struct zero_walk {
    bool all;    /* false: tiles only */
    int at;      /* -1 before the first */
    int unit;    /* whose parts are being walked; -1: none */
    bool staged; /* some of them lie in its record, which is in its staging slot */
} zero_walk;

/* What the walk hands out; lt_absent where there is nothing. */
typedef struct zero_part {
    int segment, tile; /* tile -1: the segment has none */
    int64_t in_segment;
    lt_tensor master, moment1, moment2;
    lt_tensor weights; /* as master_is_compute: absent */
} zero_part;

struct lt_zero_store {
    lt_dev *dev;
    lt_comm *comm;
    const lt_zero_plan *plan;
    const lt_param_table *table;

    char *weights, *grads; /* the buffers of zero/plan.h */
    float *master, *moment1, *moment2;
    char *gathered, *buckets; /* all slots */
    lt_tier *optimizer_tier, *param_tier;

    zero_unit *units;
    zero_param_slot *param_slots;
    zero_grad_slot *grad_slots;
    int *staged_unit; /* of each staging slot of param_tier; -1 */
    int *trained;     /* segments that train */
    int *untiled;     /* segments without tiles */
    int n_trained, n_untiled;
    lt_event *computed;     /* compute -> communication */
    lt_event *communicated; /* communication -> compute: all so far */

    const int *sequence; /* what the pass gathers, borrowed */
    int n_sequence, cursor;
    uint64_t look; /* number of the look ahead */
    bool backward; /* the head was gathered: gradients may be written from here on */
    zero_walk walk;
    lt_err_record fault; /* the first one seen while waiting */
};

/* ---- store.c */

lt_tensor lt_zero_view(const void *base, lt_dtype dtype, int64_t offset, int64_t n);
lt_dtype lt_zero_owned_grad_type(const lt_zero_store *z);
/* Part `rank` of a whole segment. */
lt_tensor lt_zero_own_part(const lt_zero_store *z, lt_tensor whole);
/* What is given to the communication stream from here on follows what compute was given so far. */
void lt_zero_hand_over(lt_zero_store *z);
/* Compute follows everything that the communication stream was given so far. */
void lt_zero_await_comm(lt_zero_store *z);
/* After a group of collectives: records `done`, and without overlap waits for it. */
void lt_zero_collected(lt_zero_store *z, lt_event *done);
static inline bool lt_zero_is_alone(const lt_zero_store *z)
{
    return z->plan->set.world == 1;
}

/* ---- gather.c */

/* Parameters are about to change: nothing is in a slot any more. */
void lt_zero_forget_gathered(lt_zero_store *z);
/* The next pass is likely to begin as the last one did. */
void lt_zero_pass_expect(lt_zero_store *z);
/* What every rank keeps whole of the unit, from the owned slices; all: frozen segments too. */
void lt_zero_publish(lt_zero_store *z, int unit, bool all);
/* The unit's record in its staging slot; the slot must be free, or held by the unit. */
void lt_zero_stage(lt_zero_store *z, int unit);
bool lt_zero_stage_is_free(const lt_zero_store *z, int unit);
/* Its address there; `stream`, which is going to use it, waits. */
char *lt_zero_staged(lt_zero_store *z, int unit, lt_stream stream);
/* The slot is free again; store: the record takes what compute wrote. */
void lt_zero_unstage(lt_zero_store *z, int unit, bool store);

/* ---- reduce.c */

/* The unit is gathered: nothing that is in its gradient slot may be lost if it is written now. */
void lt_zero_free_grad_slot(lt_zero_store *z, int unit);

/* ---- update.c */

void lt_zero_walk_begin(lt_zero_store *z, bool all);
bool lt_zero_walk_next(lt_zero_store *z, zero_part *out); /* ends the one before */

#endif
