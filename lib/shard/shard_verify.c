/* shard/shard_verify.c - full verification and repair. */
#include "shard/shard_verify.h"

#include "base/file.h"
#include "shard/shard_bytes.h"
#include "shard/shard_writer.h"
#include "shard/token_stream.h"

#include <stdlib.h>
#include <zstd.h>

/* The seek table repeats the index, so it is compared with one made afresh. */
static lt_err check_seek(lt_shard_reader *r, const lt_shard_frame *frames)
{
    const lt_shard_info *s = lt_shard_reader_info(r);
    lt_buf seek = { 0 };
    const uint8_t *there;
    lt_err err = LT_OK;
    size_t i = 0;

    lt_shard_seek_encode(&seek, s->head_bytes, &s->foot, frames);
    there = lt_shard_reader_bytes(r, s->file_bytes - seek.size, seek.size);
    while (i < seek.size && (uint8_t)seek.data[i] == there[i])
        i++;
    if (i < seek.size)
        err = lt_fail(LT_EFORMAT, "%s: the zstd seek table is damaged at byte %llu",
                      lt_shard_reader_path(r), (unsigned long long)(s->file_bytes - seek.size + i));
    lt_buf_release(&seek);
    return err;
}

static lt_err check_root(lt_shard_reader *r, const lt_shard_frame *frames)
{
    const lt_shard_info *s = lt_shard_reader_info(r);
    uint64_t at = LT_ALIGN_UP(s->foot.docs_offset + LT_SHARD_SKIP_BYTES, LT_SHARD_ALIGN);
    size_t n = (size_t)(s->foot.fidx_offset - at);
    lt_shard_foot again = s->foot;

    lt_shard_root(&again, &s->head, frames, lt_shard_reader_bytes(r, at, n), n);
    if (memcmp(again.root, s->foot.root, 32) != 0)
        return lt_fail(LT_EFORMAT, "%s: the content root in the footer is not that of its frames",
                       lt_shard_reader_path(r));
    return LT_OK;
}

/* DOCS and FIDX start with a size and zeros up to the aligned array; the checksum covers them, this
 * holds the writer to the format.  HEAD's size is what frames start behind. */
static lt_err check_skip(lt_shard_reader *r, uint64_t at, uint64_t end, uint32_t magic)
{
    uint64_t body = LT_ALIGN_UP(at + LT_SHARD_SKIP_BYTES, LT_SHARD_ALIGN);
    const uint8_t *p = lt_shard_reader_bytes(r, at, end - at);

    if (lt_get_u32(p) != magic || lt_get_u32(p + 4) != end - at - LT_SHARD_SKIP_BYTES)
        return lt_fail(LT_EFORMAT, "%s: no skippable frame %08x of %llu bytes at byte %llu",
                       lt_shard_reader_path(r), magic, (unsigned long long)(end - at),
                       (unsigned long long)at);
    for (uint64_t i = LT_SHARD_SKIP_BYTES; i < body - at; i++)
        if (p[i] != 0)
            return lt_fail(LT_EFORMAT, "%s: byte %llu should be zero", lt_shard_reader_path(r),
                           (unsigned long long)(at + i));
    return LT_OK;
}

lt_err lt_shard_verify(lt_shard_reader *r)
{
    const lt_shard_foot *foot = &lt_shard_reader_info(r)->foot;
    uint64_t fidx_end = LT_ALIGN_UP(foot->fidx_offset + LT_SHARD_SKIP_BYTES, LT_SHARD_ALIGN) +
                        LT_SHARD_FIDX_ROW * foot->n_frames;
    lt_shard_frame *frames = NULL;
    lt_err err;

    LT_TRY(err = check_skip(r, foot->docs_offset, foot->fidx_offset, LT_SHARD_MAGIC_DOCS));
    LT_TRY(err = check_skip(r, foot->fidx_offset, fidx_end, LT_SHARD_MAGIC_FIDX));
    LT_TRY(err = lt_alloc_array(&frames, foot->n_frames, sizeof *frames, lt_shard_reader_path(r)));
    for (uint64_t i = 0; i < foot->n_frames; i++) {
        LT_TRY(err = lt_shard_reader_check_frame(r, i));
        LT_TRY(err = lt_shard_reader_frame(r, i, &frames[i]));
    }
    LT_TRY(err = check_root(r, frames));
    LT_TRY(err = check_seek(r, frames));
fail:
    free(frames);
    return err;
}

/* ---- repair ---- */

/* The input of a repair and the buffers of one frame. */
typedef struct salvage {
    lt_file file;
    lt_shard_head head;
    uint64_t at; /* next frame */
    uint8_t *stored, *raw;
    uint32_t *ids;
    size_t bound; /* of one stored frame */
    ZSTD_DCtx *dctx;
    lt_shard_writer *out;
} salvage;

static lt_err salvage_head(salvage *s, const char *from)
{
    uint8_t head[LT_SHARD_HEAD_FIXED];
    size_t frame;
    lt_err err;

    LT_TRY(err = lt_file_open_read(&s->file, from));
    LT_TRY(err = lt_file_pread(&s->file, 0, head, sizeof head));
    LT_TRY(err = lt_shard_head_decode(&s->head, head, from));
    s->at = LT_SHARD_SKIP_BYTES + (uint64_t)lt_get_u32(head + 4);
    frame = (size_t)1 << s->head.frame_log2;
    s->bound = ZSTD_compressBound(frame * (size_t)lt_shard_id_bytes(&s->head));
    s->stored = lt_new_array0(s->bound, 1);
    s->raw = lt_new_array0(frame, (size_t)lt_shard_id_bytes(&s->head));
    s->ids = lt_new_array0(frame, sizeof *s->ids);
    s->dctx = ZSTD_createDCtx();
    LT_BUG_ON(!s->dctx);
fail:
    return err;
}

/* The frame at s->at into s->ids; *n = 0 when there is no sound one. */
static lt_err salvage_frame(salvage *s, size_t *n)
{
    uint64_t left = s->file.size > s->at ? s->file.size - s->at : 0;
    size_t there = left < s->bound ? (size_t)left : s->bound, stored;
    size_t id_bytes = (size_t)lt_shard_id_bytes(&s->head);
    unsigned long long raw;
    lt_err err;

    *n = 0;
    LT_TRY(err = lt_file_pread(&s->file, s->at, s->stored, there));
    raw = ZSTD_getFrameContentSize(s->stored, there);
    stored = ZSTD_findFrameCompressedSize(s->stored, there);
    if (ZSTD_isError(stored) || raw == 0 || raw > id_bytes << s->head.frame_log2 ||
        raw % id_bytes != 0 ||
        !lt_shard_decode_frame(s->dctx, s->stored, stored, s->raw, (size_t)raw))
        return LT_OK;
    for (size_t i = 0; i < raw / id_bytes; i++) {
        s->ids[i] = id_bytes == 2 ? lt_get_u16(s->raw + 2 * i) : lt_get_u32(s->raw + 4 * i);
        if (s->ids[i] >= s->head.vocab_size)
            return LT_OK;
    }
    *n = (size_t)raw / id_bytes;
    s->at += stored;
fail:
    return err;
}

static lt_err copy_ids(salvage *s, size_t n)
{
    lt_err err = LT_OK;

    for (size_t i = 0, from = 0; i < n; i++) {
        bool end = s->head.eot_id != LT_NO_TOKEN && s->ids[i] == s->head.eot_id;

        if (!end && i + 1 < n)
            continue;
        LT_TRY(err = lt_shard_writer_append(s->out, s->ids + from, i + 1 - from));
        if (end)
            lt_shard_writer_end_document(s->out);
        from = i + 1;
    }
fail:
    return err;
}

static lt_err salvage_frames(salvage *s, lt_shard_repair *report)
{
    size_t n, full = (size_t)1 << s->head.frame_log2;
    uint32_t magic = 0;
    lt_err err;

    do {
        LT_TRY(err = salvage_frame(s, &n));
        LT_TRY(err = copy_ids(s, n));
    } while (n == full);
    report->end_offset = s->at;
    if (s->file.size >= s->at + 4)
        LT_TRY(err = lt_file_pread(&s->file, s->at, &magic, 4));
    report->lost_bytes = magic == LT_SHARD_MAGIC_DOCS ? 0 : s->file.size - s->at;
fail:
    return err;
}

lt_err lt_shard_repair_file(const char *from, const char *to, lt_shard_repair *report)
{
    salvage s = { 0 };
    lt_shard_writer_options o = { .level = 3 };
    lt_shard_foot foot;
    lt_err err;

    *report = (lt_shard_repair){ 0 };
    LT_TRY(err = salvage_head(&s, from));
    report->docs_rebuilt = s.head.eot_id != LT_NO_TOKEN;
    o.vocab_size = s.head.vocab_size;
    o.eot_id = s.head.eot_id;
    o.bos_id = s.head.bos_id;
    memcpy(o.tokenizer_hash, s.head.tokenizer_hash, 32);
    o.seed = s.head.seed;
    o.frame_log2 = (int)s.head.frame_log2;
    o.documents = report->docs_rebuilt;
    LT_TRY(err = lt_shard_writer_open(&s.out, to, &o));
    LT_TRY(err = salvage_frames(&s, report));
    err = lt_shard_writer_finish(s.out, s.head.flags & LT_SHARD_LAST, &foot);
    s.out = NULL;
    LT_TRY(err);
    report->n_tokens = foot.n_tokens;
    report->n_docs = foot.n_docs;
    report->n_frames = foot.n_frames;
fail:
    lt_shard_writer_abort(s.out);
    lt_file_close(&s.file);
    ZSTD_freeDCtx(s.dctx);
    free(s.stored);
    free(s.raw);
    free(s.ids);
    return err;
}
