/* shard/shard_open.c - opening a shard: from the end of the file to a checked index. */
#include "shard/shard_reader_parts.h"

#include <errno.h>
#include <sys/mman.h>

static lt_err fail_short(const lt_shard_reader *r)
{
    return lt_fail(LT_EFORMAT,
                   "%s: truncated or not a shard: no zstd seek table at the end of its %llu bytes "
                   "(lt-shard repair rebuilds what is there)",
                   r->path, (unsigned long long)r->file.size);
}

/* Finds FOOT from the end of the file. */
static lt_err read_foot(lt_shard_reader *r)
{
    uint64_t size = r->file.size, seek_bytes;
    uint8_t tail[LT_SHARD_SEEK_TAIL], skip[LT_SHARD_SKIP_BYTES], foot[LT_SHARD_FOOT_BYTES];
    uint32_t n;
    lt_err err;

    if (size < LT_SHARD_HEAD_FIXED + LT_SHARD_FOOT_BYTES + LT_SHARD_SEEK_TAIL)
        return fail_short(r);
    LT_TRY(err = lt_file_pread(&r->file, size - sizeof tail, tail, sizeof tail));
    if (lt_get_u32(tail + 5) != LT_SHARD_SEEK_END || tail[4] != 0x80)
        return fail_short(r);
    n = lt_get_u32(tail);
    seek_bytes = LT_SHARD_SKIP_BYTES + (uint64_t)n * LT_SHARD_SEEK_ROW + LT_SHARD_SEEK_TAIL;
    if (seek_bytes > size - LT_SHARD_HEAD_FIXED - LT_SHARD_FOOT_BYTES)
        return lt_fail(LT_EFORMAT,
                       "%s: its seek table counts %u frames, more than its %llu bytes hold",
                       r->path, n, (unsigned long long)size);
    LT_TRY(err = lt_file_pread(&r->file, size - seek_bytes, skip, sizeof skip));
    if (lt_get_u32(skip) != LT_SHARD_MAGIC_SEEK ||
        lt_get_u32(skip + 4) != seek_bytes - LT_SHARD_SKIP_BYTES)
        return lt_fail(LT_EFORMAT, "%s: no seek table header at byte %llu", r->path,
                       (unsigned long long)(size - seek_bytes));
    LT_TRY(err = lt_file_pread(&r->file, size - seek_bytes - sizeof foot, foot, sizeof foot));
    LT_TRY(err = lt_shard_foot_decode(&r->info.foot, foot, r->path));
    if (r->info.foot.n_frames + 4 != n)
        return lt_fail(LT_EFORMAT,
                       "%s: %llu frames in the footer, %u entries in the seek table, "
                       "expected 4 more",
                       r->path, (unsigned long long)r->info.foot.n_frames, n);
    return LT_OK;
fail:
    return err;
}

static lt_err read_head(lt_shard_reader *r)
{
    uint8_t head[LT_SHARD_HEAD_FIXED];
    lt_shard_info *s = &r->info;
    lt_err err;

    LT_TRY(err = lt_file_pread(&r->file, 0, head, sizeof head));
    LT_TRY(err = lt_shard_head_decode(&s->head, head, r->path));
    s->head_bytes = LT_SHARD_SKIP_BYTES + (uint64_t)lt_get_u32(head + 4);
    if (s->head_bytes < LT_SHARD_HEAD_FIXED || s->head_bytes > LT_SHARD_HEAD_MAX ||
        s->head_bytes > s->foot.docs_offset)
        return lt_fail(LT_EFORMAT, "%s: a header of %llu bytes, expected %d..%d", r->path,
                       (unsigned long long)s->head_bytes, LT_SHARD_HEAD_FIXED, LT_SHARD_HEAD_MAX);
    return LT_OK;
fail:
    return err;
}

/* DOCS and FIDX lie where the counts say they must:
 * HEAD frames DOCS FIDX FOOT SEEK without gaps. */
static lt_err check_layout(const lt_shard_reader *r)
{
    const lt_shard_foot *f = &r->info.foot;
    uint64_t frame = UINT64_C(1) << r->info.head.frame_log2, docs_end, fidx_end, foot_at;

    foot_at = r->file.size - LT_SHARD_FOOT_BYTES - LT_SHARD_SKIP_BYTES - LT_SHARD_SEEK_TAIL -
              (f->n_frames + 4) * LT_SHARD_SEEK_ROW;
    if (f->n_tokens > LT_SHARD_MAX_TOKENS || f->n_docs > f->n_tokens ||
        f->n_docs > LT_SHARD_MAX_DOCS || f->n_frames != (f->n_tokens + frame - 1) / frame)
        return lt_fail(LT_EFORMAT,
                       "%s: %llu tokens, %llu documents and %llu frames are not possible", r->path,
                       (unsigned long long)f->n_tokens, (unsigned long long)f->n_docs,
                       (unsigned long long)f->n_frames);
    if (f->docs_offset > r->file.size || f->fidx_offset > r->file.size)
        return lt_fail(LT_EFORMAT, "%s: an index starts behind the end of the file", r->path);
    docs_end = LT_ALIGN_UP(f->docs_offset + LT_SHARD_SKIP_BYTES, LT_SHARD_ALIGN) +
               4 * (f->n_frames + 1) + 2 * f->n_docs;
    fidx_end = LT_ALIGN_UP(f->fidx_offset + LT_SHARD_SKIP_BYTES, LT_SHARD_ALIGN) +
               LT_SHARD_FIDX_ROW * f->n_frames;
    if (docs_end != f->fidx_offset || fidx_end != foot_at)
        return lt_fail(LT_EFORMAT,
                       "%s: the index blocks at bytes %llu and %llu do not meet the "
                       "footer at %llu",
                       r->path, (unsigned long long)f->docs_offset,
                       (unsigned long long)f->fidx_offset, (unsigned long long)foot_at);
    return LT_OK;
}

static lt_err map_file(lt_shard_reader *r)
{
    void *map = mmap(NULL, r->file.size, PROT_READ, MAP_SHARED, r->file.fd, 0);

    if (map == MAP_FAILED)
        return lt_fail(LT_EIO, "%s: mmap of %llu bytes: %s", r->path,
                       (unsigned long long)r->file.size, strerror(errno));
    r->map = map;
    r->info.file_bytes = r->file.size;
    r->guard = lt_shard_guard_add(map, r->file.size, r->path);
    return LT_OK;
}

static lt_err check_block(const lt_shard_reader *r, const char *what, uint64_t from, uint64_t to,
                          uint64_t hash)
{
    if (lt_xxh64(r->map + from, to - from, 0) != hash)
        return lt_fail(LT_EFORMAT, "%s: %s at byte %llu is damaged (checksum)", r->path, what,
                       (unsigned long long)from);
    return LT_OK;
}

static lt_err check_rows(const lt_shard_reader *r)
{
    uint64_t at = r->info.head_bytes;
    lt_shard_frame f;
    lt_err err;

    for (uint64_t i = 0; i < r->info.foot.n_frames; i++) {
        LT_TRY(err = lt_shard_reader_frame(r, i, &f));
        if (f.offset != at)
            return lt_shard_fail_frame(r, i, f.offset, "has an impossible row in the index");
        at += f.stored_bytes;
    }
    if (at != r->info.foot.docs_offset)
        return lt_fail(LT_EFORMAT, "%s: frames end at byte %llu, the document index starts at %llu",
                       r->path, (unsigned long long)at,
                       (unsigned long long)r->info.foot.docs_offset);
    return LT_OK;
fail:
    return err;
}

static lt_err check_docs(const lt_shard_reader *r)
{
    uint64_t n_frames = r->info.foot.n_frames;
    uint32_t from = lt_get_u32(r->first_doc);

    if (from != 0 || lt_get_u32(r->first_doc + 4 * n_frames) != r->info.foot.n_docs)
        return lt_fail(LT_EFORMAT, "%s: the document index does not count %llu documents", r->path,
                       (unsigned long long)r->info.foot.n_docs);
    for (uint64_t i = 0; i < n_frames; i++) {
        uint32_t to = lt_get_u32(r->first_doc + 4 * (i + 1));
        int64_t last = -1;

        if (to < from || to > r->info.foot.n_docs)
            return lt_fail(LT_EFORMAT, "%s: the document index falls from %u to %u at frame %llu",
                           r->path, from, to, (unsigned long long)i);
        for (; from < to; from++) {
            uint32_t at = lt_shard_end_offset(r, from);

            if (at <= last || at >= lt_shard_frame_tokens(r, i))
                return lt_fail(LT_EFORMAT,
                               "%s: document %u ends at token %u of frame %llu, "
                               "expected %lld..%llu",
                               r->path, from, at, (unsigned long long)i, (long long)last + 1,
                               (unsigned long long)lt_shard_frame_tokens(r, i) - 1);
            last = at;
        }
    }
    return LT_OK;
}

static lt_err check_index(lt_shard_reader *r)
{
    const lt_shard_foot *f = &r->info.foot;
    uint64_t fidx_end = LT_ALIGN_UP(f->fidx_offset + LT_SHARD_SKIP_BYTES, LT_SHARD_ALIGN) +
                        LT_SHARD_FIDX_ROW * f->n_frames;
    lt_err err;

    LT_TRY(err = check_block(r, "the header", 0, r->info.head_bytes, f->head_hash));
    LT_TRY(err =
               check_block(r, "the document index", f->docs_offset, f->fidx_offset, f->docs_hash));
    LT_TRY(err = check_block(r, "the frame index", f->fidx_offset, fidx_end, f->fidx_hash));
    r->first_doc = r->map + LT_ALIGN_UP(f->docs_offset + LT_SHARD_SKIP_BYTES, LT_SHARD_ALIGN);
    r->end_off = r->first_doc + 4 * (f->n_frames + 1);
    r->rows = r->map + LT_ALIGN_UP(f->fidx_offset + LT_SHARD_SKIP_BYTES, LT_SHARD_ALIGN);
    LT_TRY(err = check_rows(r));
    LT_TRY(err = check_docs(r));
fail:
    return err;
}

lt_err lt_shard_reader_open(lt_shard_reader **out, const char *path)
{
    lt_shard_reader *r = lt_new0(sizeof *r);
    lt_err err;

    r->path = lt_strdup(path);
    LT_TRY(err = lt_file_open_read(&r->file, path));
    LT_TRY(err = read_foot(r));
    LT_TRY(err = read_head(r));
    LT_TRY(err = check_layout(r));
    LT_TRY(err = map_file(r));
    LT_TRY(err = check_index(r));
    lt_file_close(&r->file);
    *out = r;
    return LT_OK;
fail:
    lt_shard_reader_close(r);
    return err;
}
