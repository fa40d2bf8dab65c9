/* shard/shard_writer.c - frames compressed in batches by a pool, then the trailer.
 *
 * A full batch is flushed when the next token arrives, so that the last document end always finds
 * its token's frame still known. */
#include "shard/shard_writer.h"

#include "base/file.h"
#include "base/options.h"
#include "shard/shard_bytes.h"
#include "shard/token_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

enum { FRAMES_A_THREAD = 8 };

struct lt_shard_writer {
    lt_task task; /* first: compresses frame `index` of the batch */
    lt_writer *file;
    char *path;
    lt_shard_head head;
    lt_pool *pool;
    bool documents;
    int id_bytes, level, n_workers;
    size_t frame_tokens, bound; /* bound: of one compressed frame */

    size_t n_slots, n_staged; /* frames a batch holds; tokens staged in it */
    uint8_t *staged;          /* [n_slots][frame_tokens * id_bytes] */
    uint8_t *packed;          /* [n_slots][bound] */
    lt_shard_frame *batch;    /* [n_slots], offset not yet known */
    ZSTD_CCtx **contexts;     /* [n_workers] */

    lt_shard_foot foot;
    lt_shard_frame *frames; /* written so far */
    size_t frames_capacity;
    uint32_t *first_doc; /* [frames started + 1] */
    size_t first_doc_capacity;
    uint64_t frames_started;
    uint16_t *end_off;
    size_t end_off_capacity;
    uint64_t last_end; /* tokens covered by ended documents */
};

static void compress_frame(lt_task *task, int64_t index, int worker)
{
    lt_shard_writer *w = (lt_shard_writer *)task;
    size_t first = (size_t)index * w->frame_tokens, left = w->n_staged - first;
    size_t n = (left < w->frame_tokens ? left : w->frame_tokens) * (size_t)w->id_bytes;
    const uint8_t *raw = w->staged + first * (size_t)w->id_bytes;
    uint8_t *packed = w->packed + (size_t)index * w->bound;
    lt_shard_frame *f = &w->batch[index];
    size_t stored = ZSTD_compress2(w->contexts[worker], packed, w->bound, raw, n);

    /* Cannot fail: the context exists, the destination has room for the worst case. */
    LT_BUG_ON(ZSTD_isError(stored));
    f->stored_bytes = (uint32_t)stored;
    f->raw_bytes = (uint32_t)n;
    f->stored_sum = (uint32_t)lt_xxh64(packed, stored, 0);
    f->raw_sum = lt_get_u32(packed + stored - 4); /* zstd's content checksum is the same number */
    f->first_token = w->id_bytes == 2 ? lt_get_u16(raw) : lt_get_u32(raw);
}

static lt_err open_contexts(lt_shard_writer *w)
{
    w->contexts = lt_new_array0((size_t)w->n_workers, sizeof(ZSTD_CCtx *));
    for (int i = 0; i < w->n_workers; i++) {
        ZSTD_CCtx *c = w->contexts[i] = ZSTD_createCCtx();

        if (!c)
            return lt_fail(LT_ENOMEM, "%s: no memory for %d compressors", w->path, w->n_workers);
        ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, w->level);
        ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
        ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 1);
    }
    return LT_OK;
}

static void init_head(lt_shard_writer *w, const lt_shard_writer_options *o)
{
    lt_shard_head *h = &w->head;

    h->layout = o->vocab_size <= 65536 ? LT_LAYOUT_U16 : LT_LAYOUT_U32;
    h->codec = LT_CODEC_ZSTD;
    h->flags = (uint16_t)((o->documents ? LT_SHARD_HAS_DOCS : 0) |
                          (o->eot_id != LT_NO_TOKEN ? LT_SHARD_EOT_INCLUDED : 0) |
                          (o->bos_id != LT_NO_TOKEN ? LT_SHARD_BOS_INCLUDED : 0));
    h->frame_log2 = (uint32_t)o->frame_log2;
    h->vocab_size = o->vocab_size;
    h->eot_id = o->eot_id;
    h->bos_id = o->bos_id;
    h->pad_id = LT_NO_TOKEN;
    memcpy(h->tokenizer_hash, o->tokenizer_hash, 32);
    h->seed = o->seed;
    snprintf(h->tool, sizeof h->tool, "lt-shard %s", LT_VERSION);
}

lt_err lt_shard_writer_open(lt_shard_writer **out, const char *path,
                            const lt_shard_writer_options *o)
{
    uint8_t head[LT_SHARD_HEAD_BYTES];
    lt_shard_writer *w = lt_new0(sizeof *w);
    size_t frame_bytes;
    lt_err err;

    LT_BUG_ON(o->frame_log2 < LT_SHARD_MIN_LOG2 || o->frame_log2 > LT_SHARD_MAX_LOG2);
    w->task.run = compress_frame;
    w->path = lt_strdup(path);
    init_head(w, o);
    w->pool = o->pool;
    w->documents = o->documents;
    w->level = o->level;
    w->id_bytes = lt_shard_id_bytes(&w->head);
    w->n_workers = o->pool ? lt_pool_size(o->pool) : 1;
    w->frame_tokens = (size_t)1 << o->frame_log2;
    w->n_slots = (size_t)w->n_workers * FRAMES_A_THREAD;
    frame_bytes = w->frame_tokens * (size_t)w->id_bytes;
    w->bound = ZSTD_compressBound(frame_bytes);
    w->staged = lt_new_array0(w->n_slots, frame_bytes);
    w->packed = lt_new_array0(w->n_slots, w->bound);
    w->batch = lt_new_array0(w->n_slots, sizeof *w->batch);
    LT_TRY(err = open_contexts(w));
    LT_TRY(err = lt_writer_open(&w->file, path));
    lt_shard_head_encode(&w->head, head);
    LT_TRY(err = lt_writer_write(w->file, head, sizeof head));
    *out = w;
    return LT_OK;
fail:
    lt_shard_writer_abort(w);
    return err;
}

static lt_err flush_batch(lt_shard_writer *w)
{
    size_t n = (w->n_staged + w->frame_tokens - 1) / w->frame_tokens;
    lt_err err = LT_OK;

    lt_pool_run(w->pool, &w->task, (int64_t)n);
    lt_array_reserve(&w->frames, &w->frames_capacity, w->foot.n_frames + n, sizeof *w->frames);
    for (size_t i = 0; i < n; i++) {
        lt_shard_frame *f = &w->frames[w->foot.n_frames++];

        *f = w->batch[i];
        f->offset = lt_writer_offset(w->file);
        LT_TRY(err = lt_writer_write(w->file, w->packed + i * w->bound, f->stored_bytes));
    }
    w->n_staged = 0;
fail:
    return err;
}

/* Notes how many documents ended before each frame that `n` more tokens start. */
static void start_frames(lt_shard_writer *w, size_t n)
{
    uint64_t frames = (w->foot.n_tokens + n + w->frame_tokens - 1) / w->frame_tokens;

    lt_array_reserve(&w->first_doc, &w->first_doc_capacity, frames + 1, sizeof *w->first_doc);
    while (w->frames_started < frames)
        w->first_doc[w->frames_started++] = (uint32_t)w->foot.n_docs;
}

lt_err lt_shard_writer_append(lt_shard_writer *w, const uint32_t *ids, size_t n)
{
    size_t capacity = w->n_slots * w->frame_tokens;

    LT_BUG_ON(w->foot.n_tokens + n > LT_SHARD_MAX_TOKENS);
    while (n > 0) {
        size_t room = capacity - w->n_staged, take = n < room ? n : room;
        uint8_t *to = w->staged + w->n_staged * (size_t)w->id_bytes;
        uint32_t largest = 0;
        lt_err err;

        if (take == 0) {
            if ((err = flush_batch(w)) != LT_OK)
                return err;
            continue;
        }
        for (size_t i = 0; i < take; i++)
            largest = ids[i] > largest ? ids[i] : largest;
        if (largest >= w->head.vocab_size)
            return lt_fail(LT_EFORMAT, "%s: id %u is not below the vocabulary size %u", w->path,
                           largest, w->head.vocab_size);
        if (w->id_bytes == 2)
            for (size_t i = 0; i < take; i++)
                lt_put_u16(to + 2 * i, (uint16_t)ids[i]);
        else
            memcpy(to, ids, 4 * take);
        start_frames(w, take);
        w->n_staged += take;
        w->foot.n_tokens += take;
        ids += take;
        n -= take;
    }
    return LT_OK;
}

void lt_shard_writer_end_document(lt_shard_writer *w)
{
    if (!w->documents || w->foot.n_tokens == w->last_end) /* a document without tokens */
        return;
    LT_BUG_ON(w->foot.n_docs >= LT_SHARD_MAX_DOCS);
    lt_array_reserve(&w->end_off, &w->end_off_capacity, w->foot.n_docs + 1, sizeof *w->end_off);
    w->end_off[w->foot.n_docs++] = (uint16_t)((w->foot.n_tokens - 1) & (w->frame_tokens - 1));
    w->last_end = w->foot.n_tokens;
}

uint64_t lt_shard_writer_tokens(const lt_shard_writer *w)
{
    return w->foot.n_tokens;
}

uint64_t lt_shard_writer_documents(const lt_shard_writer *w)
{
    return w->foot.n_docs;
}

lt_err lt_shard_writer_finish(lt_shard_writer *w, bool last, lt_shard_foot *foot)
{
    uint8_t head[LT_SHARD_HEAD_BYTES];
    lt_buf trailer = { 0 };
    lt_err err;

    LT_TRY(err = flush_batch(w));
    start_frames(w, 0);
    lt_array_reserve(&w->first_doc, &w->first_doc_capacity, w->frames_started + 1,
                     sizeof *w->first_doc);
    w->first_doc[w->frames_started] = (uint32_t)w->foot.n_docs;
    if (last)
        w->head.flags |= LT_SHARD_LAST;
    lt_shard_head_encode(&w->head, head);
    w->foot.head_hash = lt_xxh64(head, sizeof head, 0);
    w->foot.docs_offset = lt_writer_offset(w->file);
    lt_shard_trailer_encode(&trailer, &w->head, &w->foot, w->frames, w->first_doc, w->end_off);
    LT_TRY(err = lt_writer_write(w->file, trailer.data, trailer.size));
    if (last)
        LT_TRY(err = lt_writer_pwrite(w->file, 0, head, sizeof head));
    *foot = w->foot;
    err = lt_writer_commit(w->file);
    w->file = NULL;
fail:
    lt_buf_release(&trailer);
    lt_shard_writer_abort(w);
    return err;
}

void lt_shard_writer_abort(lt_shard_writer *w)
{
    if (!w)
        return;
    lt_writer_abort(w->file);
    for (int i = 0; w->contexts && i < w->n_workers; i++)
        ZSTD_freeCCtx(w->contexts[i]);
    free(w->contexts);
    free(w->staged);
    free(w->packed);
    free(w->batch);
    free(w->frames);
    free(w->first_doc);
    free(w->end_off);
    free(w->path);
    free(w);
}
