/* tools/bench/child.h - other programs as children: their one JSON object, or what became of them.
 *
 * Standard error stays the caller's.  A child ends with this process. */
#ifndef LT_TOOLS_BENCH_CHILD_H
#define LT_TOOLS_BENCH_CHILD_H

#include "base/json.h"

/* A command line that grows; owns its words. */
typedef struct child_command {
    char **words; /* NULL-terminated when not empty */
    size_t n, capacity;
} child_command; /* {0} is empty */

void child_add(child_command *c, const char *fmt, ...) LT_PRINTF(2, 3);
void child_add_split(child_command *c, const char *words); /* at spaces */
void child_release(child_command *c);

/* Runs it to its end.  The first line of its output that begins an object is *out (json_decref).
 * LT_ENOENT when it cannot be started, LT_EFAULT when it fails or prints no object. */
LT_MUST_USE lt_err child_json(json_t **out, const child_command *c);
/* True when it starts and ends with 0; nothing that it says is shown. */
bool child_succeeds(const child_command *c);

#endif
