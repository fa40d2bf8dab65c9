/* zero/plan.h - where every byte of parameters, gradients and optimizer state lies: pure arithmetic.
 *
 * A unit (embeddings, a block, the head) is a list of segments; a segment is a flat range of one
 * class {trainable, decay, persistent}.  Inside a segment the parameters of a unit follow one another
 * in the order of the table, each starting at a multiple of LT_ZERO_ALIGN elements; the segment's
 * length is padded so that `world` equal slices of it are aligned too:
 *
 *     unit k   | segment 0 (decay)                | segment 1 (persistent)    |
 *              | qkv.w | proj.w | fc.w | ... |pad | ln.w | ln.b | ... | pad   |
 *     rank 0..3|----0---|---1----|---2---|--3----||-0--|--1--|--2--|---3----|     owned slices
 *
 * Stages 0-3 differ only in which of these bytes a rank keeps (Rajbhandari et al., SC'20):
 *
 *     stage   parameters (compute type)     gradients                       optimizer state
 *       0     all                           all, grad type                  all
 *       1     all                           all, grad type                  owned
 *       2     all                           slots + owned in fp32           owned
 *       3     owned + persistent + slots    slots + owned in fp32           owned
 *
 * The cut is the same at every stage, persistent class included, so sums are taken over the same
 * ranges and stages agree bit for bit.  A slot holds a unit for a while: blocks take slot (block mod
 * n), embeddings and head have one each, because tied weights are used and written from both ends.
 * The owned optimizer state is walked in tiles of at most `tile` elements, which never cross a
 * segment; the first ones live in a tier (zero/tier.h) when the optimizer is offloaded.
 *
 * This file knows no device; zero/store.c allocates what the plan says. */
#ifndef LT_ZERO_PLAN_H
#define LT_ZERO_PLAN_H

#include "param/param_table.h"
#include "zero/tier.h"

enum { LT_ZERO_ALIGN = 64 }; /* elements: 128 bytes of bf16 */

typedef struct lt_zero_segment {
    int unit;
    bool trainable, decay, persistent;
    int64_t offset; /* elements from the start of the flat space of all units */
    int64_t count;  /* padded length, a multiple of world * LT_ZERO_ALIGN */
    int64_t slice;  /* count / world: what one rank owns */
} lt_zero_segment;

typedef struct lt_zero_place {
    int segment;
    int64_t offset; /* elements from the start of the flat space */
} lt_zero_place;

typedef struct lt_zero_unit {
    int first_segment, n_segments;
    int64_t offset, count; /* the unit's part of the flat space */
    int param_slot;        /* stage 3: where it is gathered */
    int grad_slot;         /* stages 2 and 3: where its gradients are written */
} lt_zero_unit;

/* Optimizer state of elements [first, first + count) of the space that this rank keeps of it: the
 * owned slices of all segments one after another (at stage 0 the flat space itself). */
typedef struct lt_zero_tile {
    int segment;
    int64_t first, count;
    int64_t in_segment; /* of the segment's owned slice (stage 0: of the segment) */
    int record;         /* in the tier; -1: in device memory */
} lt_zero_tile;

typedef struct lt_zero_offload {
    lt_tier_kind kind;
    bool pinned;
    const char *path;  /* LT_TIER_FILE; not owned */
    int64_t n_buffers; /* staging slots */
    double ratio;      /* optimizer: part of the state that is offloaded */
} lt_zero_offload;

typedef struct lt_zero_settings {
    int stage, world, rank;
    lt_dtype compute;                 /* dtype of gathered parameters */
    lt_dtype grad;                    /* dtype of gradients as they are written and sent */
    bool overlap;                     /* false: the host waits for each collective; the same bits */
    bool training;                    /* false: parameters only */
    lt_zero_offload optimizer, param; /* param: stage 3 */
    int64_t tile;                     /* most elements of a tile; 0: 8 Mi */
    /* Elements.  A parameter below persistence_threshold is persistent, until
     * model_persistence_threshold of them are.  Units gathered ahead at stage 3 hold up to
     * prefetch elements (at least one unit), and all gathered blocks together up to max_live. */
    int64_t persistence_threshold, model_persistence_threshold, prefetch, max_live;
} lt_zero_settings;

typedef struct lt_zero_plan {
    lt_zero_settings set;
    lt_zero_unit *units; /* table->n_units */
    int n_units;
    lt_zero_segment *segments;
    int n_segments;
    lt_zero_place *places; /* one a parameter */
    int64_t n_elements;    /* the flat space, padded */
    int64_t n_owned;       /* of which a rank owns: n_elements / world */
    int64_t n_persistent;  /* elements of persistent segments */
    int64_t n_optimizer; /* elements of optimizer state kept: n_elements at stage 0, else n_owned */
    /* Stage 3 with more ranks than one, or with offloaded parameters: units come and go. */
    bool params_cut;
    /* Stages 2 and 3: gradients are written into slots and added up in fp32. */
    bool grads_cut;
    /* fp32 compute, and the compute weights lie as the masters do: they are the masters. */
    bool master_is_compute;
    int n_param_slots, n_grad_slots;
    int64_t *param_slot_count, *grad_slot_count; /* elements of each */
    lt_zero_tile *tiles; /* of trainable segments, in the order of the update */
    int n_tiles, n_records;
} lt_zero_plan;

/* Bytes that one rank keeps, by class and place. */
typedef struct lt_zero_bytes {
    uint64_t params;                   /* compute type, resident: all, or owned and persistent */
    uint64_t gathered;                 /* parameter slots */
    uint64_t grads;                    /* all, or owned in fp32 */
    uint64_t buckets;                  /* gradient slots */
    uint64_t master, moment1, moment2; /* in device memory */
    uint64_t staging;                  /* of tiers, in device memory */
    uint64_t host;                     /* tiers and their pinned staging */
    uint64_t file;
} lt_zero_bytes;
uint64_t lt_zero_bytes_device(const lt_zero_bytes *b); /* the sum of what is on the device */

/* Cuts the table; any stage 0 to 3 and any world can be planned.  LT_EUSAGE for another stage, for
 * offloaded parameters below stage 3, and for max_live below the largest block. */
LT_MUST_USE lt_err lt_zero_plan_new(lt_zero_plan **out, const lt_param_table *t,
                                    const lt_zero_settings *set);
void lt_zero_plan_free(lt_zero_plan *p); /* NULL is fine */

lt_zero_bytes lt_zero_plan_bytes(const lt_zero_plan *p);

/* A run of logical elements of one parameter inside the slices that this rank owns.  The owned
 * slices of all segments follow one another in the owned space. */
typedef struct lt_zero_piece {
    int param;
    int64_t first, count; /* elements of the parameter; padding is left out */
    int64_t owned;        /* where the run begins in the owned space */
} lt_zero_piece;

/* All pieces of this rank in table order; *n tells how many.  free() the result. */
lt_zero_piece *lt_zero_plan_pieces(const lt_zero_plan *p, const lt_param_table *t, int *n);

#endif
