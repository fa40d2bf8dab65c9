/* zero/plan.h - where every byte of parameters, gradients, optimizer state lies: pure arithmetic.
 *
 * A unit (embeddings, a block, the head) is a list of segments; a segment is a flat range of one
 * class {trainable, decay, persistent}, in the order: decay, decay and persistent, no decay, no
 * decay and persistent, frozen, frozen and persistent.  Inside a segment the parameters of a unit
 * follow one another in the order of the table, each starting at a multiple of LT_ZERO_ALIGN
 * elements; the segment's length is padded so that `world` equal slices of it are aligned too:
 *
 *     unit k   | segment 0 (decay)                | segment 1 (no decay)      |
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
 * ranges and stages agree bit for bit.  A slot holds a unit for a while: blocks take slot (block
 * mod n), embeddings and head have one each, because tied weights are used and written from both
 * ends.
 * The owned optimizer state is walked in tiles of at most `tile` elements, which never cross a
 * segment; the first ones live in a tier (zero/tier.h) when the optimizer is offloaded.
 *
 * Device memory is a few flat buffers, one a class.  Segments and tiles say where they begin in
 * each, in elements, or -1 where they have no place:
 *
 *     weights  n_weights  compute    the flat space; params_cut: persistent segments whole, of the
 *                                    others the owned slice, unless it is in the parameter tier
 *     grads    n_grads    grad       stages 0 and 1: trainable segments, whole
 *                         fp32       stages 2 and 3: their owned slices
 *     master   n_master   fp32       tiles that are not in the tier, then segments without tiles
 *     moments  n_moment   fp32, two  tiles that are not in the tier
 *
 * Frozen segments have no tiles, and none has when nothing is trained: masters in device memory, no
 * moments, no gradients.  With master_is_compute the places called master are places in weights.
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
    /* Elements from the start of ..., -1: not there. */
    int64_t in_param_slot, in_grad_slot; /* the unit's slots; the segment is whole there */
    int64_t in_record;                   /* the unit's record of the parameter tier: the slice */
    int64_t weights, grads;              /* the buffers: the segment, or the slice */
    int64_t own_weights, own_grads; /* the slice in them, within the segment if that is whole */
    int64_t master;                 /* a segment without tiles: what optimizer state has of it */
    int first_tile, n_tiles;
} lt_zero_segment;

typedef struct lt_zero_place {
    int segment;
    int64_t offset; /* elements from the start of the flat space */
} lt_zero_place;

typedef struct lt_zero_unit {
    int first_segment, n_segments;
    int64_t offset, count; /* the unit's part of the flat space */
    int param_slot;        /* params_cut: where it is gathered; else -1 */
    int grad_slot;         /* grads_cut: where its gradients are written; else -1 */
    int param_record;      /* in the parameter tier; -1: none, or nothing to keep there */
} lt_zero_unit;

/* Optimizer state of elements [first, first + count) of the space that this rank keeps of it: the
 * owned slices of all segments one after another (at stage 0 the flat space itself). */
typedef struct lt_zero_tile {
    int segment;
    int64_t first, count;
    int64_t in_segment; /* of the segment's owned slice (stage 0: of the segment) */
    /* In the tier: master, moment1, moment2 one after another, count floats each.  -1: in device
     * memory.  Tiles have records before those that have none, numbered from 0. */
    int record;
    int64_t master, moment; /* -1 with a record */
    int64_t grad;
    /* -1: in the unit's parameter record, at the segment's in_record + in_segment */
    int64_t weights;
} lt_zero_tile;

typedef struct lt_zero_offload {
    lt_tier_kind kind;
    bool pinned;
    const char *path;  /* LT_TIER_FILE; not owned */
    int64_t n_buffers; /* staging slots, no more than there are records */
    double ratio;      /* optimizer: part of the state that is offloaded */
    /* Parameters in a file: most elements in host memory, which may mean fewer slots; 0: any. */
    int64_t max_in_cpu;
} lt_zero_offload;

typedef struct lt_zero_settings {
    int stage, world, rank;
    lt_dtype compute;                 /* dtype of gathered parameters */
    lt_dtype grad;                    /* dtype of gradients as they are written and sent */
    bool overlap;                     /* false: the host waits for each collective; the same bits */
    bool training;                    /* false: parameters only */
    lt_zero_offload optimizer, param; /* param: stage 3 */
    int64_t tile; /* most elements of a tile, rounded down to LT_ZERO_ALIGN; 0: 8 Mi */
    /* Elements.  A parameter of at most persistence_threshold is persistent, in the order of the
     * table, where model_persistence_threshold has room for it.  Units gathered ahead at stage 3
     * hold up to prefetch elements (at least one unit), and all gathered blocks together up to
     * max_live. */
    int64_t persistence_threshold, model_persistence_threshold, prefetch, max_live;
} lt_zero_settings;

typedef struct lt_zero_plan {
    lt_zero_settings set; /* as asked for, the tile's size filled in */
    lt_zero_unit *units;  /* table->n_units */
    int n_units;
    lt_zero_segment *segments;
    int n_segments;
    lt_zero_place *places; /* one a parameter */
    int64_t n_elements;    /* the flat space, padded */
    int64_t n_owned;       /* of which a rank owns: n_elements / world */
    int64_t n_optimizer; /* elements whose masters are kept: n_elements at stage 0, else n_owned */
    int64_t n_weights, n_grads, n_master, n_moment; /* elements of the buffers */
    /* Stage 3 with more ranks than one, or with offloaded parameters: units come and go. */
    bool params_cut;
    /* Stages 2 and 3 of a training: gradients are written into slots and added up in fp32. */
    bool grads_cut;
    /* The weights are the masters and n_master is 0: fp32 compute, nothing in a tier, and one rank,
     * stage 0, or stage 3 (where the masters of a persistent segment are the slice inside it). */
    bool master_is_compute;
    /* Blocks have the first slots, then embeddings, then the head.  Parameters: one for the block
     * at work and as many as fit into prefetch; gradients: two; no more than there are blocks.
     * None when nothing is cut. */
    int n_param_slots, n_grad_slots;
    int64_t *param_slot_count, *grad_slot_count; /* elements of each */
    lt_zero_tile *tiles; /* of trainable segments, in the order of the update */
    int n_tiles, n_records;
    /* What the store opens, all but the label; kind LT_TIER_NONE: nothing.  A unit's parameter
     * record holds the owned slices of its segments that are not persistent, in compute type. */
    lt_tier_options optimizer_tier, param_tier;
    size_t *optimizer_record_bytes, *param_record_bytes; /* which the two borrow */
} lt_zero_plan;

/* Bytes that one rank keeps, by class and place. */
typedef struct lt_zero_bytes {
    uint64_t params;                   /* weights: all, or owned and persistent */
    uint64_t gathered;                 /* parameter slots, compute type */
    uint64_t grads;                    /* all, or owned in fp32 */
    uint64_t buckets;                  /* gradient slots, grad type */
    uint64_t master, moment1, moment2; /* in device memory */
    uint64_t staging;                  /* of tiers, in device memory */
    uint64_t host;                     /* tiers and their pinned staging */
    uint64_t file;
} lt_zero_bytes;
uint64_t lt_zero_bytes_device(const lt_zero_bytes *b); /* the sum of what is on the device */

/* Cuts the table; any stage 0 to 3 and any world can be planned.  LT_EUSAGE for another stage, for
 * offloaded parameters below stage 3, when units come and go, for max_live below the largest block
 * (of what a slot holds: padded, without persistent segments), and for max_in_cpu below two records
 * (a slot's, and the one at hand for checkpoints). */
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

/* Elements of the optimizer state that lie together. */
typedef struct lt_zero_run {
    int64_t count;
    int tile;               /* -1: the segment has no tiles, thus no moments */
    int record;             /* the tile's; -1: in device memory */
    int64_t in_tile;        /* the run's first element */
    int64_t master, moment; /* in device memory, the places of the run itself; else -1 */
} lt_zero_run;

/* The place of the optimizer state (n_optimizer elements, as tiles count) of an owned element: the
 * same but for stage 0, where the state of all ranks is kept. */
int64_t lt_zero_plan_state_of(const lt_zero_plan *p, int64_t owned);
/* The first run of elements [first, first + count) of the optimizer state; walk on by its count. */
lt_zero_run lt_zero_plan_run(const lt_zero_plan *p, int64_t first, int64_t count);

#endif
