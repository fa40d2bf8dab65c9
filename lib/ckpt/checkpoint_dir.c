/* ckpt/checkpoint_dir.c - finds, retires and sweeps step folders. */
#include "ckpt/checkpoint_dir.h"
#include "base/file.h"
#include "base/log.h"
#include "ckpt/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Names in a directory that a test accepts; newest step first. */
typedef struct name_list {
    char **names;
    size_t n, capacity;
} name_list;

static void release_names(name_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->names[i]);
    free(l->names);
}

/* What follows "step-" and at least eight digits; NULL if the name begins otherwise. */
static const char *behind_step(const char *name)
{
    size_t digits;

    if (strncmp(name, "step-", 5) != 0)
        return NULL;
    digits = strspn(name + 5, "0123456789");
    return digits >= 8 && digits <= 20 ? name + 5 + digits : NULL;
}

static bool is_step(const char *name)
{
    const char *rest = behind_step(name);

    return rest && !rest[0];
}

/* Only names that we give: the directory may be somebody's home. */
static bool is_leftover(const char *name)
{
    enum { ATTEMPT = LT_CKPT_ATTEMPT_BYTES - 1 };
    const char *rest = behind_step(name);

    if (strncmp(name, "trash.", 6) == 0)
        return is_step(name + 6);
    return rest && strncmp(rest, ".tmp.", 5) == 0 &&
           strspn(rest + 5, "0123456789abcdef") == ATTEMPT && !rest[5 + ATTEMPT];
}

/* Longer numbers are larger: there are no leading zeros beyond eight digits. */
static int compare_newest_first(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    size_t n = strlen(x), m = strlen(y);

    return n != m ? (n < m) - (n > m) : -strcmp(x, y);
}

static lt_err list_names(name_list *l, const char *dir, bool (*wanted)(const char *name))
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    int fault;

    if (!d)
        return lt_fail(errno == ENOENT ? LT_ENOENT : LT_EIO, "%s: %s", dir, strerror(errno));
    while (errno = 0, (e = readdir(d)) != NULL) {
        if (!wanted(e->d_name))
            continue;
        lt_array_reserve(&l->names, &l->capacity, l->n + 1, sizeof *l->names);
        l->names[l->n++] = lt_strdup(e->d_name);
    }
    fault = errno;
    closedir(d);
    if (fault != 0)
        return lt_fail(LT_EIO, "%s: %s", dir, strerror(fault));
    if (l->n > 0)
        qsort(l->names, l->n, sizeof *l->names, compare_newest_first);
    return LT_OK;
}

/* Manifest and sizes; the sentence of the failure tells what is wrong. */
static lt_err check_step(const char *path)
{
    lt_ckpt *c = NULL;
    lt_err err = lt_ckpt_open(&c, path);

    lt_ckpt_close(c);
    return err;
}

lt_err lt_ckpt_find(const char *dir, char **path)
{
    name_list steps = { 0 };
    char *candidate = NULL;
    lt_err err;

    LT_TRY(err = list_names(&steps, dir, is_step));
    for (size_t i = 0; i < steps.n; i++) {
        candidate = lt_path_join(dir, steps.names[i]);
        err = check_step(candidate);
        if (err == LT_OK) {
            *path = candidate;
            release_names(&steps);
            return LT_OK;
        }
        if (err == LT_ENOTSUP) { /* whole, for a newer lt: going on from an older one would */
            free(candidate);     /* write over it */
            goto fail;
        }
        lt_log_warn("skipping %s, which is not a complete checkpoint: %s", candidate,
                    lt_err_text());
        free(candidate);
    }
    err = lt_fail(LT_ENOENT, "%s: holds no complete checkpoint (%zu step folders looked at)", dir,
                  steps.n);
fail:
    release_names(&steps);
    return err;
}

lt_err lt_ckpt_resolve(const char *path, char **step_path, bool *chosen)
{
    char *manifest;

    if (!lt_is_dir(path))
        return lt_fail(LT_ENOENT, "%s: expected a checkpoint folder, found %s", path,
                       lt_path_exists(path) ? "a file" : "nothing");
    manifest = lt_path_join(path, LT_MANIFEST_NAME);
    *chosen = !lt_path_exists(manifest);
    free(manifest);
    if (*chosen)
        return lt_ckpt_find(path, step_path);
    *step_path = lt_strdup(path);
    return LT_OK;
}

/* Renames first, so that a kill never leaves a step folder with files missing. */
static lt_err retire(const char *dir, const char *name)
{
    char *from = lt_path_join(dir, name), *to = lt_asprintf("%s/trash.%s", dir, name);
    lt_err err;

    LT_TRY(err = lt_remove_tree(to));
    LT_TRY(err = lt_rename_sync(from, to));
    LT_TRY(err = lt_remove_tree(to));
fail:
    if (err != LT_OK)
        lt_fail_in("cannot retire %s", from);
    free(from);
    free(to);
    return err;
}

lt_err lt_ckpt_retire(const char *dir, int keep_last)
{
    name_list steps = { 0 };
    int kept = 0;
    lt_err err;

    if (keep_last <= 0)
        return LT_OK;
    LT_TRY(err = list_names(&steps, dir, is_step));
    for (size_t i = 0; i < steps.n; i++) {
        char *path;

        if (kept >= keep_last) {
            LT_TRY(err = retire(dir, steps.names[i]));
            continue;
        }
        path = lt_path_join(dir, steps.names[i]);
        kept += check_step(path) == LT_OK;
        free(path);
    }
fail:
    release_names(&steps);
    return err;
}

lt_err lt_ckpt_sweep(const char *dir)
{
    name_list dead = { 0 };
    lt_err err = LT_OK;

    if (!lt_path_exists(dir))
        return LT_OK;
    LT_TRY(err = list_names(&dead, dir, is_leftover));
    for (size_t i = 0; i < dead.n && err == LT_OK; i++) {
        char *path = lt_path_join(dir, dead.names[i]);

        lt_log_info("removing %s, left by a job that did not finish", path);
        err = lt_remove_tree(path);
        free(path);
    }
fail:
    release_names(&dead);
    return err;
}

lt_err lt_ckpt_lock(lt_lock **out, const char *dir)
{
    return lt_lock_take(out, dir, "lock", "writes checkpoints");
}
