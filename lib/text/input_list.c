/* input_list.c - files and folders into a list of inputs. */
#include "text/input_list.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_DEPTH = 64 }; /* of folders; a loop of links ends here */

void lt_input_list_init(lt_input_list *list)
{
    *list = (lt_input_list){ .bytes_known = true };
}

void lt_input_list_release(lt_input_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i].path);
    free(list->items);
    lt_input_list_init(list);
}

const char *lt_input_name(const lt_input *input)
{
    return strcmp(input->path, "-") == 0 ? "standard input" : input->path;
}

static bool cut_suffix(const char *name, size_t *n, const char *suffix)
{
    size_t m = strlen(suffix);

    if (*n <= m || memcmp(name + *n - m, suffix, m) != 0)
        return false;
    *n -= m;
    return true;
}

static bool is_jsonl_name(const char *name)
{
    size_t n = strlen(name);

    if (!cut_suffix(name, &n, ".gz"))
        cut_suffix(name, &n, ".zst");
    return cut_suffix(name, &n, ".jsonl") || cut_suffix(name, &n, ".ndjson");
}

static void add_file(lt_input_list *list, const char *path, bool all_jsonl, const struct stat *st)
{
    lt_array_reserve(&list->items, &list->capacity, list->n + 1, sizeof *list->items);
    list->items[list->n++] = (lt_input){ lt_strdup(path), all_jsonl || is_jsonl_name(path) };
    if (st && S_ISREG(st->st_mode))
        list->bytes += (uint64_t)st->st_size;
    else
        list->bytes_known = false;
}

static int skip_hidden(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static lt_err add_path(lt_input_list *list, const char *path, bool all_jsonl, int depth)
{
    struct dirent **entries = NULL;
    struct stat st;
    lt_err err = LT_OK;
    int n;

    if (stat(path, &st) != 0)
        return lt_fail(errno == ENOENT ? LT_ENOENT : LT_EIO, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode)) {
        if (depth == 0 || S_ISREG(st.st_mode)) /* a folder's sockets and pipes are no text */
            add_file(list, path, all_jsonl, &st);
        return LT_OK;
    }
    if (depth == MAX_DEPTH)
        return lt_fail(LT_EIO, "%s: more than %d folders deep: is there a loop of links?", path,
                       MAX_DEPTH);
    n = scandir(path, &entries, skip_hidden, by_bytes);
    if (n < 0)
        return lt_fail(LT_EIO, "%s: %s", path, strerror(errno));
    for (int i = 0; i < n; i++) {
        char *inner = lt_path_join(path, entries[i]->d_name);

        if (err == LT_OK)
            err = add_path(list, inner, all_jsonl, depth + 1);
        free(inner);
        free(entries[i]);
    }
    free(entries);
    return err;
}

lt_err lt_input_list_add(lt_input_list *list, const char *path, bool all_jsonl)
{
    if (strcmp(path, "-") != 0)
        return add_path(list, path, all_jsonl, 0);
    add_file(list, path, all_jsonl, NULL);
    return LT_OK;
}
