/* ckpt/checkpoint_save.c - the commit protocol (FORMAT.md section 4).
 *
 * Order is everything here: data synced, then the MANIFEST synced, then the rename, then the sync
 * of the directory that holds the name.  Nothing is retried after a failed sync: the kernel may
 * have dropped the pages. */
#include "ckpt/checkpoint_save.h"
#include "base/file.h"
#include "base/log.h"
#include "ckpt/checkpoint_blocks.h"
#include "ckpt/manifest_check.h"
#include "ckpt/safetensors_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 4 << 20 }; /* bytes of a slice that are pulled and written at once */

static const char TMP_MARK[] = ".tmp.";

lt_ckpt_tensor lt_ckpt_tensor_of(const lt_param *p, lt_dtype dtype)
{
    lt_ckpt_tensor t = { .name = p->name,
                         .dtype = dtype,
                         .n_dims = p->n_dims,
                         .dims = { (uint64_t)p->rows, (uint64_t)p->cols },
                         .layout = p->layout,
                         .trainable = p->trainable };

    if (p->n_dims == 1)
        t.dims[0] = (uint64_t)p->cols;
    return t;
}

lt_err lt_ckpt_begin(const char *dir, uint64_t step, char **tmp)
{
    uint64_t attempt;
    char *path = NULL;
    lt_err err;

    LT_TRY(err = lt_mkdirs(dir));
    if (getrandom(&attempt, sizeof attempt, 0) != (ssize_t)sizeof attempt)
        return lt_fail(LT_EIO, "%s: getrandom: %s", dir, strerror(errno));
    path = lt_asprintf("%s/step-%08" PRIu64 "%s%016" PRIx64, dir, step, TMP_MARK, attempt);
    if (mkdir(path, 0777) != 0) {
        err = lt_fail(LT_EIO, "%s: cannot make the directory: %s", path, strerror(errno));
        goto fail;
    }
    err = lt_fsync_dir(dir);
    if (err != LT_OK) {
        lt_ckpt_discard(path);
        goto fail;
    }
    *tmp = path;
    return LT_OK;
fail:
    free(path);
    return err;
}

/* The 16 hex digits at the end of the path that lt_ckpt_begin made. */
static const char *attempt_of(const char *tmp)
{
    size_t n = strlen(tmp);

    LT_BUG_ON(n < LT_CKPT_ATTEMPT_BYTES);
    return tmp + n - (LT_CKPT_ATTEMPT_BYTES - 1);
}

/* Is "step-N" of the folder's name the step of the request? */
static lt_err check_step(const char *tmp, const lt_ckpt_save_request *rq)
{
    char name[64];
    int n = snprintf(name, sizeof name, "step-%08" PRIu64 "%s", rq->step.step, TMP_MARK);

    if (strncmp(lt_path_base(tmp), name, (size_t)n) != 0)
        return lt_fail(LT_EMISMATCH, "%s: rank %" PRIu32 " is at step %" PRIu64, tmp, rq->rank,
                       rq->step.step);
    return LT_OK;
}

/* The first line of a part: whose it is. */
static void add_part_head(lt_buf *b, const char *tmp, const lt_ckpt_save_request *rq, uint32_t rank)
{
    lt_buf_printf(b, "rank %" PRIu32 " of %" PRIu32 ", step %" PRIu64 ", attempt %s\n", rank,
                  rq->world, rq->step.step, attempt_of(tmp));
}

/* Index of a tensor.  Slices usually come in the order of the tensors, so the search starts behind
 * the last one found. */
static lt_err find_tensor(const lt_ckpt_save_request *rq, const char *name, uint32_t *hint)
{
    for (size_t i = 0; i < rq->n_tensors; i++) {
        size_t k = (*hint + 1 + i) % rq->n_tensors;

        if (strcmp(rq->tensors[k].name, name) == 0) {
            *hint = (uint32_t)k;
            return LT_OK;
        }
    }
    return lt_fail(LT_EMISMATCH, "checkpoint: slice of %s, which is no tensor of the model", name);
}

/* Declares the slices of one group; *f gets a row for each. */
static lt_err declare_slices(lt_safetensors_writer *w, const lt_ckpt_save_request *rq,
                             lt_manifest_file *f, lt_buf *firsts)
{
    uint32_t tensor = (uint32_t)rq->n_tensors - 1;
    lt_err err;

    for (size_t i = 0; i < rq->n_slices; i++) {
        const lt_ckpt_slice *s = &rq->slices[i];
        lt_manifest_slice *row;

        if (strcmp(s->group, f->group) != 0)
            continue;
        LT_BUG_ON(!lt_ckpt_dtype_ok(s->dtype));
        LT_TRY(err = find_tensor(rq, s->name, &tensor));
        lt_array_reserve(&f->slices, &f->slice_capacity, f->n_slices + 1, sizeof *f->slices);
        row = &f->slices[f->n_slices++];
        *row = (lt_manifest_slice){
            .tensor = tensor, .dtype = s->dtype, .first = s->first, .count = s->count
        };
        row->offset = lt_safetensors_writer_declare(w, s->name, s->dtype, 1, &s->count);
        lt_buf_printf(firsts, "%s%" PRIu64, firsts->size ? " " : "", s->first);
    }
    return LT_OK;
fail:
    return err;
}

/* What makes a slice file readable, and recognisable, without the MANIFEST. */
static void add_metadata(lt_safetensors_writer *w, const lt_ckpt_save_request *rq,
                         const char *attempt, const lt_manifest_file *f, const char *firsts)
{
    char number[24];

    lt_safetensors_writer_metadata(w, "format", "lt-checkpoint-slices");
    lt_safetensors_writer_metadata(w, "attempt", attempt);
    lt_safetensors_writer_metadata(w, "run_id", rq->step.run_id);
    snprintf(number, sizeof number, "%" PRIu64, rq->step.step);
    lt_safetensors_writer_metadata(w, "step", number);
    lt_safetensors_writer_metadata(w, "group", f->group);
    snprintf(number, sizeof number, "%" PRIu32, f->rank);
    lt_safetensors_writer_metadata(w, "rank", number);
    lt_safetensors_writer_metadata(w, "first", firsts);
}

/* `block`: memory of BLOCK bytes, for a slice that is pulled from the source. */
static lt_err write_slice(lt_safetensors_writer *w, const lt_ckpt_slice *s,
                          const lt_ckpt_save_request *rq, void *block, const char *path)
{
    size_t each = lt_dtype_bytes(s->dtype);
    lt_err err = LT_OK;

    LT_BUG_ON(!s->data && !rq->source);
    for (uint64_t at = 0, n; at < s->count; at += n) {
        const void *from = s->data ? (const char *)s->data + at * each : block;

        n = s->count - at < BLOCK / each ? s->count - at : BLOCK / each;
        if (!s->data)
            LT_TRY(err = rq->source->read(rq->source, s, at, n, block));
        LT_TRY(err = lt_safetensors_writer_write(w, from, n * each));
        if (rq->give_up && atomic_load(rq->give_up))
            return lt_fail(LT_EIO, "%s: given up", path);
    }
fail:
    return err;
}

/* The file of one group; its entry is appended to *part. */
static lt_err write_group(const char *tmp, const lt_ckpt_save_request *rq, const char *group,
                          lt_buf *part)
{
    char *name = lt_asprintf("%s-%05" PRIu32 ".safetensors", group, rq->rank);
    char *group_name = lt_strdup(group), *path = lt_path_join(tmp, name);
    lt_manifest_file f = { .name = name, .group = group_name, .rank = rq->rank };
    void *block = rq->source ? lt_new0(BLOCK) : NULL;
    lt_safetensors_writer *w = NULL;
    lt_block_crc crc = { 0 };
    lt_buf firsts = { 0 };
    uint64_t header;
    lt_err err;

    LT_TRY(err = lt_safetensors_writer_open(&w, path));
    LT_TRY(err = declare_slices(w, rq, &f, &firsts));
    add_metadata(w, rq, attempt_of(tmp), &f, lt_buf_cstr(&firsts));
    LT_TRY(err = lt_safetensors_writer_begin(w));
    header = lt_safetensors_writer_header(w);
    for (size_t i = 0; i < f.n_slices; i++)
        f.slices[i].offset += header;
    for (size_t i = 0; i < rq->n_slices; i++) {
        const lt_ckpt_slice *s = &rq->slices[i];

        if (strcmp(s->group, group) == 0)
            LT_TRY(err = write_slice(w, s, rq, block, path));
    }
    err = lt_safetensors_writer_commit(w, &crc);
    w = NULL;
    LT_TRY(err);
    f.size = crc.size;
    f.crc = crc.crc;
    f.n_blocks = crc.n;
    lt_manifest_add_file(part, &f);
fail:
    lt_safetensors_writer_abort(w);
    lt_block_crc_release(&crc);
    lt_buf_release(&firsts);
    free(block);
    free(f.slices);
    free(path);
    free(group_name);
    free(name);
    return err;
}

static lt_err write_blob(const char *tmp, const lt_ckpt_blob *blob, lt_buf *part)
{
    size_t n = strlen(blob->name), suffix = strlen(".safetensors");
    lt_manifest_file f = { .size = blob->size };
    lt_block_crc crc = { 0 };
    char *path;
    lt_err err;

    LT_BUG_ON(!lt_ckpt_file_name_ok(blob->name));
    LT_BUG_ON(n >= suffix && strcmp(blob->name + n - suffix, ".safetensors") == 0);
    path = lt_path_join(tmp, blob->name);
    LT_TRY(err = lt_file_write_atomic(path, blob->data, blob->size));
    lt_block_crc_update(&crc, blob->data, blob->size);
    f.name = lt_strdup(blob->name);
    f.crc = crc.crc;
    f.n_blocks = crc.n;
    lt_manifest_add_file(part, &f);
    free(f.name);
fail:
    lt_block_crc_release(&crc);
    free(path);
    return err;
}

lt_err lt_ckpt_write(const char *tmp, const lt_ckpt_save_request *rq, lt_buf *part)
{
    lt_buf files = { 0 };
    lt_err err;

    LT_TRY(err = check_step(tmp, rq));
    for (size_t i = 0; rq->rank == 0 && i < rq->n_blobs; i++)
        LT_TRY(err = write_blob(tmp, &rq->blobs[i], &files));
    for (size_t i = 0; i < rq->n_slices; i++) {
        size_t first = 0;

        while (strcmp(rq->slices[first].group, rq->slices[i].group) != 0)
            first++;
        LT_BUG_ON(!lt_ckpt_group_name_ok(rq->slices[i].group));
        if (first == i) /* the first slice of its group writes it */
            LT_TRY(err = write_group(tmp, rq, rq->slices[i].group, &files));
    }
    lt_buf_clear(part);
    add_part_head(part, tmp, rq, rq->rank);
    lt_buf_append(part, files.data, files.size);
fail:
    lt_buf_release(&files);
    return err;
}

/* The rename was refused with `fault`. */
static lt_err judge_rename(int fault, const char *tmp, const char *final, bool replaces)
{
    if (replaces && (fault == EINVAL || fault == ENOSYS))
        return lt_fail(LT_ENOTSUP,
                       "%s: exists, and this file system cannot replace it in one step; remove it "
                       "first",
                       final);
    /* NFS repeats a call whose answer was lost and then finds nothing to rename.  Only we know the
     * name of this attempt: what is gone from there is where we wanted it. */
    if (!replaces && fault == ENOENT && !lt_path_exists(tmp) && lt_path_exists(final))
        return LT_OK;
    return lt_fail(LT_EIO, "%s: cannot rename to %s: %s", tmp, final, strerror(fault));
}

/* Gives the finished folder its name.  A folder that has it already changes places with ours in one
 * step, so there is no moment without a complete checkpoint. */
static lt_err publish(const char *tmp, bool *published)
{
    char *final = lt_strdup(tmp), *dir = NULL, *slash;
    bool replaces;
    lt_err err;

    final[strlen(tmp) - (LT_CKPT_ATTEMPT_BYTES - 1) - strlen(TMP_MARK)] = '\0';
    replaces = lt_path_exists(final);
    if (renameat2(AT_FDCWD, tmp, AT_FDCWD, final, replaces ? RENAME_EXCHANGE : 0) != 0)
        LT_TRY(err = judge_rename(errno, tmp, final, replaces));
    *published = true;
    dir = lt_strdup(final);
    slash = strrchr(dir, '/');
    LT_BUG_ON(!slash);
    *slash = '\0';
    err = lt_fsync_dir(dir);
    if (err != LT_OK) {
        err = lt_fail_in("%s is complete, but may not survive a power cut", final);
        goto fail;
    }
    if (replaces)
        lt_ckpt_discard(tmp);
fail:
    free(dir);
    free(final);
    return err;
}

/* One part of each rank of this attempt, in order; bodies[r] is the text behind the head. */
static lt_err check_parts(const char *tmp, const lt_ckpt_save_request *rq, const char *const *parts,
                          size_t n_parts, const char **bodies)
{
    lt_buf head = { 0 };
    lt_err err = LT_OK;

    if (n_parts != rq->world)
        return lt_fail(LT_EMISMATCH, "%s: %zu parts of %" PRIu32 " ranks", tmp, n_parts, rq->world);
    for (size_t i = 0; i < n_parts && err == LT_OK; i++) {
        lt_buf_clear(&head);
        add_part_head(&head, tmp, rq, (uint32_t)i);
        if (strncmp(parts[i], head.data, head.size) != 0)
            err = lt_fail(LT_EMISMATCH, "%s: part %zu: expected \"%.*s\", found \"%.*s\"", tmp, i,
                          (int)head.size - 1, head.data, (int)strcspn(parts[i], "\n"), parts[i]);
        else
            bodies[i] = parts[i] + head.size;
    }
    lt_buf_release(&head);
    return err;
}

/* Rank 0 sees every file in its size.  Ranks on hosts that do not share the folder end here, not at
 * the restart. */
static lt_err check_files(const char *tmp, const lt_manifest *m)
{
    lt_ckpt_blocks *b = NULL;

    if (lt_ckpt_blocks_open(&b, tmp, m) != LT_OK)
        return lt_fail(LT_EIO, "%s; do all ranks write to the same file system?", lt_err_text());
    lt_ckpt_blocks_close(b);
    return LT_OK;
}

lt_err lt_ckpt_commit(const char *tmp, const lt_ckpt_save_request *rq, const char *const *parts,
                      size_t n_parts, bool *published)
{
    lt_manifest_head head = { .step = &rq->step,
                              .attempt = attempt_of(tmp),
                              .world = rq->world,
                              .tensors = rq->tensors,
                              .n_tensors = rq->n_tensors };
    const char **bodies = lt_new_array0(n_parts, sizeof *bodies);
    char *path = lt_path_join(tmp, LT_MANIFEST_NAME);
    lt_manifest *check = NULL;
    lt_buf text = { 0 };
    lt_err err;

    *published = false;
    LT_TRY(err = check_step(tmp, rq));
    LT_TRY(err = check_parts(tmp, rq, parts, n_parts, bodies));
    lt_manifest_write(&text, &head, bodies, n_parts);
    /* The reader's own judgement, before anyone relies on it: holes and overlaps end here. */
    LT_TRY(err = lt_manifest_parse(&check, text.data, text.size, path));
    LT_TRY(err = check_files(tmp, check));
    LT_TRY(err = lt_file_write_atomic(path, text.data, text.size));
    LT_TRY(err = publish(tmp, published));
fail:
    lt_manifest_free(check);
    lt_buf_release(&text);
    free(bodies);
    free(path);
    return err;
}

void lt_ckpt_discard(const char *tmp)
{
    lt_err_record why;

    lt_err_take(&why);
    if (lt_remove_tree(tmp) != LT_OK)
        lt_log_warn("%s; remove %s by hand or let the next start do it", lt_err_text(), tmp);
    (void)lt_err_give(&why);
}
