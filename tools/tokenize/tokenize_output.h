/* tools/tokenize/tokenize_output.h - where data goes: stdout, or a file that appears when whole.
 *
 * A file is written as NAME.tmp.PID, synced and renamed; what killed ones left of it is removed
 * before (base/temporary.h).  What exists and is no regular file (a pipe,
 * /dev/null) is written in place; a symbolic link stays, what it leads to is replaced. */
#ifndef LT_TOKENIZE_OUTPUT_H
#define LT_TOKENIZE_OUTPUT_H

#include "base/err.h"

typedef struct tokenize_output {
    int fd;
    const char *name; /* for sentences */
    const char *path; /* NULL: stdout */
    char *temporary;  /* becomes target; both NULL: in place */
    char *target;
} tokenize_output;

/* path NULL or "-": stdout, which must be no terminal if the data is binary.  Borrows path. */
LT_MUST_USE lt_err tokenize_output_open(tokenize_output *o, const char *path, bool is_binary);
LT_MUST_USE lt_err tokenize_output_commit(tokenize_output *o);
void tokenize_output_abort(tokenize_output *o); /* fine after a commit and for one never opened */

#endif
