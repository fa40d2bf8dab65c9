/* zero/plan.h - where every byte of parameters, gradients and optimizer state lies: pure arithmetic.
 *
 * A unit (embeddings, a block, the head) is a list of segments; a segment is a flat range of one
 * class {trainable, decay}.  Inside a segment the parameters of a unit follow one another in the
 * order of the table, each starting at a multiple of LT_ZERO_ALIGN elements; the segment's length is
 * padded so that `world` equal slices of it are aligned too:
 *
 *     unit k   | segment 0 (decay)                | segment 1 (no decay)      |
 *              | qkv.w | proj.w | fc.w | ... |pad | ln.w | ln.b | ... | pad   |
 *     rank 0..3|----0---|---1----|---2---|--3----||-0--|--1--|--2--|---3----|     owned slices
 *
 * Stages 0-3 differ only in which of these bytes a rank keeps (Rajbhandari et al., SC'20).  This
 * file knows no device; zero/store.c allocates what the plan says. */
#ifndef LT_ZERO_PLAN_H
#define LT_ZERO_PLAN_H

#include "param/param_table.h"

enum { LT_ZERO_ALIGN = 64 }; /* elements: 128 bytes of bf16 */

typedef struct lt_zero_segment {
    int unit;
    bool trainable, decay;
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
} lt_zero_unit;

typedef struct lt_zero_settings {
    int stage, world, rank;
    lt_dtype compute; /* dtype of gathered parameters */
    lt_dtype grad;    /* dtype of gradients */
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
    /* fp32 compute and one rank: the compute weights are the master weights. */
    bool master_is_compute;
} lt_zero_plan;

typedef struct lt_zero_bytes {
    uint64_t params, grads, master, moment1, moment2;
} lt_zero_bytes;

/* Cuts the table; any stage 0 to 3 and any world can be planned.  LT_EUSAGE for another stage. */
LT_MUST_USE lt_err lt_zero_plan_new(lt_zero_plan **out, const lt_param_table *t,
                                    const lt_zero_settings *set);
void lt_zero_plan_free(lt_zero_plan *p); /* NULL is fine */

/* Bytes that one rank keeps, by class. */
lt_zero_bytes lt_zero_plan_bytes(const lt_zero_plan *p);

/* A run of logical elements of one parameter inside the slices that this rank owns.  The owned
 * slices of all segments follow one another in the owned buffers (master, moments). */
typedef struct lt_zero_piece {
    int param;
    int64_t first, count; /* elements of the parameter; padding is left out */
    int64_t owned;        /* where the run begins in the owned buffers */
} lt_zero_piece;

/* All pieces of this rank in table order; *n tells how many.  free() the result. */
lt_zero_piece *lt_zero_plan_pieces(const lt_zero_plan *p, const lt_param_table *t, int *n);

#endif
