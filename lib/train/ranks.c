/* train/ranks.c - small agreements. */
#include "train/ranks.h"

#include "base/log.h"
#include "base/options.h"
#include "base/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *first_name;
static char name[48];
static _Thread_local bool failed_together; /* the last agreement was a failure, on every rank */

void lt_ranks_talk(const lt_group *g, const char *program)
{
    first_name = program;
    if (g->rank == 0)
        return;
    snprintf(name, sizeof name, "%s: rank %d", program, g->rank);
    lt_log_init(name, LT_LOG_ERROR);
}

int lt_ranks_threads(int local_world, int64_t asked)
{
    int share = lt_cpu_count() / local_world;

    if (asked > 0)
        return (int)asked;
    return local_world == 1 ? 0 : share > 1 ? share : 1;
}

lt_err lt_ranks_agree(lt_group *g, lt_err mine)
{
    lt_err err = lt_group_agree(g, mine);

    /* Ranks that have lost each other have agreed on nothing. */
    failed_together = err != LT_OK && !atomic_load(&g->failed);
    return err;
}

void lt_ranks_go_on(void)
{
    failed_together = false;
}

bool lt_ranks_together(const lt_group *g, lt_err err)
{
    return err == LT_OK || err == LT_ERESTART || failed_together || g->world == 1;
}

bool lt_ranks_last_word(const lt_group *g, lt_err err)
{
    bool together = lt_ranks_together(g, err);

    if (!together || g->world == 1)
        return together;
    if (err != LT_OK && g->rank == 0)
        lt_log_error("%s", lt_err_text());
    lt_log_init(first_name, LT_LOG_QUIET);
    return true;
}

lt_err lt_ranks_sum(lt_group *g, double *values, int n)
{
    size_t bytes = (size_t)n * sizeof *values;
    double *all = lt_new_array0((size_t)g->world, bytes);
    lt_err err;

    LT_TRY(err = lt_group_all_gather(g, all, values, bytes));
    memset(values, 0, bytes);
    for (int r = 0; r < g->world; r++)
        for (int i = 0; i < n; i++)
            values[i] += all[r * n + i];
fail:
    free(all);
    return err;
}

/* A line of a configuration that each host may have of its own. */
static bool is_of_host(const char *line)
{
    static const char *const keys[] = { "path: ",      "train: ",       "val: ",
                                        "tokenizer: ", "dir: ",         "tensorboard_dir: ",
                                        "nvme_path: ", "output_path: ", "threads: " };

    line += strspn(line, " ");
    for (size_t i = 0; i < LT_COUNT(keys); i++)
        if (strncmp(line, keys[i], strlen(keys[i])) == 0)
            return true;
    return false;
}

/* Line 0 is the program's. */
static lt_err compare_lines(const char *mine, const char *first)
{
    for (int line = 0; *mine || *first; line++) {
        size_t n = strcspn(mine, "\n"), n_first = strcspn(first, "\n");
        bool same = n == n_first && memcmp(mine, first, n) == 0;

        if (!same && line == 0)
            return lt_fail(LT_EUSAGE, "this is %.*s, and rank 0 is %.*s: start one program", (int)n,
                           mine, (int)n_first, first);
        if (!same && !(is_of_host(mine) && is_of_host(first)))
            return lt_fail(LT_EUSAGE,
                           "the configuration is not rank 0's: line %d of --print-config: expected "
                           "\"%.*s\", found \"%.*s\"",
                           line, (int)(n_first - strspn(first, " ")), first + strspn(first, " "),
                           (int)(n - strspn(mine, " ")), mine + strspn(mine, " "));
        mine += n + (mine[n] != '\0');
        first += n_first + (first[n_first] != '\0');
    }
    return LT_OK;
}

lt_err lt_ranks_same_config(lt_group *g, const lt_buf *text)
{
    lt_buf mine = { 0 }, first = { 0 };
    lt_err err;

    lt_buf_printf(&mine, "lt %s\n", LT_VERSION);
    lt_buf_append(&mine, text->data, text->size);
    lt_buf_append(&first, mine.data, mine.size);
    LT_TRY(err = lt_group_broadcast(g, &first, 0));
    err = lt_ranks_agree(g, compare_lines(lt_buf_cstr(&mine), lt_buf_cstr(&first)));
fail:
    lt_buf_release(&mine);
    lt_buf_release(&first);
    return err;
}

lt_err lt_ranks_share_path(lt_group *g, char **path)
{
    lt_buf text = { 0 };
    lt_err err;

    if (*path)
        lt_buf_append(&text, *path, strlen(*path));
    LT_TRY(err = lt_group_broadcast(g, &text, 0));
    free(*path);
    *path = text.size ? lt_strdup(lt_buf_cstr(&text)) : NULL;
fail:
    lt_buf_release(&text);
    return err;
}
