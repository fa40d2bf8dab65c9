/* shard/shard_reader.c - frames, tokens and documents of an open shard. */
#include "shard/shard_reader_parts.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <zstd.h>

lt_err lt_shard_fail_frame(const lt_shard_reader *r, uint64_t frame, uint64_t offset,
                           const char *why)
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
        out->raw_bytes !=
            lt_shard_frame_tokens(r, frame) * (uint64_t)lt_shard_id_bytes(&r->info.head) ||
        out->first_token >= r->info.head.vocab_size)
        return lt_shard_fail_frame(r, frame, out->offset, "has an impossible row in the index");
    return LT_OK;
}

static void free_desk(lt_shard_desk *d)
{
    if (!d)
        return;
    ZSTD_freeDCtx(d->dctx);
    free(d->raw);
    free(d);
}

static lt_err open_desk(lt_shard_reader *r)
{
    lt_shard_desk *d;

    if (r->desk)
        return LT_OK;
    r->desk = d = lt_new0(sizeof *d);
    d->raw = lt_new_array0((size_t)1 << LT_SHARD_MAX_LOG2, sizeof(uint32_t));
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

bool lt_shard_decode_frame(ZSTD_DCtx *dctx, const uint8_t *stored, size_t stored_bytes, void *dst,
                           size_t raw_bytes)
{
    enum { DESCRIPTOR = 4, HAS_CHECKSUM = 1 << 2, SMALLEST = 10 };

    return stored_bytes >= SMALLEST && lt_get_u32(stored) == ZSTD_MAGICNUMBER &&
           (stored[DESCRIPTOR] & HAS_CHECKSUM) &&
           ZSTD_getFrameContentSize(stored, stored_bytes) == raw_bytes &&
           ZSTD_findFrameCompressedSize(stored, stored_bytes) == stored_bytes &&
           ZSTD_decompressDCtx(dctx, dst, raw_bytes, stored, stored_bytes) == raw_bytes;
}

static uint32_t id_at(const uint8_t *raw, lt_shard_layout layout, uint64_t i)
{
    return layout == LT_LAYOUT_U16 ? lt_get_u16(raw + 2 * i) : lt_get_u32(raw + 4 * i);
}

static bool on_desk(const lt_shard_reader *r, uint64_t frame)
{
    return r->desk && r->desk->reader == r && r->desk->frame == frame;
}

/* The largest of n ids.  A window reads a fraction of a frame, so this walk over all of it counts:
 * lanes of a fixed number let the compiler use vectors. */
static uint32_t largest_id(const uint8_t *raw, lt_shard_layout layout, uint64_t n)
{
    enum { LANES = 32 };
    uint16_t narrow[LANES] = { 0 };
    uint32_t wide[LANES] = { 0 }, largest = 0;
    uint64_t whole = n / LANES * LANES, i;

    for (i = 0; layout == LT_LAYOUT_U16 && i < whole; i += LANES)
        for (int j = 0; j < LANES; j++) {
            uint16_t id = lt_get_u16(raw + 2 * (i + (uint64_t)j));

            narrow[j] = id > narrow[j] ? id : narrow[j];
        }
    for (i = 0; layout != LT_LAYOUT_U16 && i < whole; i += LANES)
        for (int j = 0; j < LANES; j++) {
            uint32_t id = lt_get_u32(raw + 4 * (i + (uint64_t)j));

            wide[j] = id > wide[j] ? id : wide[j];
        }
    for (int j = 0; j < LANES; j++) {
        largest = narrow[j] > largest ? narrow[j] : largest;
        largest = wide[j] > largest ? wide[j] : largest;
    }
    for (i = whole; i < n; i++) {
        uint32_t id = id_at(raw, layout, i);

        largest = id > largest ? id : largest;
    }
    return largest;
}

/* Frame onto the desk. */
static lt_err load_frame(lt_shard_reader *r, uint64_t frame)
{
    lt_shard_layout layout = r->info.head.layout;
    uint64_t n = lt_shard_frame_tokens(r, frame);
    const uint8_t *stored;
    lt_shard_frame f;
    lt_shard_desk *d;
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
        return lt_shard_fail_frame(r, frame, f.offset,
                                   "is damaged (it does not decode to what the index says)");
    if (largest_id(d->raw, layout, n) >= r->info.head.vocab_size ||
        id_at(d->raw, layout, 0) != f.first_token)
        return lt_shard_fail_frame(r, frame, f.offset,
                                   "holds ids outside the vocabulary or another first id");
    d->reader = r;
    d->frame = frame;
    d->work.frames++;
    d->work.tokens += n;
    d->work.stored_bytes += f.stored_bytes;
    d->work.raw_bytes += f.raw_bytes;
fail:
    return err;
}

/* Ids [first, first + n) of a frame, widened. */
static void copy_ids(uint32_t *dst, const uint8_t *raw, lt_shard_layout layout, uint64_t first,
                     size_t n)
{
    if (layout == LT_LAYOUT_U16)
        for (size_t i = 0; i < n; i++)
            dst[i] = lt_get_u16(raw + 2 * (first + i));
    else
        memcpy(dst, raw + 4 * first, 4 * n);
}

lt_err lt_shard_reader_read(lt_shard_reader *r, uint64_t first, uint32_t *dst, size_t n)
{
    uint32_t log2 = r->info.head.frame_log2;

    LT_BUG_ON(first > r->info.foot.n_tokens || n > r->info.foot.n_tokens - first);
    while (n > 0) {
        uint64_t frame = first >> log2, at = first & ((UINT64_C(1) << log2) - 1);
        uint64_t there = lt_shard_frame_tokens(r, frame) - at;
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
        copy_ids(dst, r->desk->raw, r->info.head.layout, at, take);
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
        return lt_shard_fail_frame(r, frame, f.offset, "is damaged (checksum of its stored bytes)");
    if (on_desk(r, frame))
        r->desk->reader = NULL; /* decode it again */
    LT_TRY(err = load_frame(r, frame));
    if ((uint32_t)lt_xxh64(r->desk->raw, f.raw_bytes, 0) != f.raw_sum)
        return lt_shard_fail_frame(r, frame, f.offset, "is damaged (checksum of its tokens)");
fail:
    return err;
}

void lt_shard_reader_work(const lt_shard_reader *r, lt_shard_work *sum)
{
    const lt_shard_work none = { 0 }, *w = r->desk ? &r->desk->work : &none;

    sum->frames += w->frames;
    sum->tokens += w->tokens;
    sum->stored_bytes += w->stored_bytes;
    sum->raw_bytes += w->raw_bytes;
}

/* Position of the end of document `ordinal`. */
static uint64_t document_end(const lt_shard_reader *r, uint64_t ordinal)
{
    uint64_t lo = 0, hi = r->info.foot.n_frames - 1;

    while (lo < hi) { /* the last frame with first_doc <= ordinal */
        uint64_t mid = lo + (hi - lo + 1) / 2;

        if (lt_shard_first_doc(r, mid) <= ordinal)
            lo = mid;
        else
            hi = mid - 1;
    }
    return (lo << r->info.head.frame_log2) + lt_shard_end_offset(r, ordinal);
}

uint64_t lt_shard_reader_next_end(const lt_shard_reader *r, uint64_t token, uint64_t *ordinal)
{
    uint32_t log2 = r->info.head.frame_log2, lo = (uint32_t)r->info.foot.n_docs, hi, at;
    uint64_t found = r->info.foot.n_tokens;

    if (token < r->info.foot.n_tokens) {
        at = (uint32_t)(token & ((UINT64_C(1) << log2) - 1));
        lo = lt_shard_first_doc(r, token >> log2);
        hi = lt_shard_first_doc(r, (token >> log2) + 1);
        while (lo < hi) { /* the first end at or behind `at` in this frame, else the next frame's */
            uint32_t mid = lo + (hi - lo) / 2;

            if (lt_shard_end_offset(r, mid) < at)
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
