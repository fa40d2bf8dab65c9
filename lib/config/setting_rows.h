/* config/setting_rows.h - how the rows of setting_table.c and setting_deepspeed.c are written.
 *
 * OURS and SAME say whose key it is; a row with a field names it as in lt_config.  An int or real
 * without an upper bound ends at NO_BOUND. */
#ifndef LT_CONFIG_SETTING_ROWS_H
#define LT_CONFIG_SETTING_ROWS_H

#include "config/config.h"
#include "config/setting.h"

#define NO_BOUND 1e19
#define OURS     LT_SETTING_OURS
#define SAME     LT_SETTING_DEEPSPEED

#define ROW_FIELD(t, owner, k, f, d, h)                                                            \
    .key = k, .type = t, .status = owner, .offset = offsetof(lt_config, f), .unless_given = d,     \
    .help = h

#define ROW_BOOL(owner, k, f, d, h)                                                                \
    {                                                                                              \
        ROW_FIELD(LT_SETTING_BOOL, owner, k, f, d, h)                                              \
    }
#define ROW_TEXT(owner, k, f, d, h)                                                                \
    {                                                                                              \
        ROW_FIELD(LT_SETTING_TEXT, owner, k, f, d, h)                                              \
    }
#define ROW_TEXTS(owner, k, f, d, h)                                                               \
    {                                                                                              \
        ROW_FIELD(LT_SETTING_TEXTS, owner, k, f, d, h)                                             \
    }
#define ROW_ONOFF(owner, k, f, w, h)                                                               \
    {                                                                                              \
        ROW_FIELD(LT_SETTING_ONOFF, owner, k, f, NULL, h), .words = w                              \
    }
#define ROW_WORD(owner, k, f, w, d, h)                                                             \
    {                                                                                              \
        ROW_FIELD(LT_SETTING_WORD, owner, k, f, d, h), .words = w                                  \
    }
#define ROW_INT(owner, k, f, d, lo, hi, h)                                                         \
    {                                                                                              \
        ROW_FIELD(LT_SETTING_INT, owner, k, f, d, h), .min = lo, .max = hi                         \
    }
#define ROW_REAL(owner, k, f, d, lo, hi, h)                                                        \
    {                                                                                              \
        ROW_FIELD(LT_SETTING_REAL, owner, k, f, d, h), .min = lo, .max = hi                        \
    }
#define ROW_TIME(owner, k, f, d, h)                                                                \
    {                                                                                              \
        ROW_FIELD(LT_SETTING_TIME, owner, k, f, d, h), .min = 0, .max = NO_BOUND                   \
    }
#define ROW_PAIR(owner, k, f, d, lo, hi, h)                                                        \
    {                                                                                              \
        ROW_FIELD(LT_SETTING_PAIR, owner, k, f, d, h), .min = lo, .max = hi                        \
    }

#define ROW_BARE(t, s, k, d, h)                                                                    \
    {                                                                                              \
        .key = k, .type = t, .status = s, .offset = LT_SETTING_NO_FIELD, .unless_given = d,        \
        .help = h                                                                                  \
    }
#define ROW_SECTION(k, h) ROW_BARE(LT_SETTING_SECTION, LT_SETTING_OURS, k, NULL, h)
/* Accepted and without effect; a SECTION's keys are not looked at. */
#define ROW_NO_EFFECT(t, k, h) ROW_BARE(LT_SETTING_##t, LT_SETTING_NO_EFFECT, k, NULL, h)
/* Known, not supported yet; a SECTION is accepted when it says `enabled: false`. */
#define ROW_LATER(t, k, d, h) ROW_BARE(LT_SETTING_##t, LT_SETTING_LATER, k, d, h)

#endif
