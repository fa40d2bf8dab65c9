/* base/options.h - one table row per option of a tool: drives parsing, --help and the man page.
 *
 *     static const lt_option options[] = {
 *         { "out", 'o', LT_OPT_STRING, offsetof(args, out), "FILE", "write here; - is stdout" },
 *         { "level", 0, LT_OPT_INT, offsetof(args, level), "N", "zstd level (default 3)", 1, 19 },
 *         { 0 }
 *     };
 * Accepts --name=value, --name value, -o value, -ovalue, --flag, --no-flag, and -- as the end of
 * options; an unambiguous prefix is not accepted.  An unknown option is LT_EUSAGE and names the
 * nearest one.  --help (-h), --man and --version are built in. */
#ifndef LT_BASE_OPTIONS_H
#define LT_BASE_OPTIONS_H

#include "base/err.h"
#include <stdio.h>

typedef enum lt_opt_type {
    LT_OPT_FLAG = 1, /* bool */
    LT_OPT_INT,     /* int64_t, k/M/G suffixes (powers of 1000) accepted, min..max when max > min */
    LT_OPT_REAL,    /* double, min..max when max > min */
    LT_OPT_SIZE,    /* uint64_t bytes: KiB, MiB, GiB, KB, MB, GB, or plain */
    LT_OPT_STRING,  /* const char *, borrowed from argv */
    LT_OPT_LIST,    /* lt_opt_list: may be given more than once */
    LT_OPT_HEADING, /* no option: `help` is a heading in the usage text */
} lt_opt_type;

typedef struct lt_option {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    lt_opt_type type;
    size_t offset;     /* in the caller's struct */
    const char *value; /* how the usage text names the argument */
    const char *help;
    double min, max;
} lt_option;

typedef struct lt_opt_list {
    const char **items;
    size_t n, capacity;
} lt_opt_list;

/* What a command is, for its usage text and man page. */
typedef struct lt_command {
    const char *name;     /* "lt-tokenize" or "lt-shard verify" */
    const char *synopsis; /* "[options] INPUT... [-o FILE]" */
    const char *summary;  /* one line */
    const char *details;  /* paragraphs for --help and the man page; may be NULL */
    const lt_option *options;
} lt_command;

/* Parses argv[1..]; what is no option lands in `rest` (borrowed).  --help, --man and --version
 * print to stdout, unless this process leaves that to another (lt_log_defer), and set *done: the
 * caller then returns LT_OK. */
LT_MUST_USE lt_err lt_options_parse(const lt_command *cmd, int argc, char **argv, void *values,
                                    lt_opt_list *rest, bool *done);
void lt_opt_list_add(lt_opt_list *list, const char *item);
void lt_opt_list_release(lt_opt_list *list);

void lt_command_usage(const lt_command *cmd, FILE *out);
void lt_command_man(const lt_command *cmd, FILE *out); /* troff man(7); `TOOL --man` prints it */

/* Checked text -> number, for options and configuration; on failure a sentence without a prefix. */
LT_MUST_USE lt_err lt_parse_int(const char *text, int64_t *out);
LT_MUST_USE lt_err lt_parse_real(const char *text, double *out);
LT_MUST_USE lt_err lt_parse_size(const char *text, uint64_t *out);

/* The name in names[] (NULL-terminated) nearest to `word` by edit distance;
 * NULL if none is near. */
const char *lt_nearest(const char *word, const char *const *names);

#define LT_VERSION "0.1.0"

#endif
