/* shard/token_reader.c - reads and checks the token stream. */
#include "shard/token_stream_parts.h"

#include "base/file.h"
#include "shard/shard_bytes.h"

#include <stdlib.h>
#include <zstd.h>

enum { MAX_IDS = LT_STREAM_BLOCK_BYTES / 2 }; /* of a block: u16 ids and no end */

lt_err lt_stream_check_info(const lt_token_stream_info *info, const char *name)
{
    if (info->vocab_size == 0 || info->vocab_size > INT32_MAX)
        return lt_fail(LT_EFORMAT, "%s: vocabulary size %u is not in 1..%d", name, info->vocab_size,
                       INT32_MAX);
    if (info->eot_id != LT_NO_TOKEN && info->eot_id >= info->vocab_size)
        return lt_fail(LT_EFORMAT, "%s: end-of-text id %u is not below the vocabulary size %u",
                       name, info->eot_id, info->vocab_size);
    if (info->bos_id != LT_NO_TOKEN && info->bos_id >= info->vocab_size)
        return lt_fail(LT_EFORMAT,
                       "%s: beginning-of-text id %u is not below the vocabulary size %u", name,
                       info->bos_id, info->vocab_size);
    return LT_OK;
}

struct lt_token_reader {
    int fd, id_bytes;
    const char *name;
    lt_token_stream_info info;
    char *json;             /* owned; info.tokenizer_json */
    uint8_t *block;         /* [LT_STREAM_BLOCK_BYTES] */
    uint32_t *ids;          /* [MAX_IDS], the block's ids widened */
    uint32_t n_ids, n_ends; /* of the block */
    uint32_t at, next_end;  /* what lt_token_reader_next hands out next */
    bool in_document, ended;
    uint64_t offset; /* bytes read */
    uint64_t n_blocks, n_tokens, n_documents;
};

/* Exactly n bytes; `what` for the sentence. */
static lt_err read_exact(lt_token_reader *r, void *dst, size_t n, const char *what)
{
    size_t got;
    lt_err err = lt_fd_read(r->fd, dst, n, &got, r->name);

    if (err != LT_OK)
        return err;
    if (got < n)
        return lt_fail(LT_EFORMAT,
                       "%s: truncated: %s at byte %llu needs %zu bytes, %zu are there (the program "
                       "that wrote the stream did not finish)",
                       r->name, what, (unsigned long long)r->offset, n, got);
    r->offset += n;
    return LT_OK;
}

/* The compressed tokenizer arrives in steps, so a lying length costs no memory. */
static lt_err read_json(lt_token_reader *r, uint32_t packed, uint32_t sum)
{
    enum { STEP = 1 << 20 };
    lt_buf b = { 0 };
    unsigned long long size;
    lt_err err = LT_OK;

    while (b.size < packed) {
        size_t n = packed - b.size < STEP ? packed - b.size : STEP;

        lt_buf_reserve(&b, n);
        LT_TRY(err = read_exact(r, b.data + b.size, n, "the tokenizer"));
        b.size += n;
    }
    if (lt_stream_sum(b.data, b.size, 0) != sum) {
        err = lt_fail(LT_EFORMAT, "%s: the tokenizer at byte %d is damaged (checksum)", r->name,
                      LT_STREAM_HEADER_BYTES);
        goto fail;
    }
    size = ZSTD_getFrameContentSize(b.data, b.size);
    if (size > LT_STREAM_MAX_JSON) { /* also the two error values */
        err = lt_fail(LT_EFORMAT, "%s: the tokenizer at byte %d has no valid size", r->name,
                      LT_STREAM_HEADER_BYTES);
        goto fail;
    }
    LT_TRY(err = lt_alloc_array(&r->json, size + 1, 1, r->name));
    if (ZSTD_decompress(r->json, size, b.data, b.size) != size) {
        err = lt_fail(LT_EFORMAT, "%s: the tokenizer at byte %d does not decompress", r->name,
                      LT_STREAM_HEADER_BYTES);
        goto fail;
    }
    r->info.tokenizer_json = r->json;
    r->info.tokenizer_json_size = (size_t)size;
fail:
    lt_buf_release(&b);
    return err;
}

static lt_err read_header(lt_token_reader *r)
{
    uint8_t h[LT_STREAM_HEADER_BYTES];
    uint32_t packed;
    lt_err err;

    LT_TRY(err = read_exact(r, h, sizeof h, "the header"));
    if (memcmp(h, LT_STREAM_MAGIC, 4) != 0)
        return lt_fail(LT_EFORMAT,
                       "%s: not a token stream: starts with %02x %02x %02x %02x, "
                       "expected \"LTTS\" (make one with lt-tokenize)",
                       r->name, h[0], h[1], h[2], h[3]);
    if (h[4] != LT_STREAM_MAJOR)
        return lt_fail(LT_ENOTSUP, "%s: token stream of version %d, this program reads version %d",
                       r->name, h[4], LT_STREAM_MAJOR);
    if (lt_get_u32(h + 60) != lt_stream_sum(h, 60, 0))
        return lt_fail(LT_EFORMAT, "%s: the header is damaged (checksum)", r->name);
    r->info.vocab_size = lt_get_u32(h + 8);
    r->info.eot_id = lt_get_u32(h + 12);
    r->info.bos_id = lt_get_u32(h + 16);
    packed = lt_get_u32(h + 20);
    memcpy(r->info.tokenizer_hash, h + 24, 32);
    r->info.tokenizer_json = "";
    LT_TRY(err = lt_stream_check_info(&r->info, r->name));
    r->id_bytes = lt_stream_id_bytes(r->info.vocab_size);
    if (h[6] != r->id_bytes || h[7] != 0)
        return lt_fail(LT_EFORMAT, "%s: %d bytes an id, expected %d for a vocabulary of %u",
                       r->name, h[6], r->id_bytes, r->info.vocab_size);
    if (packed > LT_STREAM_MAX_JSON)
        return lt_fail(LT_EFORMAT, "%s: a tokenizer of %u bytes, at most %d are allowed", r->name,
                       packed, LT_STREAM_MAX_JSON);
    return packed > 0 ? read_json(r, packed, lt_get_u32(h + 56)) : LT_OK;
fail:
    return err;
}

lt_err lt_token_reader_open(lt_token_reader **out, int fd, const char *name)
{
    lt_token_reader *r = lt_new0(sizeof *r);
    lt_err err;

    r->fd = fd;
    r->name = name;
    r->block = lt_new_array0(LT_STREAM_BLOCK_BYTES, 1);
    r->ids = lt_new_array0(MAX_IDS, sizeof *r->ids);
    LT_TRY(err = read_header(r));
    *out = r;
    return LT_OK;
fail:
    lt_token_reader_close(r);
    return err;
}

const lt_token_stream_info *lt_token_reader_info(const lt_token_reader *r)
{
    return &r->info;
}

static lt_err read_end(lt_token_reader *r)
{
    uint8_t *b = r->block, extra;
    size_t got;
    lt_err err;

    LT_TRY(err =
               read_exact(r, b + LT_STREAM_COUNT_BYTES, 16 + LT_STREAM_SUM_BYTES, "the end block"));
    if (lt_get_u32(b + 24) != lt_stream_sum(b, 24, r->n_blocks))
        return lt_fail(LT_EFORMAT, "%s: the end block is damaged (checksum)", r->name);
    if (lt_get_u64(b + 8) != r->n_tokens || lt_get_u64(b + 16) != r->n_documents || r->in_document)
        return lt_fail(LT_EFORMAT,
                       "%s: the end block counts %llu tokens in %llu documents, found %llu in %llu",
                       r->name, (unsigned long long)lt_get_u64(b + 8),
                       (unsigned long long)lt_get_u64(b + 16), (unsigned long long)r->n_tokens,
                       (unsigned long long)r->n_documents);
    LT_TRY(err = lt_fd_read(r->fd, &extra, 1, &got, r->name));
    if (got > 0)
        return lt_fail(LT_EFORMAT,
                       "%s: bytes follow the end block at byte %llu (several streams are "
                       "given as several arguments, not joined)",
                       r->name, (unsigned long long)r->offset);
    r->ended = true;
    return LT_OK;
fail:
    return err;
}

/* Document ends rise strictly within 1..n_ids. */
static lt_err check_ends(const lt_token_reader *r)
{
    uint32_t last = 0;

    for (uint32_t i = 0; i < r->n_ends; i++) {
        uint32_t end = lt_get_u32(r->block + LT_STREAM_COUNT_BYTES + 4 * (size_t)i);

        if (end <= last || end > r->n_ids)
            return lt_fail(LT_EFORMAT, "%s: block %llu: document end %u at %u, expected %u..%u",
                           r->name, (unsigned long long)r->n_blocks, i, end, last + 1, r->n_ids);
        last = end;
    }
    return LT_OK;
}

static lt_err check_ids(const lt_token_reader *r)
{
    uint32_t largest = 0;

    for (uint32_t i = 0; i < r->n_ids; i++)
        largest = r->ids[i] > largest ? r->ids[i] : largest;
    if (largest >= r->info.vocab_size)
        return lt_fail(LT_EFORMAT, "%s: block %llu: id %u is not below the vocabulary size %u",
                       r->name, (unsigned long long)r->n_blocks, largest, r->info.vocab_size);
    return LT_OK;
}

static lt_err read_block(lt_token_reader *r)
{
    uint8_t *b = r->block, *ids;
    uint64_t body;
    lt_err err;

    LT_TRY(err = read_exact(r, b, LT_STREAM_COUNT_BYTES, "a block"));
    r->n_ids = lt_get_u32(b);
    r->n_ends = lt_get_u32(b + 4);
    r->at = r->next_end = 0;
    if (r->n_ids == LT_STREAM_END_MARK)
        return read_end(r);
    body = 4 * (uint64_t)r->n_ends + (uint64_t)r->id_bytes * r->n_ids;
    if (r->n_ids == 0 || r->n_ends > r->n_ids ||
        LT_STREAM_COUNT_BYTES + body + LT_STREAM_SUM_BYTES > LT_STREAM_BLOCK_BYTES)
        return lt_fail(LT_EFORMAT,
                       "%s: block %llu at byte %llu: %u tokens and %u document ends "
                       "are not possible",
                       r->name, (unsigned long long)r->n_blocks,
                       (unsigned long long)(r->offset - LT_STREAM_COUNT_BYTES), r->n_ids,
                       r->n_ends);
    LT_TRY(err = read_exact(r, b + LT_STREAM_COUNT_BYTES, body + LT_STREAM_SUM_BYTES, "a block"));
    if (lt_get_u32(b + LT_STREAM_COUNT_BYTES + body) !=
        lt_stream_sum(b, LT_STREAM_COUNT_BYTES + body, r->n_blocks))
        return lt_fail(LT_EFORMAT, "%s: block %llu before byte %llu is damaged (checksum)", r->name,
                       (unsigned long long)r->n_blocks, (unsigned long long)r->offset);
    ids = b + LT_STREAM_COUNT_BYTES + 4 * (size_t)r->n_ends;
    if (r->id_bytes == 2)
        for (uint32_t i = 0; i < r->n_ids; i++)
            r->ids[i] = lt_get_u16(ids + 2 * (size_t)i);
    else
        memcpy(r->ids, ids, 4 * (size_t)r->n_ids);
    LT_TRY(err = check_ends(r));
    LT_TRY(err = check_ids(r));
    r->n_blocks++;
    r->n_tokens += r->n_ids;
    r->n_documents += r->n_ends;
fail:
    return err;
}

lt_err lt_token_reader_next(lt_token_reader *r, const uint32_t **ids, size_t *n, bool *document_end,
                            bool *end)
{
    uint32_t stop;
    lt_err err;

    *n = 0;
    *end = *document_end = false;
    if (r->at == r->n_ids && !r->ended && (err = read_block(r)) != LT_OK) {
        r->n_ids = r->at; /* nothing of a bad block is handed out */
        return err;
    }
    if (r->ended) {
        *end = true;
        return LT_OK;
    }
    *document_end = r->next_end < r->n_ends;
    stop = *document_end ? lt_get_u32(r->block + LT_STREAM_COUNT_BYTES + 4 * (size_t)r->next_end)
                         : r->n_ids;
    *ids = r->ids + r->at;
    *n = stop - r->at;
    r->next_end += *document_end;
    r->at = stop;
    r->in_document = !*document_end;
    return LT_OK;
}

void lt_token_reader_close(lt_token_reader *r)
{
    if (!r)
        return;
    free(r->json);
    free(r->block);
    free(r->ids);
    free(r);
}
