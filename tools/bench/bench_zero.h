/* tools/bench/bench_zero.h - options that say how a run is cut: several subcommands take them. */
#ifndef LT_TOOLS_BENCH_ZERO_H
#define LT_TOOLS_BENCH_ZERO_H

#include "base/options.h"
#include "zero/plan.h"

typedef struct bench_zero {
    int64_t stage;
    const char *offload_optimizer, *offload_param; /* NULL or "none", "cpu", "nvme:DIR" */
    bool no_overlap;
} bench_zero;

/* Rows of an option table; args is the struct, member its bench_zero. */
#define BENCH_ZERO_OPTIONS(args, member)                                                           \
    { "stage", 0, LT_OPT_INT, offsetof(args, member.stage), "N", "ZeRO stage (default 0)", 0, 3 }, \
        { "offload-optimizer",                                                                     \
          0,                                                                                       \
          LT_OPT_STRING,                                                                           \
          offsetof(args, member.offload_optimizer),                                                \
          "WHERE",                                                                                 \
          "none, cpu or nvme:DIR (default none)" },                                                \
        { "offload-param",       0, LT_OPT_STRING, offsetof(args, member.offload_param), "WHERE",  \
          "the same, at stage 3" },                                                                \
    {                                                                                              \
        "no-overlap", 0, LT_OPT_FLAG, offsetof(args, member.no_overlap), NULL,                     \
            "wait for each collective"                                                             \
    }

/* The settings of lt-train's defaults with these choices; texts are borrowed. */
LT_MUST_USE lt_err bench_zero_settings(lt_zero_settings *out, const bench_zero *b);

#endif
