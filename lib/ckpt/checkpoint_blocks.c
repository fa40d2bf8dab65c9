/* ckpt/checkpoint_blocks.c - reads by block, sums each block once, names what a bad block holds. */
#include "ckpt/checkpoint_blocks.h"
#include "base/file.h"
#include "base/hash.h"
#include "ckpt/block_crc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { OPEN_FILES = 32 };

struct lt_ckpt_blocks {
    const char *folder;
    const lt_manifest *m;
    uint64_t *first_bit; /* of each file, in `verified` */
    uint8_t *verified;
    struct {
        lt_file file; /* path NULL: free */
        size_t index;
    } open[OPEN_FILES];
    unsigned turn;     /* which of open[] is closed next */
    char *block;       /* LT_CKPT_BLOCK bytes: block `block_at` of file `block_file` */
    size_t block_file; /* SIZE_MAX: none */
    uint64_t block_at;
};

static lt_err check_size(const char *folder, const lt_manifest_file *f)
{
    char *path = lt_path_join(folder, f->name);
    struct stat st;
    lt_err err = LT_OK;

    if (stat(path, &st) != 0)
        err = lt_fail(errno == ENOENT ? LT_EFORMAT : LT_EIO, "%s: %s", path,
                      errno == ENOENT ? "missing from the checkpoint" : strerror(errno));
    else if (!S_ISREG(st.st_mode))
        err = lt_fail(LT_EFORMAT, "%s: expected a regular file", path);
    else if ((uint64_t)st.st_size != f->size)
        err = lt_fail(LT_EFORMAT, "%s: %s: %lld bytes, the MANIFEST says %" PRIu64, path,
                      (uint64_t)st.st_size < f->size ? "truncated" : "too long",
                      (long long)st.st_size, f->size);
    free(path);
    return err;
}

lt_err lt_ckpt_blocks_open(lt_ckpt_blocks **out, const char *folder, const lt_manifest *m)
{
    lt_ckpt_blocks *b = lt_new0(sizeof *b);
    uint64_t n = 0;
    lt_err err;

    b->folder = folder;
    b->m = m;
    b->block_file = SIZE_MAX;
    LT_TRY(err = lt_alloc_array(&b->first_bit, m->n_files, sizeof *b->first_bit, folder));
    for (size_t i = 0; i < m->n_files; i++) {
        LT_TRY(err = check_size(folder, &m->files[i]));
        b->first_bit[i] = n;
        n += m->files[i].n_blocks;
    }
    LT_TRY(err = lt_alloc_array(&b->verified, n / 8 + 1, 1, folder));
    b->block = lt_new0(LT_CKPT_BLOCK);
    *out = b;
    return LT_OK;
fail:
    lt_ckpt_blocks_close(b);
    return err;
}

void lt_ckpt_blocks_close(lt_ckpt_blocks *b)
{
    if (!b)
        return;
    for (int i = 0; i < OPEN_FILES; i++)
        lt_file_close(&b->open[i].file);
    free(b->first_bit);
    free(b->verified);
    free(b->block);
    free(b);
}

static lt_err get_file(lt_ckpt_blocks *b, size_t index, const lt_file **out)
{
    const lt_manifest_file *f = &b->m->files[index];
    lt_file file = { 0 };
    char *path;
    lt_err err;

    for (int i = 0; i < OPEN_FILES; i++)
        if (b->open[i].file.path && b->open[i].index == index) {
            *out = &b->open[i].file;
            return LT_OK;
        }
    path = lt_path_join(b->folder, f->name);
    err = lt_file_open_read(&file, path);
    free(path);
    LT_TRY(err);
    if (file.size != f->size) {
        err = lt_fail(LT_EFORMAT, "%s: %" PRIu64 " bytes, the MANIFEST says %" PRIu64, file.path,
                      file.size, f->size);
        goto fail;
    }
    b->turn = (b->turn + 1) % OPEN_FILES;
    lt_file_close(&b->open[b->turn].file);
    b->open[b->turn].file = file;
    b->open[b->turn].index = index;
    *out = &b->open[b->turn].file;
    return LT_OK;
fail:
    lt_file_close(&file);
    return err;
}

static size_t block_size(const lt_manifest_file *f, uint64_t block)
{
    uint64_t left = f->size - block * LT_CKPT_BLOCK;

    return left < LT_CKPT_BLOCK ? (size_t)left : LT_CKPT_BLOCK;
}

/* ", in tensor A and 3 more" for the bytes [begin, end) of f. */
static void describe(lt_buf *text, const lt_manifest *m, const lt_manifest_file *f, uint64_t begin,
                     uint64_t end)
{
    const char *first = NULL;
    size_t n = 0;

    for (size_t i = 0; i < f->n_slices; i++) {
        const lt_manifest_slice *s = &f->slices[i];
        uint64_t s_end = s->offset + s->count * lt_dtype_bytes(s->dtype);

        if (s->offset >= end || s_end <= begin)
            continue;
        if (n++ == 0)
            first = m->tensors[s->tensor].name;
    }
    if (f->group && begin == 0)
        lt_buf_printf(text, ", holding the header");
    if (first)
        lt_buf_printf(text, "%s tensor %s", begin == 0 ? " and" : ", holding", first);
    if (n > 1)
        lt_buf_printf(text, " and %zu more", n - 1);
}

/* "; bit 3 of byte 9000 flipped, in tensor A, would explain it": n bytes at `begin` of f. */
static void explain(lt_buf *text, const lt_manifest *m, const lt_manifest_file *f, uint64_t begin,
                    size_t n, uint32_t expected, uint32_t found)
{
    int64_t bit = lt_block_crc_flipped_bit(expected, found, n);
    uint64_t at = begin + (uint64_t)bit / 8;
    const char *tensor = NULL;

    if (bit < 0)
        return;
    for (size_t i = 0; i < f->n_slices && !tensor; i++) {
        const lt_manifest_slice *s = &f->slices[i];

        if (at >= s->offset && at - s->offset < s->count * lt_dtype_bytes(s->dtype))
            tensor = m->tensors[s->tensor].name;
    }
    lt_buf_printf(text, "; bit %d of byte %" PRIu64 " flipped", (int)(bit % 8), at);
    if (f->group)
        lt_buf_printf(text, ", in %s%s,", tensor ? "tensor " : "the header", tensor ? tensor : "");
    lt_buf_printf(text, " would explain it");
}

/* Compares the sum of a whole block in memory. */
static lt_err check_block(lt_ckpt_blocks *b, size_t file, uint64_t block, const void *data)
{
    const lt_manifest_file *f = &b->m->files[file];
    uint64_t begin = block * LT_CKPT_BLOCK, bit = b->first_bit[file] + block;
    size_t n = block_size(f, block);
    uint32_t found = lt_crc32c(0, data, n);
    lt_buf holding = { 0 }, why = { 0 };
    lt_err err;

    if (found == f->crc[block]) {
        b->verified[bit / 8] |= (uint8_t)(1u << bit % 8);
        return LT_OK;
    }
    describe(&holding, b->m, f, begin, begin + n);
    explain(&why, b->m, f, begin, n, f->crc[block], found);
    err = lt_fail(LT_EFORMAT,
                  "%s/%s: damaged in block %" PRIu64 " (bytes %" PRIu64 " to %" PRIu64
                  "%s): crc32c %08" PRIx32 ", expected %08" PRIx32 "%s",
                  b->folder, f->name, block, begin, begin + n - 1, lt_buf_cstr(&holding), found,
                  f->crc[block], lt_buf_cstr(&why));
    lt_buf_release(&holding);
    lt_buf_release(&why);
    return err;
}

/* Fills b->block. */
static lt_err load_block(lt_ckpt_blocks *b, size_t file, uint64_t block)
{
    const lt_file *f;
    lt_err err;

    b->block_file = SIZE_MAX;
    LT_TRY(err = get_file(b, file, &f));
    LT_TRY(err = lt_file_pread(f, block * LT_CKPT_BLOCK, b->block,
                               block_size(&b->m->files[file], block)));
    LT_TRY(err = check_block(b, file, block, b->block));
    b->block_file = file;
    b->block_at = block;
fail:
    return err;
}

lt_err lt_ckpt_blocks_verify(lt_ckpt_blocks *b, size_t file, uint64_t block)
{
    return load_block(b, file, block);
}

/* n bytes inside one block. */
static lt_err read_part(lt_ckpt_blocks *b, size_t file, uint64_t offset, void *dst, size_t n)
{
    uint64_t block = offset / LT_CKPT_BLOCK, bit = b->first_bit[file] + block;
    bool verified = b->verified[bit / 8] & 1u << bit % 8;
    bool whole = n == block_size(&b->m->files[file], block);
    const lt_file *f;
    lt_err err;

    if (b->block_file == file && b->block_at == block) {
        memcpy(dst, b->block + offset % LT_CKPT_BLOCK, n);
        return LT_OK;
    }
    if (verified || whole) { /* straight into the caller's memory */
        LT_TRY(err = get_file(b, file, &f));
        LT_TRY(err = lt_file_pread(f, offset, dst, n));
        return verified ? LT_OK : check_block(b, file, block, dst);
    }
    LT_TRY(err = load_block(b, file, block));
    memcpy(dst, b->block + offset % LT_CKPT_BLOCK, n);
fail:
    return err;
}

lt_err lt_ckpt_blocks_read(lt_ckpt_blocks *b, size_t file, uint64_t offset, void *dst, size_t n)
{
    char *to = dst;
    lt_err err = LT_OK;

    LT_BUG_ON(offset > b->m->files[file].size || n > b->m->files[file].size - offset);
    while (n > 0 && err == LT_OK) {
        size_t left = LT_CKPT_BLOCK - (size_t)(offset % LT_CKPT_BLOCK);
        size_t k = n < left ? n : left;

        err = read_part(b, file, offset, to, k);
        to += k;
        offset += k;
        n -= k;
    }
    return err;
}
