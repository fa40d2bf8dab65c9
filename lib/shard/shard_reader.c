/* shard/shard_reader.c - opening and reading a shard.
 *
 * The file is mapped, so its bytes may change under us after they were checked.  What was checked
 * at opening keeps its answers honest; every offset is checked again where it is used, and a file
 * that is cut raises SIGBUS (shard_guard.h). */
#include "shard/shard_reader.h"

#include "base/file.h"
#include "shard/shard_bytes.h"
#include "shard/shard_guard.h"
#include "shard/token_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <zstd.h>

/* Where one frame at a time is decoded. */
typedef struct desk {
    ZSTD_DCtx *dctx;
    const lt_shard_reader *reader; /* whose frame lies on it; NULL: none */
    uint64_t frame;
    uint8_t *raw;  /* one frame of any shard as stored ids */
    uint32_t *ids; /* the same widened */
} desk;

struct lt_shard_reader {
    lt_file file; /* closed once it is mapped */
    char *path;
    lt_shard_guard *guard;
    const uint8_t *map; /* [info.file_bytes] */
    lt_shard_info info;
    const uint8_t *first_doc; /* u32[n_frames + 1], inside map */
    const uint8_t *end_off;   /* u16[n_docs] */
    const uint8_t *rows;      /* LT_SHARD_FIDX_ROW[n_frames] */
    desk *desk;               /* NULL before the first decoding */
    bool shares;              /* the desk is another reader's */
};

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

/* DOCS and FIDX lie where the counts say they must: HEAD frames DOCS FIDX FOOT SEEK without gaps. */
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

static uint64_t frame_tokens(const lt_shard_reader *r, uint64_t frame)
{
    uint64_t size = UINT64_C(1) << r->info.head.frame_log2;
    uint64_t left = r->info.foot.n_tokens - frame * size;

    return left < size ? left : size;
}

static lt_err fail_frame(const lt_shard_reader *r, uint64_t frame, uint64_t offset, const char *why)
{
    return lt_fail(LT_EFORMAT, "%s: frame %llu at byte %llu %s", r->path, (unsigned long long)frame,
                   (unsigned long long)offset, why);
}

lt_err lt_shard_reader_frame(const lt_shard_reader *r, uint64_t frame, lt_shard_frame *out)
{
    LT_BUG_ON(frame >= r->info.foot.n_frames);
    *out = lt_shard_frame_decode(r->rows + frame * LT_SHARD_FIDX_ROW);
    if (out->offset < r->info.head_bytes || out->offset > r->info.foot.docs_offset ||
        out->stored_bytes > r->info.foot.docs_offset - out->offset ||
        out->raw_bytes != frame_tokens(r, frame) * (uint64_t)lt_shard_id_bytes(&r->info.head) ||
        out->first_token >= r->info.head.vocab_size)
        return fail_frame(r, frame, out->offset, "has an impossible row in the index");
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
            return fail_frame(r, i, f.offset, "has an impossible row in the index");
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

static uint32_t first_doc(const lt_shard_reader *r, uint64_t frame)
{
    uint32_t d = lt_get_u32(r->first_doc + 4 * frame);

    return d < r->info.foot.n_docs ? d : (uint32_t)r->info.foot.n_docs;
}

static uint32_t end_offset(const lt_shard_reader *r, uint64_t document)
{
    return lt_get_u16(r->end_off + 2 * document);
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
            uint32_t at = end_offset(r, from);

            if (at <= last || at >= frame_tokens(r, i))
                return lt_fail(LT_EFORMAT,
                               "%s: document %u ends at token %u of frame %llu, "
                               "expected %lld..%llu",
                               r->path, from, at, (unsigned long long)i, (long long)last + 1,
                               (unsigned long long)frame_tokens(r, i) - 1);
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

static void free_desk(desk *d)
{
    if (!d)
        return;
    ZSTD_freeDCtx(d->dctx);
    free(d->raw);
    free(d->ids);
    free(d);
}

static lt_err open_desk(lt_shard_reader *r)
{
    desk *d;

    if (r->desk)
        return LT_OK;
    r->desk = d = lt_new0(sizeof *d);
    d->raw = lt_new_array0((size_t)1 << LT_SHARD_MAX_LOG2, sizeof *d->ids);
    d->ids = lt_new_array0((size_t)1 << LT_SHARD_MAX_LOG2, sizeof *d->ids);
    d->dctx = ZSTD_createDCtx();
    return d->dctx ? LT_OK : lt_fail(LT_ENOMEM, "%s: no memory for a decompressor", r->path);
}

lt_err lt_shard_reader_share(lt_shard_reader *r, lt_shard_reader *other)
{
    lt_err err = open_desk(other);

    if (err != LT_OK || r == other)
        return err;
    LT_BUG_ON(r->desk && !r->shares);
    r->desk = other->desk;
    r->shares = true;
    return LT_OK;
}

void lt_shard_reader_close(lt_shard_reader *r)
{
    if (!r)
        return;
    lt_shard_guard_remove(r->guard);
    if (r->map)
        munmap((void *)(uintptr_t)r->map, r->info.file_bytes);
    lt_file_close(&r->file);
    if (r->desk && r->desk->reader == r)
        r->desk->reader = NULL;
    if (!r->shares)
        free_desk(r->desk);
    free(r->path);
    free(r);
}

const lt_shard_info *lt_shard_reader_info(const lt_shard_reader *r)
{
    return &r->info;
}

const char *lt_shard_reader_path(const lt_shard_reader *r)
{
    return r->path;
}

const uint8_t *lt_shard_reader_bytes(const lt_shard_reader *r, uint64_t offset, uint64_t n)
{
    LT_BUG_ON(offset > r->info.file_bytes || n > r->info.file_bytes - offset);
    return r->map + offset;
}

bool lt_shard_decode_frame(void *dctx, const uint8_t *stored, size_t stored_bytes, void *dst,
                           size_t raw_bytes)
{
    enum { DESCRIPTOR = 4, HAS_CHECKSUM = 1 << 2, SMALLEST = 10 };

    return stored_bytes >= SMALLEST && lt_get_u32(stored) == ZSTD_MAGICNUMBER &&
           (stored[DESCRIPTOR] & HAS_CHECKSUM) &&
           ZSTD_getFrameContentSize(stored, stored_bytes) == raw_bytes &&
           ZSTD_findFrameCompressedSize(stored, stored_bytes) == stored_bytes &&
           ZSTD_decompressDCtx(dctx, dst, raw_bytes, stored, stored_bytes) == raw_bytes;
}

static bool on_desk(const lt_shard_reader *r, uint64_t frame)
{
    return r->desk && r->desk->reader == r && r->desk->frame == frame;
}

/* Frame onto the desk. */
static lt_err load_frame(lt_shard_reader *r, uint64_t frame)
{
    uint64_t n = frame_tokens(r, frame);
    uint32_t largest = 0;
    const uint8_t *stored;
    lt_shard_frame f;
    desk *d;
    lt_err err;

    if (on_desk(r, frame))
        return LT_OK;
    LT_TRY(err = open_desk(r));
    d = r->desk;
    d->reader = NULL;
    LT_TRY(err = lt_shard_reader_frame(r, frame, &f));
    stored = r->map + f.offset;
    if (!lt_shard_decode_frame(d->dctx, stored, f.stored_bytes, d->raw, f.raw_bytes) ||
        lt_get_u32(stored + f.stored_bytes - 4) != f.raw_sum)
        return fail_frame(r, frame, f.offset,
                          "is damaged (it does not decode to what the index says)");
    if (r->info.head.layout == LT_LAYOUT_U16)
        for (uint64_t i = 0; i < n; i++)
            d->ids[i] = lt_get_u16(d->raw + 2 * i);
    else
        memcpy(d->ids, d->raw, 4 * n);
    for (uint64_t i = 0; i < n; i++)
        largest = d->ids[i] > largest ? d->ids[i] : largest;
    if (largest >= r->info.head.vocab_size || d->ids[0] != f.first_token)
        return fail_frame(r, frame, f.offset,
                          "holds ids outside the vocabulary or another first id");
    d->reader = r;
    d->frame = frame;
fail:
    return err;
}

lt_err lt_shard_reader_read(lt_shard_reader *r, uint64_t first, uint32_t *dst, size_t n)
{
    uint32_t log2 = r->info.head.frame_log2;

    LT_BUG_ON(first > r->info.foot.n_tokens || n > r->info.foot.n_tokens - first);
    while (n > 0) {
        uint64_t frame = first >> log2, at = first & ((UINT64_C(1) << log2) - 1);
        uint64_t there = frame_tokens(r, frame) - at;
        size_t take = n < there ? n : (size_t)there;
        lt_shard_frame f;
        lt_err err;

        if (n == 1 && at == 0 && !on_desk(r, frame)) {
            /* The last target of a window: the index has it, no need to decode a frame. */
            if ((err = lt_shard_reader_frame(r, frame, &f)) != LT_OK)
                return err;
            *dst = f.first_token;
            return LT_OK;
        }
        if ((err = load_frame(r, frame)) != LT_OK)
            return err;
        memcpy(dst, r->desk->ids + at, 4 * take);
        dst += take;
        first += take;
        n -= take;
    }
    return LT_OK;
}

lt_err lt_shard_reader_check_frame(lt_shard_reader *r, uint64_t frame)
{
    lt_shard_frame f;
    lt_err err;

    LT_TRY(err = lt_shard_reader_frame(r, frame, &f));
    if ((uint32_t)lt_xxh64(r->map + f.offset, f.stored_bytes, 0) != f.stored_sum)
        return fail_frame(r, frame, f.offset, "is damaged (checksum of its stored bytes)");
    if (on_desk(r, frame))
        r->desk->reader = NULL; /* decode it again */
    LT_TRY(err = load_frame(r, frame));
    if ((uint32_t)lt_xxh64(r->desk->raw, f.raw_bytes, 0) != f.raw_sum)
        return fail_frame(r, frame, f.offset, "is damaged (checksum of its tokens)");
fail:
    return err;
}

/* Position of the end of document `ordinal`. */
static uint64_t document_end(const lt_shard_reader *r, uint64_t ordinal)
{
    uint64_t lo = 0, hi = r->info.foot.n_frames - 1;

    while (lo < hi) { /* the last frame with first_doc <= ordinal */
        uint64_t mid = lo + (hi - lo + 1) / 2;

        if (first_doc(r, mid) <= ordinal)
            lo = mid;
        else
            hi = mid - 1;
    }
    return (lo << r->info.head.frame_log2) + end_offset(r, ordinal);
}

uint64_t lt_shard_reader_next_end(const lt_shard_reader *r, uint64_t token, uint64_t *ordinal)
{
    uint32_t log2 = r->info.head.frame_log2, lo = (uint32_t)r->info.foot.n_docs, hi, at;
    uint64_t found = r->info.foot.n_tokens;

    if (token < r->info.foot.n_tokens) {
        at = (uint32_t)(token & ((UINT64_C(1) << log2) - 1));
        lo = first_doc(r, token >> log2);
        hi = first_doc(r, (token >> log2) + 1);
        while (lo < hi) { /* the first end at or behind `at` in this frame, else the next frame's */
            uint32_t mid = lo + (hi - lo) / 2;

            if (end_offset(r, mid) < at)
                lo = mid + 1;
            else
                hi = mid;
        }
        if (lo < r->info.foot.n_docs)
            found = document_end(r, lo);
    }
    if (ordinal)
        *ordinal = lo;
    return found < r->info.foot.n_tokens ? found : r->info.foot.n_tokens;
}

void lt_shard_reader_document(const lt_shard_reader *r, uint64_t ordinal, uint64_t *first,
                              uint64_t *n)
{
    LT_BUG_ON(ordinal >= r->info.foot.n_docs);
    *first = ordinal > 0 ? document_end(r, ordinal - 1) + 1 : 0;
    *n = document_end(r, ordinal) + 1 - *first;
}
