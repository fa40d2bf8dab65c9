/* shard/token_writer.c - writes the token stream.
 *
 * A block is flushed when the next token (plus a possible document end) would not fit any more,
 * never by a call's end: that makes its boundaries a function of the tokens, and lets a document
 * end still join the block of its last token. */
#include "shard/token_stream_parts.h"

#include "base/file.h"
#include "shard/shard_bytes.h"

#include <stdlib.h>
#include <zstd.h>

enum { MAX_ENDS = LT_STREAM_BLOCK_BYTES / 6 + 1 }; /* an end costs 4 bytes, its token at least 2 */

struct lt_token_writer {
    int fd, id_bytes;
    const char *name;
    uint32_t vocab_size, eot_id;
    bool in_document;       /* tokens of an unended document were written */
    uint32_t n_ids, n_ends; /* of the open block */
    uint32_t *ends;         /* [MAX_ENDS], exclusive positions inside the block */
    uint8_t *ids;           /* [LT_STREAM_BLOCK_BYTES], id_bytes each */
    uint8_t *block;         /* [LT_STREAM_BLOCK_BYTES], assembled at flush */
    uint64_t n_blocks, n_tokens, n_documents;
};

static lt_err write_header(lt_token_writer *w, const lt_token_stream_info *info)
{
    uint8_t h[LT_STREAM_HEADER_BYTES] = { 0 };
    size_t bound = ZSTD_compressBound(info->tokenizer_json_size), n = 0;
    void *json = NULL;
    lt_err err = LT_OK;

    if (info->tokenizer_json_size > LT_STREAM_MAX_JSON)
        return lt_fail(LT_ENOTSUP, "%s: tokenizer.json of %zu bytes, at most %d are supported",
                       w->name, info->tokenizer_json_size, LT_STREAM_MAX_JSON);
    if (info->tokenizer_json_size > 0) {
        LT_TRY(err = lt_alloc_array(&json, bound, 1, "tokenizer.json"));
        n = ZSTD_compress(json, bound, info->tokenizer_json, info->tokenizer_json_size, 3);
        LT_BUG_ON(ZSTD_isError(n));
    }
    memcpy(h, LT_STREAM_MAGIC, 4);
    h[4] = LT_STREAM_MAJOR;
    h[5] = LT_STREAM_MINOR;
    h[6] = (uint8_t)w->id_bytes;
    lt_put_u32(h + 8, info->vocab_size);
    lt_put_u32(h + 12, info->eot_id);
    lt_put_u32(h + 16, info->bos_id);
    lt_put_u32(h + 20, (uint32_t)n);
    memcpy(h + 24, info->tokenizer_hash, 32);
    lt_put_u32(h + 56, lt_stream_sum(json, n, 0));
    lt_put_u32(h + 60, lt_stream_sum(h, 60, 0));
    LT_TRY(err = lt_fd_write(w->fd, h, sizeof h, w->name));
    LT_TRY(err = lt_fd_write(w->fd, json, n, w->name));
fail:
    free(json);
    return err;
}

lt_err lt_token_writer_open(lt_token_writer **out, int fd, const char *name,
                            const lt_token_stream_info *info)
{
    lt_token_writer *w = lt_new0(sizeof *w);
    lt_err err;

    w->fd = fd;
    w->name = name;
    w->vocab_size = info->vocab_size;
    w->eot_id = info->eot_id;
    w->id_bytes = lt_stream_id_bytes(info->vocab_size);
    w->ends = lt_new_array0(MAX_ENDS, sizeof *w->ends);
    w->ids = lt_new_array0(LT_STREAM_BLOCK_BYTES, 1);
    w->block = lt_new_array0(LT_STREAM_BLOCK_BYTES, 1);
    LT_TRY(err = lt_stream_check_info(info, name));
    LT_TRY(err = write_header(w, info));
    *out = w;
    return LT_OK;
fail:
    lt_token_writer_abort(w);
    return err;
}

static lt_err flush_block(lt_token_writer *w)
{
    size_t n = 0;

    if (w->n_ids == 0)
        return LT_OK;
    lt_put_u32(w->block, w->n_ids);
    lt_put_u32(w->block + 4, w->n_ends);
    n = LT_STREAM_COUNT_BYTES;
    memcpy(w->block + n, w->ends, 4 * (size_t)w->n_ends);
    n += 4 * (size_t)w->n_ends;
    memcpy(w->block + n, w->ids, (size_t)w->id_bytes * w->n_ids);
    n += (size_t)w->id_bytes * w->n_ids;
    lt_put_u32(w->block + n, lt_stream_sum(w->block, n, w->n_blocks++));
    w->n_ids = w->n_ends = 0;
    return lt_fd_write(w->fd, w->block, n + LT_STREAM_SUM_BYTES, w->name);
}

/* Tokens that still fit, with room for one document end behind them. */
static size_t block_room(const lt_token_writer *w)
{
    size_t used = LT_STREAM_COUNT_BYTES + LT_STREAM_SUM_BYTES + 4 * ((size_t)w->n_ends + 1) +
                  (size_t)w->id_bytes * w->n_ids;

    return used >= LT_STREAM_BLOCK_BYTES ? 0 : (LT_STREAM_BLOCK_BYTES - used) / (size_t)w->id_bytes;
}

static lt_err put_ids(lt_token_writer *w, const uint32_t *ids, size_t n)
{
    while (n > 0) {
        size_t room = block_room(w), take = n < room ? n : room;
        uint32_t largest = 0;
        lt_err err;

        if (take == 0) {
            if ((err = flush_block(w)) != LT_OK)
                return err;
            continue;
        }
        for (size_t i = 0; i < take; i++)
            largest = ids[i] > largest ? ids[i] : largest;
        if (largest >= w->vocab_size)
            return lt_fail(LT_EFORMAT,
                           "%s: document %llu: id %u is not below the vocabulary size %u", w->name,
                           (unsigned long long)w->n_documents, largest, w->vocab_size);
        if (w->id_bytes == 2)
            for (size_t i = 0; i < take; i++)
                lt_put_u16(w->ids + 2 * (w->n_ids + i), (uint16_t)ids[i]);
        else
            memcpy(w->ids + 4 * (size_t)w->n_ids, ids, 4 * take);
        w->n_ids += (uint32_t)take;
        w->n_tokens += take;
        w->in_document = true;
        ids += take;
        n -= take;
    }
    return LT_OK;
}

lt_err lt_token_writer_piece(lt_token_writer *w, const uint32_t *ids, size_t n, bool document_end)
{
    lt_err err = put_ids(w, ids, n);

    if (err != LT_OK || !document_end)
        return err;
    if (w->eot_id != LT_NO_TOKEN && (err = put_ids(w, &w->eot_id, 1)) != LT_OK)
        return err;
    if (w->in_document) {
        w->ends[w->n_ends++] = w->n_ids;
        w->n_documents++;
        w->in_document = false;
    }
    return LT_OK;
}

lt_err lt_token_writer_finish(lt_token_writer *w)
{
    uint8_t end[LT_STREAM_COUNT_BYTES + 16 + LT_STREAM_SUM_BYTES] = { 0 };
    lt_err err;

    LT_BUG_ON(w->in_document);
    LT_TRY(err = flush_block(w));
    lt_put_u32(end, LT_STREAM_END_MARK);
    lt_put_u64(end + 8, w->n_tokens);
    lt_put_u64(end + 16, w->n_documents);
    lt_put_u32(end + 24, lt_stream_sum(end, 24, w->n_blocks));
    LT_TRY(err = lt_fd_write(w->fd, end, sizeof end, w->name));
fail:
    lt_token_writer_abort(w);
    return err;
}

void lt_token_writer_abort(lt_token_writer *w)
{
    if (!w)
        return;
    free(w->ends);
    free(w->ids);
    free(w->block);
    free(w);
}
