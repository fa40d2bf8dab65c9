/* shard/shard_format.c - encoding of the fixed parts; offsets as in FORMAT.md. */
#include "shard/shard_format.h"

#include "shard/shard_bytes.h"
#include "shard/token_stream.h"

static const char HEAD_MAGIC[8] = "LTSHARD\1", FOOT_MAGIC[8] = "LTSFOOT\1";
enum { MAJOR = 1, MINOR = 0, KNOWN_FLAGS = 0x1f, FOOT_SUMMED = 192, HEAD_SUMMED = 256 };
#define EMPTY_SUM 0x51D8E999u /* low 32 bits of XXH64 of nothing */

static void put_skip(uint8_t *p, uint32_t magic, uint64_t payload)
{
    LT_BUG_ON(payload > UINT32_MAX);
    lt_put_u32(p, magic);
    lt_put_u32(p + 4, (uint32_t)payload);
}

void lt_shard_head_encode(const lt_shard_head *h, uint8_t out[LT_SHARD_HEAD_BYTES])
{
    memset(out, 0, LT_SHARD_HEAD_BYTES);
    put_skip(out, LT_SHARD_MAGIC_HEAD, LT_SHARD_HEAD_BYTES - LT_SHARD_SKIP_BYTES);
    memcpy(out + 8, HEAD_MAGIC, 8);
    lt_put_u16(out + 16, MAJOR);
    lt_put_u16(out + 18, MINOR);
    out[20] = h->layout;
    out[21] = h->codec;
    lt_put_u16(out + 22, h->flags);
    lt_put_u32(out + 24, h->frame_log2);
    lt_put_u32(out + 28, h->vocab_size);
    lt_put_u32(out + 32, h->eot_id);
    lt_put_u32(out + 36, h->bos_id);
    lt_put_u32(out + 40, h->pad_id);
    memcpy(out + 48, h->tokenizer_hash, 32);
    memcpy(out + 80, h->source_hash, 32);
    lt_put_u64(out + 112, h->seed);
    memcpy(out + 120, h->tool, 32);
    lt_put_u64(out + HEAD_SUMMED, lt_xxh64(out, HEAD_SUMMED, 0));
}

static lt_err check_head(const lt_shard_head *h, const char *path)
{
    if (h->layout == LT_LAYOUT_PLANES)
        return lt_fail(LT_ENOTSUP, "%s: layout 2 (byte planes) is not supported", path);
    if (h->layout > LT_LAYOUT_PLANES)
        return lt_fail(LT_ENOTSUP, "%s: layout %d is not known", path, h->layout);
    if (h->codec == LT_CODEC_RAW)
        return lt_fail(LT_ENOTSUP, "%s: codec 0 (raw) is not supported", path);
    if (h->codec != LT_CODEC_ZSTD)
        return lt_fail(LT_ENOTSUP, "%s: codec %d is not known", path, h->codec);
    if (h->flags & LT_SHARD_FREQ_RANK)
        return lt_fail(LT_ENOTSUP, "%s: ids renumbered by frequency are not supported", path);
    if (h->flags & ~KNOWN_FLAGS)
        return lt_fail(LT_ENOTSUP, "%s: unknown flags %#x", path, h->flags & ~KNOWN_FLAGS);
    if (h->frame_log2 < LT_SHARD_MIN_LOG2 || h->frame_log2 > LT_SHARD_MAX_LOG2)
        return lt_fail(LT_EFORMAT, "%s: 2^%u tokens a frame, expected 2^%d..2^%d", path,
                       h->frame_log2, LT_SHARD_MIN_LOG2, LT_SHARD_MAX_LOG2);
    if (h->vocab_size == 0 || h->vocab_size > INT32_MAX ||
        (h->layout == LT_LAYOUT_U16 && h->vocab_size > 65536))
        return lt_fail(LT_EFORMAT, "%s: vocabulary size %u does not fit %s ids", path,
                       h->vocab_size, lt_shard_dtype_name(h));
    if (h->eot_id != LT_NO_TOKEN && h->eot_id >= h->vocab_size)
        return lt_fail(LT_EFORMAT, "%s: end-of-text id %u is not below the vocabulary size %u",
                       path, h->eot_id, h->vocab_size);
    if (h->bos_id != LT_NO_TOKEN && h->bos_id >= h->vocab_size)
        return lt_fail(LT_EFORMAT,
                       "%s: beginning-of-text id %u is not below the vocabulary size %u", path,
                       h->bos_id, h->vocab_size);
    return LT_OK;
}

lt_err lt_shard_head_decode(lt_shard_head *h, const uint8_t in[LT_SHARD_HEAD_FIXED],
                            const char *path)
{
    if (lt_get_u32(in) != LT_SHARD_MAGIC_HEAD || memcmp(in + 8, HEAD_MAGIC, 8) != 0)
        return lt_fail(LT_EFORMAT, "%s: not a shard: no LTSHARD header at byte 0", path);
    if (lt_get_u64(in + HEAD_SUMMED) != lt_xxh64(in, HEAD_SUMMED, 0))
        return lt_fail(LT_EFORMAT, "%s: the header at byte 0 is damaged (checksum)", path);
    if (lt_get_u16(in + 16) != MAJOR)
        return lt_fail(LT_ENOTSUP, "%s: shard of version %u, this program reads version %d", path,
                       lt_get_u16(in + 16), MAJOR);
    *h = (lt_shard_head){ .layout = in[20], .codec = in[21], .flags = lt_get_u16(in + 22) };
    h->frame_log2 = lt_get_u32(in + 24);
    h->vocab_size = lt_get_u32(in + 28);
    h->eot_id = lt_get_u32(in + 32);
    h->bos_id = lt_get_u32(in + 36);
    h->pad_id = lt_get_u32(in + 40);
    memcpy(h->tokenizer_hash, in + 48, 32);
    memcpy(h->source_hash, in + 80, 32);
    h->seed = lt_get_u64(in + 112);
    memcpy(h->tool, in + 120, sizeof h->tool);
    h->tool[sizeof h->tool - 1] = '\0';
    return check_head(h, path);
}

static void foot_encode(const lt_shard_foot *f, uint8_t out[LT_SHARD_FOOT_BYTES])
{
    memset(out, 0, LT_SHARD_FOOT_BYTES);
    put_skip(out, LT_SHARD_MAGIC_FOOT, LT_SHARD_FOOT_BYTES - LT_SHARD_SKIP_BYTES);
    memcpy(out + 8, FOOT_MAGIC, 8);
    lt_put_u64(out + 16, f->n_tokens);
    lt_put_u64(out + 24, f->n_docs);
    lt_put_u64(out + 32, f->n_frames);
    lt_put_u64(out + 40, 0); /* HEAD is at the start of the file */
    lt_put_u64(out + 48, f->docs_offset);
    lt_put_u64(out + 56, f->fidx_offset);
    lt_put_u64(out + 64, f->head_hash);
    lt_put_u64(out + 72, f->docs_hash);
    lt_put_u64(out + 80, f->fidx_hash);
    memcpy(out + 88, f->root, 32);
    lt_put_u64(out + FOOT_SUMMED, lt_xxh64(out, FOOT_SUMMED, 0));
}

lt_err lt_shard_foot_decode(lt_shard_foot *f, const uint8_t in[LT_SHARD_FOOT_BYTES],
                            const char *path)
{
    if (lt_get_u32(in) != LT_SHARD_MAGIC_FOOT || memcmp(in + 8, FOOT_MAGIC, 8) != 0)
        return lt_fail(LT_EFORMAT, "%s: no LTSFOOT footer in front of the seek table", path);
    if (lt_get_u64(in + FOOT_SUMMED) != lt_xxh64(in, FOOT_SUMMED, 0) ||
        lt_get_u32(in + 4) != LT_SHARD_FOOT_BYTES - LT_SHARD_SKIP_BYTES)
        return lt_fail(LT_EFORMAT, "%s: the footer is damaged (checksum)", path);
    f->n_tokens = lt_get_u64(in + 16);
    f->n_docs = lt_get_u64(in + 24);
    f->n_frames = lt_get_u64(in + 32);
    f->docs_offset = lt_get_u64(in + 48);
    f->fidx_offset = lt_get_u64(in + 56);
    f->head_hash = lt_get_u64(in + 64);
    f->docs_hash = lt_get_u64(in + 72);
    f->fidx_hash = lt_get_u64(in + 80);
    memcpy(f->root, in + 88, 32);
    return LT_OK;
}

static void frame_encode(const lt_shard_frame *f, uint8_t out[LT_SHARD_FIDX_ROW])
{
    lt_put_u64(out, f->offset);
    lt_put_u32(out + 8, f->stored_bytes);
    lt_put_u32(out + 12, f->raw_bytes);
    lt_put_u32(out + 16, f->raw_sum);
    lt_put_u32(out + 20, f->stored_sum);
    lt_put_u32(out + 24, f->first_token);
}

lt_shard_frame lt_shard_frame_decode(const uint8_t in[LT_SHARD_FIDX_ROW])
{
    return (lt_shard_frame){ .offset = lt_get_u64(in),
                             .stored_bytes = lt_get_u32(in + 8),
                             .raw_bytes = lt_get_u32(in + 12),
                             .raw_sum = lt_get_u32(in + 16),
                             .stored_sum = lt_get_u32(in + 20),
                             .first_token = lt_get_u32(in + 24) };
}

void lt_shard_root(lt_shard_foot *foot, const lt_shard_head *head, const lt_shard_frame *frames,
                   const void *docs_arrays, size_t docs_bytes)
{
    uint8_t fixed[24];
    lt_sha256 s;

    lt_put_u32(fixed, head->frame_log2);
    lt_put_u32(fixed + 4, head->vocab_size);
    lt_put_u64(fixed + 8, foot->n_tokens);
    lt_put_u64(fixed + 16, foot->n_docs);
    lt_sha256_init(&s);
    lt_sha256_update(&s, fixed, sizeof fixed);
    lt_sha256_update(&s, head->tokenizer_hash, 32);
    for (uint64_t i = 0; i < foot->n_frames; i++) {
        lt_put_u32(fixed, frames[i].raw_sum);
        lt_sha256_update(&s, fixed, 4);
    }
    lt_sha256_update(&s, docs_arrays, docs_bytes);
    lt_sha256_final(&s, foot->root);
}

/* Starts a skippable frame at the end of *out, its payload zero up to the next aligned file offset;
 * close_skip() fills in the size.  `base` is the file offset of out->data[0]. */
static size_t open_skip(lt_buf *out, uint64_t base, uint32_t magic)
{
    static const uint8_t zero[LT_SHARD_SKIP_BYTES + LT_SHARD_ALIGN];
    size_t at = out->size;
    uint64_t body = LT_ALIGN_UP(base + at + LT_SHARD_SKIP_BYTES, LT_SHARD_ALIGN);

    lt_buf_append(out, zero, (size_t)(body - base - at));
    lt_put_u32(out->data + at, magic);
    return at;
}

static uint64_t close_skip(lt_buf *out, size_t at)
{
    size_t n = out->size - at;

    put_skip((uint8_t *)out->data + at, lt_get_u32(out->data + at), n - LT_SHARD_SKIP_BYTES);
    return lt_xxh64(out->data + at, n, 0);
}

static void put_seek_row(lt_buf *out, uint64_t stored, uint32_t raw, uint32_t sum)
{
    uint8_t row[LT_SHARD_SEEK_ROW];

    LT_BUG_ON(stored > UINT32_MAX);
    lt_put_u32(row, (uint32_t)stored);
    lt_put_u32(row + 4, raw);
    lt_put_u32(row + 8, sum);
    lt_buf_append(out, row, sizeof row);
}

void lt_shard_seek_encode(lt_buf *out, uint64_t head_bytes, const lt_shard_foot *foot,
                          const lt_shard_frame *frames)
{
    uint64_t n = foot->n_frames + 4, fidx_end;
    uint8_t skip[LT_SHARD_SKIP_BYTES], tail[LT_SHARD_SEEK_TAIL];

    fidx_end = LT_ALIGN_UP(foot->fidx_offset + LT_SHARD_SKIP_BYTES, LT_SHARD_ALIGN) +
               foot->n_frames * LT_SHARD_FIDX_ROW;
    put_skip(skip, LT_SHARD_MAGIC_SEEK, n * LT_SHARD_SEEK_ROW + LT_SHARD_SEEK_TAIL);
    lt_buf_append(out, skip, sizeof skip);
    put_seek_row(out, head_bytes, 0, EMPTY_SUM);
    for (uint64_t i = 0; i < foot->n_frames; i++)
        put_seek_row(out, frames[i].stored_bytes, frames[i].raw_bytes, frames[i].raw_sum);
    put_seek_row(out, foot->fidx_offset - foot->docs_offset, 0, EMPTY_SUM);
    put_seek_row(out, fidx_end - foot->fidx_offset, 0, EMPTY_SUM);
    put_seek_row(out, LT_SHARD_FOOT_BYTES, 0, EMPTY_SUM);
    lt_put_u32(tail, (uint32_t)n);
    tail[4] = 0x80; /* rows carry checksums */
    lt_put_u32(tail + 5, LT_SHARD_SEEK_END);
    lt_buf_append(out, tail, sizeof tail);
}

void lt_shard_trailer_encode(lt_buf *out, const lt_shard_head *head, lt_shard_foot *foot,
                             const lt_shard_frame *frames, const uint32_t *first_doc,
                             const uint16_t *end_off)
{
    uint64_t base = foot->docs_offset - out->size;
    uint64_t head_bytes = foot->n_frames ? frames[0].offset : foot->docs_offset;
    uint8_t bytes[LT_SHARD_FOOT_BYTES];
    size_t at = open_skip(out, base, LT_SHARD_MAGIC_DOCS), arrays = out->size;

    lt_buf_append(out, first_doc, (foot->n_frames + 1) * sizeof *first_doc);
    lt_buf_append(out, end_off, foot->n_docs * sizeof *end_off);
    foot->docs_hash = close_skip(out, at);
    lt_shard_root(foot, head, frames, out->data + arrays, out->size - arrays);

    foot->fidx_offset = base + out->size;
    at = open_skip(out, base, LT_SHARD_MAGIC_FIDX);
    for (uint64_t i = 0; i < foot->n_frames; i++) {
        frame_encode(&frames[i], bytes);
        lt_buf_append(out, bytes, LT_SHARD_FIDX_ROW);
    }
    foot->fidx_hash = close_skip(out, at);

    foot_encode(foot, bytes);
    lt_buf_append(out, bytes, LT_SHARD_FOOT_BYTES);
    lt_shard_seek_encode(out, head_bytes, foot, frames);
}
