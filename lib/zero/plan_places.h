/* zero/plan_places.h - for plan.c: slots, buffers, tiles and tiers of a model that is cut. */
#ifndef LT_ZERO_PLAN_PLACES_H
#define LT_ZERO_PLAN_PLACES_H

#include "zero/plan.h"

/* Fills in all that depends on the stage.  LT_EUSAGE: max_live or max_in_cpu is too small. */
LT_MUST_USE lt_err lt_zero_plan_place(lt_zero_plan *p);

#endif
