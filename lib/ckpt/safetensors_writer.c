/* ckpt/safetensors_writer.c - header text grows while tensors are declared, data follows.
 *
 * The header is written the way Hugging Face's own writer does: metadata first, no white space,
 * padded with blanks to a multiple of eight, so a file that goes through lt unchanged keeps its
 * bytes. */
#include "ckpt/safetensors_writer.h"
#include "base/file.h"
#include "base/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALIGNMENT = 8,
    WINDOW = 32 << 20, /* write-back; less costs throughput, more makes other writers wait */
};

struct lt_safetensors_writer {
    lt_writer *file;
    lt_buf metadata, tensors; /* members of the two objects, without the braces */
    uint64_t data_bytes;      /* declared */
    uint64_t written;
    uint64_t header_bytes; /* with the 8 bytes in front; set by begin */
    lt_block_crc crc;
};

lt_err lt_safetensors_writer_open(lt_safetensors_writer **out, const char *path)
{
    lt_writer *file;
    lt_err err;

    LT_TRY(err = lt_writer_open(&file, path));
    *out = lt_new0(sizeof **out);
    (*out)->file = file;
    lt_writer_pace(file, WINDOW);
    return LT_OK;
fail:
    return err;
}

void lt_safetensors_writer_metadata(lt_safetensors_writer *w, const char *key, const char *value)
{
    lt_buf_append(&w->metadata, ",", w->metadata.size ? 1 : 0);
    lt_json_quote(&w->metadata, key, strlen(key));
    lt_buf_append(&w->metadata, ":", 1);
    lt_json_quote(&w->metadata, value, strlen(value));
}

uint64_t lt_safetensors_writer_declare(lt_safetensors_writer *w, const char *name, lt_dtype dtype,
                                       int n_dims, const uint64_t *dims)
{
    uint64_t bytes = lt_dtype_bytes(dtype), begin = w->data_bytes;

    lt_buf_append(&w->tensors, ",", w->tensors.size ? 1 : 0);
    lt_json_quote(&w->tensors, name, strlen(name));
    lt_buf_printf(&w->tensors, ":{\"dtype\":\"%s\",\"shape\":[", lt_dtype_safetensors(dtype));
    for (int i = 0; i < n_dims; i++) {
        LT_BUG_ON(!lt_size_muladd(bytes, dims[i], 0, &bytes));
        lt_buf_printf(&w->tensors, "%s%" PRIu64, i ? "," : "", dims[i]);
    }
    w->data_bytes += bytes;
    lt_buf_printf(&w->tensors, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin,
                  w->data_bytes);
    return begin;
}

static lt_err append(lt_safetensors_writer *w, const void *data, size_t n)
{
    lt_err err = lt_writer_write(w->file, data, n);

    if (err == LT_OK)
        lt_block_crc_update(&w->crc, data, n);
    return err;
}

lt_err lt_safetensors_writer_begin(lt_safetensors_writer *w)
{
    lt_buf h = { 0 };
    uint8_t prefix[8];
    lt_err err;

    lt_buf_append(&h, "{", 1);
    if (w->metadata.size > 0)
        lt_buf_printf(&h, "\"__metadata__\":{%s}%s", w->metadata.data, w->tensors.size ? "," : "");
    lt_buf_append(&h, w->tensors.data, w->tensors.size);
    lt_buf_append(&h, "}", 1);
    while (h.size % ALIGNMENT != 0)
        lt_buf_append(&h, " ", 1);
    for (int i = 0; i < 8; i++)
        prefix[i] = (uint8_t)((uint64_t)h.size >> 8 * i);
    w->header_bytes = sizeof prefix + h.size;
    LT_TRY(err = lt_writer_preallocate(w->file, w->header_bytes + w->data_bytes));
    LT_TRY(err = append(w, prefix, sizeof prefix));
    LT_TRY(err = append(w, h.data, h.size));
fail:
    lt_buf_release(&h);
    return err;
}

uint64_t lt_safetensors_writer_header(const lt_safetensors_writer *w)
{
    return w->header_bytes;
}

lt_err lt_safetensors_writer_write(lt_safetensors_writer *w, const void *data, size_t n)
{
    enum { PIECE = 1 << 20 }; /* summed while it is still in the cache */
    const char *from = data;
    lt_err err;

    LT_BUG_ON(w->header_bytes == 0 || n > w->data_bytes - w->written);
    w->written += n;
    for (size_t k; n > 0; from += k, n -= k) {
        k = n < PIECE ? n : PIECE;
        LT_TRY(err = append(w, from, k));
    }
    return LT_OK;
fail:
    return err;
}

lt_err lt_safetensors_writer_commit(lt_safetensors_writer *w, lt_block_crc *crc)
{
    lt_writer *file = w->file;
    lt_err err;

    LT_BUG_ON(w->header_bytes == 0 || w->written != w->data_bytes);
    w->file = NULL;
    LT_TRY(err = lt_writer_commit(file));
    if (crc) {
        *crc = w->crc;
        w->crc = (lt_block_crc){ 0 };
    }
fail:
    lt_safetensors_writer_abort(w);
    return err;
}

void lt_safetensors_writer_abort(lt_safetensors_writer *w)
{
    if (!w)
        return;
    lt_writer_abort(w->file);
    lt_buf_release(&w->metadata);
    lt_buf_release(&w->tensors);
    lt_block_crc_release(&w->crc);
    free(w);
}
