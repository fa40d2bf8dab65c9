/* shard/shard_folder.c - the commit protocol of a data set folder.
 *
 * Moving a committed set into place can be cut off anywhere and started again: every step looks at
 * what is there.  Order: stale shards of the old set go, new shards and the tokenizer are moved,
 * then manifests, train.manifest last, then the empty commit folder goes. */
#include "shard/shard_folder.h"

#include "base/file.h"
#include "shard/shard_manifest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char UNFINISHED[] = "lt-shard.unfinished", COMMIT[] = "lt-shard.commit";
static const char MANIFEST[] = ".manifest", FIRST_SHARD[] = "-00000.lts.zst";
static const char LAST[] = "train.manifest"; /* moved last */

struct lt_shard_folder {
    char *dir, *unfinished, *commit;
    int lock; /* descriptor of dir, or -1 */
};

static bool ends_in(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);

    return n > k && strcmp(s + n - k, tail) == 0;
}

char *lt_shard_folder_resolve(const char *path)
{
    int dir = (int)(lt_path_base(path) - path);
    char *committed = lt_asprintf("%.*s%s/%s", dir, path, COMMIT, path + dir);

    if (lt_path_exists(committed))
        return committed;
    free(committed);
    return lt_strdup(path);
}

static lt_err unlink_file(const char *path)
{
    if (unlink(path) != 0 && errno != ENOENT)
        return lt_fail(LT_EIO, "%s: cannot remove: %s", path, strerror(errno));
    return LT_OK;
}

/* Removes DIR/SPLIT-NNNNN.lts.zst from number `first` on.  The highest goes first: a kill in
 * between leaves numbers without a gap, so the next try finds them all. */
static lt_err remove_shards(const lt_shard_folder *f, const char *split, int n, size_t first)
{
    size_t stop = first;
    lt_err err = LT_OK;
    bool exists = true;

    while (exists) {
        char *path = lt_asprintf("%s/%.*s-%05zu.lts.zst", f->dir, n, split, stop);

        exists = lt_path_exists(path);
        stop += exists;
        free(path);
    }
    while (err == LT_OK && stop > first) {
        char *path = lt_asprintf("%s/%.*s-%05zu.lts.zst", f->dir, n, split, --stop);

        err = unlink_file(path);
        free(path);
    }
    return err;
}

/* ---- what is done with each name of a folder ---- */

typedef lt_err visit_fn(lt_shard_folder *f, const char *name);

/* Names in alphabetical order, listed before the first is visited. */
static lt_err for_each(lt_shard_folder *f, const char *dir, visit_fn *visit)
{
    struct dirent **list;
    int n = scandir(dir, &list, NULL, alphasort);
    lt_err err = LT_OK;

    if (n < 0)
        return lt_fail(LT_EIO, "%s: %s", dir, strerror(errno));
    for (int i = 0; i < n; i++) {
        const char *name = list[i]->d_name;

        if (err == LT_OK && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
            err = visit(f, name);
        free(list[i]);
    }
    free(list);
    return err;
}

/* A manifest of the commit folder tells how many shards its split has; the old set's others go. */
static lt_err drop_stale_shards(lt_shard_folder *f, const char *name)
{
    int n = (int)(strlen(name) - strlen(MANIFEST));
    char *path = lt_path_join(f->commit, name);
    lt_shard_manifest m = { 0 };
    lt_buf text = { 0 };
    lt_err err = LT_OK;

    if (ends_in(name, MANIFEST)) {
        LT_TRY(err = lt_file_read_all(&text, path, UINT32_MAX));
        if (text.size > 0)
            LT_TRY(err = lt_shard_manifest_parse(&m, text.data, text.size, path));
        LT_TRY(err = remove_shards(f, name, n, m.n_rows));
    }
fail:
    lt_shard_manifest_release(&m);
    lt_buf_release(&text);
    free(path);
    return err;
}

static lt_err move_file(lt_shard_folder *f, const char *name)
{
    char *from = lt_path_join(f->commit, name), *to = lt_path_join(f->dir, name);
    struct stat st;
    lt_err err;

    if (ends_in(name, MANIFEST) && stat(from, &st) == 0 && st.st_size == 0) {
        LT_TRY(err = unlink_file(to)); /* a split that the new set lacks */
        LT_TRY(err = unlink_file(from));
    } else {
        LT_TRY(err = lt_rename_sync(from, to));
    }
fail:
    free(from);
    free(to);
    return err;
}

static lt_err move_data(lt_shard_folder *f, const char *name)
{
    return ends_in(name, MANIFEST) ? LT_OK : move_file(f, name);
}

static lt_err move_manifest(lt_shard_folder *f, const char *name)
{
    return ends_in(name, MANIFEST) && strcmp(name, LAST) != 0 ? move_file(f, name) : LT_OK;
}

static lt_err move_last(lt_shard_folder *f, const char *name)
{
    return strcmp(name, LAST) == 0 ? move_file(f, name) : LT_OK;
}

/* Splits of the old set without a manifest in the new one get an empty one, which removes them. */
static lt_err mark_lost_split(lt_shard_folder *f, const char *name)
{
    int n = (int)(strlen(name) - strlen(MANIFEST));
    char *mark, *shard;
    lt_err err = LT_OK;

    if (!ends_in(name, MANIFEST))
        return LT_OK;
    mark = lt_path_join(f->unfinished, name);
    shard = lt_asprintf("%s/%.*s%s", f->dir, n, name, FIRST_SHARD);
    if (!lt_path_exists(mark) && lt_path_exists(shard))
        err = lt_file_write_atomic(mark, "", 0);
    free(mark);
    free(shard);
    return err;
}

static lt_err refuse_data_set(lt_shard_folder *f, const char *name)
{
    if (ends_in(name, MANIFEST) || ends_in(name, FIRST_SHARD))
        return lt_fail(LT_EUSAGE, "%s: holds a data set already (%s); --force replaces it", f->dir,
                       name);
    return LT_OK;
}

/* ---- the protocol ---- */

static lt_err roll_forward(lt_shard_folder *f)
{
    lt_err err = LT_OK;

    if (!lt_is_dir(f->commit))
        return LT_OK;
    LT_TRY(err = for_each(f, f->commit, drop_stale_shards));
    LT_TRY(err = for_each(f, f->commit, move_data));
    LT_TRY(err = for_each(f, f->commit, move_manifest));
    LT_TRY(err = for_each(f, f->commit, move_last));
    if (rmdir(f->commit) != 0)
        return lt_fail(LT_EIO, "%s: cannot remove: %s", f->commit, strerror(errno));
    LT_TRY(err = lt_fsync_dir(f->dir));
fail:
    return err;
}

static lt_err lock_dir(lt_shard_folder *f)
{
    f->lock = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->lock < 0)
        return lt_fail(LT_EIO, "%s: %s", f->dir, strerror(errno));
    /* A file system without locks leaves it to the user to run one at a time. */
    if (flock(f->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return lt_fail(LT_EIO, "%s: another lt-shard is writing there", f->dir);
    return LT_OK;
}

static void free_folder(lt_shard_folder *f)
{
    if (f->lock >= 0)
        close(f->lock);
    free(f->dir);
    free(f->unfinished);
    free(f->commit);
    free(f);
}

lt_err lt_shard_folder_open(lt_shard_folder **out, const char *dir, bool force)
{
    lt_shard_folder *f = lt_new0(sizeof *f);
    lt_err err;

    f->lock = -1;
    f->dir = lt_strdup(dir);
    f->unfinished = lt_path_join(dir, UNFINISHED);
    f->commit = lt_path_join(dir, COMMIT);
    LT_TRY(err = lt_mkdirs(dir));
    LT_TRY(err = lock_dir(f));
    LT_TRY(err = roll_forward(f));
    LT_TRY(err = lt_remove_tree(f->unfinished));
    if (!force)
        LT_TRY(err = for_each(f, dir, refuse_data_set));
    LT_TRY(err = lt_mkdirs(f->unfinished));
    *out = f;
    return LT_OK;
fail:
    free_folder(f);
    return err;
}

const char *lt_shard_folder_unfinished(const lt_shard_folder *f)
{
    return f->unfinished;
}

lt_err lt_shard_folder_commit(lt_shard_folder *f)
{
    lt_err err;

    LT_TRY(err = for_each(f, f->dir, mark_lost_split));
    LT_TRY(err = lt_fsync_dir(f->unfinished));
    LT_TRY(err = lt_rename_sync(f->unfinished, f->commit));
    LT_TRY(err = roll_forward(f));
    free_folder(f);
    return LT_OK;
fail:
    lt_shard_folder_abort(f);
    return err;
}

void lt_shard_folder_abort(lt_shard_folder *f)
{
    lt_err_record first; /* the fault that led here stays the thread's sentence */

    if (!f)
        return;
    lt_err_take(&first);
    if (lt_remove_tree(f->unfinished) == LT_OK || first.code != LT_OK)
        lt_err_give(&first);
    free_folder(f);
}
