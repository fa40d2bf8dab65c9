/* text/input_list.h - the inputs of a run: files, folders taken apart, stdin. */
#ifndef LT_TEXT_INPUT_LIST_H
#define LT_TEXT_INPUT_LIST_H

#include "base/err.h"

typedef struct lt_input {
    char *path; /* "-": stdin */
    bool is_jsonl;
} lt_input;

typedef struct lt_input_list {
    lt_input *items;
    size_t n, capacity;
    uint64_t bytes;   /* of all files on disk */
    bool bytes_known; /* false once stdin or a pipe is among them */
} lt_input_list;

void lt_input_list_init(lt_input_list *list);
void lt_input_list_release(lt_input_list *list);

/* Adds a file, "-", or all files below a folder: in byte order of their names, without hidden ones.
 * JSONL is what ends in .jsonl or .ndjson (before .gz or .zst), or everything if all_jsonl. */
LT_MUST_USE lt_err lt_input_list_add(lt_input_list *list, const char *path, bool all_jsonl);

const char *lt_input_name(const lt_input *input); /* for sentences */

#endif
