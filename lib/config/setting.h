/* config/setting.h - the option table: one row per key of the configuration.
 *
 * A row says how text becomes a value, where the value lives in lt_config, what it may be, what it
 * is unless told, and what it does.  Reading, printing, docs and suggestions all walk these rows.
 * Two rows with one field are two names of one setting: the first is its owner, which prints. */
#ifndef LT_CONFIG_SETTING_H
#define LT_CONFIG_SETTING_H

#include "base/mem.h"

typedef enum lt_setting_type {
    LT_SETTING_SECTION, /* a mapping of further keys */
    LT_SETTING_BOOL,
    LT_SETTING_INT,   /* int64_t */
    LT_SETTING_REAL,  /* double */
    LT_SETTING_TIME,  /* double, seconds: a number or [D-]HH:MM:SS, as SLURM writes a limit */
    LT_SETTING_WORD,  /* one of words[]; the field is an enum */
    LT_SETTING_TEXT,  /* char *, owned, never NULL */
    LT_SETTING_PAIR,  /* double[2] */
    LT_SETTING_TEXTS, /* lt_config_strings */
    LT_SETTING_ONOFF, /* true or false in place of a section; the field is the section's device */
} lt_setting_type;

typedef enum lt_setting_status {
    LT_SETTING_OURS,      /* no such key in DeepSpeed */
    LT_SETTING_DEEPSPEED, /* the meaning it has there */
    LT_SETTING_NO_EFFECT, /* accepted: what it tunes does not exist here, or is always so */
    LT_SETTING_LATER,     /* known, not supported yet: only its default is accepted */
} lt_setting_status;

typedef struct lt_setting_word {
    const char *name; /* NULL ends the list */
    int value;        /* negative: known, not supported yet */
} lt_setting_word;

#define LT_SETTING_NO_FIELD ((size_t)-1)

typedef struct lt_setting {
    const char *key; /* "training.lr" */
    lt_setting_type type;
    lt_setting_status status;
    size_t offset;            /* in lt_config, or LT_SETTING_NO_FIELD */
    const char *unless_given; /* the default as YAML text; NULL: none, or derived (help says how) */
    double min, max;          /* of numbers, when max > min */
    const lt_setting_word *words;
    const char *help; /* for LT_SETTING_LATER: what to do instead, or "" */
} lt_setting;

/* setting_table.c and setting_deepspeed.c */
extern const lt_setting lt_settings_ours[], lt_settings_deepspeed[];
extern const size_t lt_n_settings_ours, lt_n_settings_deepspeed;

size_t lt_setting_count(void);
const lt_setting *lt_setting_at(size_t i);
int lt_setting_find(const char *key); /* index, -1 if there is none */
int lt_setting_owner(int i);          /* the row that owns the field of row i; i without a field */
const char *lt_setting_last(const char *key); /* after the last dot */

/* Appends the full key that was probably meant by `key`; false if none is near. */
bool lt_setting_suggest(const char *key, lt_buf *out);

#endif
