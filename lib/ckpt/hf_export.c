/* ckpt/hf_export.c - plans the files, writes them into a folder beside the target, renames it. */
#include "ckpt/hf_export.h"
#include "base/file.h"
#include "base/json.h"
#include "base/temporary.h"
#include "ckpt/hf_export_files.h"
#include "ckpt/hf_export_tensor.h"
#include "ckpt/manifest_check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_NAME_BYTES = 64 };

/* Which tensors, in order of name, go into which file. */
typedef struct export_plan {
    const lt_ckpt_tensor **tensors; /* sorted by name */
    size_t *file_of;
    size_t n_tensors, n_files;
    uint64_t n_elements, data_bytes;
} export_plan;

static void plan_release(export_plan *p)
{
    free(p->tensors);
    free(p->file_of);
}

static lt_err plan_files(export_plan *p, const lt_manifest *m, const lt_hf_export_options *o)
{
    uint64_t in_file = 0;
    lt_err err;

    p->n_tensors = m->n_tensors;
    LT_TRY(err = lt_alloc_array(&p->tensors, p->n_tensors, sizeof *p->tensors, "export"));
    LT_TRY(err = lt_alloc_array(&p->file_of, p->n_tensors, sizeof *p->file_of, "export"));
    for (size_t i = 0; i < p->n_tensors; i++) {
        const lt_ckpt_tensor *t = &m->tensors[m->by_name[i]];
        uint64_t bytes = lt_ckpt_tensor_count(t) * lt_dtype_bytes(o->dtype);

        if (o->max_shard_bytes > 0 && in_file > 0 && in_file + bytes > o->max_shard_bytes) {
            p->n_files++;
            in_file = 0;
        }
        in_file += bytes;
        p->tensors[i] = t;
        p->file_of[i] = p->n_files;
        p->n_elements += lt_ckpt_tensor_count(t);
        p->data_bytes += bytes;
    }
    p->n_files++;
fail:
    return err;
}

static const char *file_name(char dst[FILE_NAME_BYTES], const export_plan *p, size_t file)
{
    if (p->n_files == 1)
        snprintf(dst, FILE_NAME_BYTES, "model.safetensors");
    else
        snprintf(dst, FILE_NAME_BYTES, "model-%05zu-of-%05zu.safetensors", file + 1, p->n_files);
    return dst;
}

/* The tensors [begin, end) of the plan. */
static lt_err write_file(lt_hf_stream *s, const export_plan *p, const char *folder, size_t begin,
                         size_t end)
{
    char name[FILE_NAME_BYTES];
    char *path = lt_path_join(folder, file_name(name, p, p->file_of[begin]));
    lt_safetensors_writer *w = NULL;
    lt_err err;

    LT_TRY(err = lt_safetensors_writer_open(&w, path));
    lt_safetensors_writer_metadata(w, "format", "pt");
    for (size_t i = begin; i < end; i++) {
        uint64_t dims[2];

        lt_hf_stored_shape(p->tensors[i], dims);
        (void)lt_safetensors_writer_declare(w, p->tensors[i]->name, s->dtype, p->tensors[i]->n_dims,
                                            dims);
    }
    LT_TRY(err = lt_safetensors_writer_begin(w));
    for (size_t i = begin; i < end; i++)
        LT_TRY(err = lt_hf_stream_tensor(s, w, p->tensors[i]));
    err = lt_safetensors_writer_commit(w, NULL);
    w = NULL;
fail:
    lt_safetensors_writer_abort(w);
    free(path);
    return err;
}

static lt_err write_index(const export_plan *p, const char *folder)
{
    char *path = lt_path_join(folder, "model.safetensors.index.json");
    char name[FILE_NAME_BYTES];
    lt_buf b = { 0 };
    lt_err err;

    lt_buf_printf(&b,
                  "{\n  \"metadata\": {\n    \"total_parameters\": %" PRIu64
                  ",\n    \"total_size\": %" PRIu64 "\n  },\n  \"weight_map\": {\n",
                  p->n_elements, p->data_bytes);
    for (size_t i = 0; i < p->n_tensors; i++) {
        lt_buf_printf(&b, "    ");
        lt_json_quote(&b, p->tensors[i]->name, strlen(p->tensors[i]->name));
        lt_buf_printf(&b, ": \"%s\"%s\n", file_name(name, p, p->file_of[i]),
                      i + 1 < p->n_tensors ? "," : "");
    }
    lt_buf_printf(&b, "  }\n}\n");
    err = lt_file_write_atomic(path, b.data, b.size);
    lt_buf_release(&b);
    free(path);
    return err;
}

static lt_err write_weights(lt_ckpt *c, const export_plan *p, const char *folder,
                            const lt_hf_export_options *o, lt_ckpt_watch *watch)
{
    lt_hf_stream s = { .ckpt = c,
                       .dtype = o->dtype,
                       .allow_nonfinite = o->allow_nonfinite,
                       .total = p->data_bytes,
                       .watch = watch };
    lt_err err;

    s.tile = lt_new0(LT_HF_EXPORT_BUFFER);
    s.stage = lt_new0(LT_HF_EXPORT_BUFFER);
    for (size_t begin = 0, end; begin < p->n_tensors; begin = end) {
        for (end = begin; end < p->n_tensors && p->file_of[end] == p->file_of[begin];)
            end++;
        LT_TRY(err = write_file(&s, p, folder, begin, end));
    }
    err = p->n_files > 1 ? write_index(p, folder) : LT_OK;
fail:
    free(s.tile);
    free(s.stage);
    return err;
}

/* What stands at the target: nothing (or an empty folder), or a model folder that may be replaced.
 * A folder with a MANIFEST is a checkpoint, one with folders inside is somebody's home. */
static lt_err look_at_target(const char *folder, bool force, bool *replaces)
{
    bool config = false, foreign = false, empty = true;
    const struct dirent *e;
    struct stat st;
    DIR *d;

    *replaces = false;
    if (lstat(folder, &st) != 0)
        return errno == ENOENT ? LT_OK : lt_fail(LT_EIO, "%s: %s", folder, strerror(errno));
    d = S_ISDIR(st.st_mode) ? opendir(folder) : NULL;
    if (!d)
        return lt_fail(LT_EIO, "%s: exists and is not a folder that can be read", folder);
    while ((e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        empty = false;
        config |= strcmp(e->d_name, "config.json") == 0;
        foreign |= strcmp(e->d_name, LT_MANIFEST_NAME) == 0 ||
                   fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
                   S_ISDIR(st.st_mode);
    }
    closedir(d);
    if (empty)
        return LT_OK;
    if (!force)
        return lt_fail(LT_EIO, "%s: exists; --force replaces it", folder);
    if (!config || foreign)
        return lt_fail(LT_EIO, "%s: not replaced, since it does not look like an exported model",
                       folder);
    *replaces = true;
    return LT_OK;
}

/* May a folder of ours have come to look like this? */
static bool is_model_folder(const char *folder)
{
    bool replaces;

    return look_at_target(folder, true, &replaces) == LT_OK;
}

static char *parent_of(const char *path) /* free() it */
{
    const char *slash = strrchr(path, '/');

    return slash ? lt_asprintf("%.*s", slash == path ? 1 : (int)(slash - path), path)
                 : lt_strdup(".");
}

static lt_err fsync_parent(const char *path)
{
    char *dir = parent_of(path);
    lt_err err = lt_fsync_dir(dir);

    free(dir);
    return err;
}

/* A step that is retired goes with all that is in it. */
static lt_err refuse_inside_step(const char *folder)
{
    char *dir = parent_of(folder), *manifest = lt_path_join(dir, LT_MANIFEST_NAME);
    lt_err err = LT_OK;

    if (lt_path_exists(manifest))
        err = lt_fail(LT_EIO, "%s: %s is a checkpoint, which lt-train may remove with all in it",
                      folder, dir);
    free(manifest);
    free(dir);
    return err;
}

/* Gives the finished folder its name; an old one changes places with it and is removed. */
static lt_err publish(const char *tmp, const char *folder, bool force)
{
    bool replaces;
    lt_err err;

    LT_TRY(err = lt_fsync_dir(tmp));
    LT_TRY(err = look_at_target(folder, force, &replaces));
    if (!replaces)
        return lt_rename_sync(tmp, folder);
    if (renameat2(AT_FDCWD, tmp, AT_FDCWD, folder, RENAME_EXCHANGE) != 0)
        return lt_fail(LT_EIO, "%s: cannot be replaced in one step, remove it first: %s", folder,
                       strerror(errno));
    LT_TRY(err = fsync_parent(folder));
    LT_TRY(err = lt_remove_tree(tmp));
fail:
    return err;
}

/* The folder beside the target; *held keeps its lock. */
static lt_err make_temporary(const char *target, char **tmp, int *held)
{
    lt_err err;

    lt_temporary_sweep(target, is_model_folder);
    *tmp = lt_temporary_name(target);
    LT_TRY(err = lt_remove_tree(*tmp)); /* of a killed process that had our number */
    if (mkdir(*tmp, 0777) != 0)
        return lt_fail(LT_EIO, "%s: cannot make the directory: %s", *tmp, strerror(errno));
    *held = open(*tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*held < 0)
        return lt_fail(LT_EIO, "%s: %s", *tmp, strerror(errno));
    lt_temporary_hold(*held);
fail:
    return err;
}

static void discard(const char *tmp)
{
    lt_err_record why;

    lt_err_take(&why);
    (void)!lt_remove_tree(tmp);
    (void)lt_err_give(&why);
}

lt_err lt_hf_export(lt_ckpt *c, const char *folder, const lt_hf_export_options *o,
                    lt_ckpt_watch *watch, lt_hf_export_report *report)
{
    char *target = lt_strdup(folder), *tmp = NULL;
    export_plan plan = { 0 };
    int held = -1;
    bool replaces;
    lt_err err;

    LT_BUG_ON(!lt_ckpt_dtype_ok(o->dtype));
    for (size_t n = strlen(target); n > 1 && target[n - 1] == '/'; n--)
        target[n - 1] = '\0';
    LT_TRY(err = refuse_inside_step(target));
    LT_TRY(err = look_at_target(target, o->force, &replaces));
    LT_TRY(err = plan_files(&plan, lt_ckpt_manifest(c), o));
    LT_TRY(err = make_temporary(target, &tmp, &held));
    LT_TRY(err = lt_hf_export_files(c, tmp, o->dtype));
    LT_TRY(err = write_weights(c, &plan, tmp, o, watch));
    LT_TRY(err = publish(tmp, target, o->force));
    if (report)
        *report = (lt_hf_export_report){ .n_tensors = plan.n_tensors,
                                         .n_files = plan.n_files,
                                         .n_elements = plan.n_elements,
                                         .data_bytes = plan.data_bytes };
fail:
    if (err != LT_OK && tmp)
        discard(tmp);
    if (held >= 0)
        close(held);
    plan_release(&plan);
    free(tmp);
    free(target);
    return err;
}
