/* train/report.h - what lt-train says without training: --plan, --dry-run, --explain-step. */
#ifndef LT_TRAIN_REPORT_H
#define LT_TRAIN_REPORT_H

#include "train/setup.h"
#include <stdio.h>

typedef struct lt_plan_request {
    const char *device; /* "cpu" or "cuda" */
    int64_t ranks;      /* 0: as many as the launcher started */
    uint64_t memory;    /* bytes of one device; 0: not compared */
    bool json;
} lt_plan_request;

/* Bytes of one rank by class; opens no device and no data.  LT_ENOMEM over request->memory. */
LT_MUST_USE lt_err lt_report_plan(lt_config *config, const lt_plan_request *request, FILE *out);
/* The first batches (where they come from, their text) and the learning rate at ten points. */
LT_MUST_USE lt_err lt_report_dry_run(lt_config *config, FILE *out);
/* Which shards, frames and documents step `step` reads. */
LT_MUST_USE lt_err lt_report_explain(lt_config *config, int64_t step, FILE *out);

#endif
