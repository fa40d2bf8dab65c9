/* ckpt/manifest_write.c - the text of a MANIFEST.  One file or tensor a line, so that diff and grep
 * work on it; the last line is the digest of everything before it. */
#include "ckpt/manifest.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/options.h"

#include <inttypes.h>
#include <string.h>

static void quote(lt_buf *b, const char *key, const char *value)
{
    lt_buf_printf(b, "\"%s\":", key);
    lt_json_quote(b, value, strlen(value));
}

void lt_manifest_add_file(lt_buf *part, const lt_manifest_file *f)
{
    lt_buf_append(part, ",\n", part->size ? 2 : 0);
    lt_buf_append(part, "{", 1);
    quote(part, "name", f->name);
    lt_buf_printf(part, ",\"size\":%" PRIu64 ",\"crc32c\":[", f->size);
    for (size_t i = 0; i < f->n_blocks; i++)
        lt_buf_printf(part, "%s\"%08" PRIx32 "\"", i ? "," : "", f->crc[i]);
    lt_buf_append(part, "]", 1);
    if (f->group) {
        lt_buf_append(part, ",", 1);
        quote(part, "group", f->group);
        lt_buf_printf(part, ",\"rank\":%" PRIu32 ",\"slices\":[", f->rank);
        for (size_t i = 0; i < f->n_slices; i++) {
            const lt_manifest_slice *s = &f->slices[i];

            lt_buf_printf(part, "%s[%" PRIu32 ",\"%s\",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]",
                          i ? "," : "", s->tensor, lt_dtype_safetensors(s->dtype), s->first,
                          s->count, s->offset);
        }
        lt_buf_append(part, "]", 1);
    }
    lt_buf_append(part, "}", 1);
}

static void add_tensor(lt_buf *b, const lt_ckpt_tensor *t)
{
    lt_buf_append(b, "{", 1);
    quote(b, "name", t->name);
    lt_buf_printf(b, ",\"dtype\":\"%s\",\"shape\":[", lt_dtype_safetensors(t->dtype));
    for (int i = 0; i < t->n_dims; i++)
        lt_buf_printf(b, "%s%" PRIu64, i ? "," : "", t->dims[i]);
    lt_buf_printf(b, "],\"hf_layout\":\"%s\",\"trainable\":%s}",
                  t->layout == LT_HF_CONV1D ? "conv1d" : "linear", t->trainable ? "true" : "false");
}

static void add_digest(lt_buf *b)
{
    uint8_t digest[LT_SHA256_BYTES];
    char hex[LT_SHA256_HEX];
    lt_sha256 sha;

    lt_sha256_init(&sha);
    lt_sha256_update(&sha, b->data, b->size);
    lt_sha256_final(&sha, digest);
    lt_sha256_hex(digest, hex);
    lt_buf_printf(b, "\"sha256\":\"%s\"}\n", hex);
}

void lt_manifest_write(lt_buf *out, const lt_manifest_head *head, const char *const *parts,
                       size_t n_parts)
{
    bool any = false;

    lt_buf_printf(out, "{\"format\":\"lt-checkpoint\",\"version\":%d,\n", LT_MANIFEST_VERSION);
    quote(out, "writer", "lt " LT_VERSION);
    lt_buf_append(out, ",", 1);
    quote(out, "run_id", head->step->run_id);
    lt_buf_append(out, ",", 1);
    quote(out, "attempt", head->attempt);
    lt_buf_printf(out, ",\"time\":%" PRIu64 ",\n", (uint64_t)lt_wall_time());
    lt_buf_printf(out, "\"step\":%" PRIu64 ",\"samples\":%" PRIu64 ",\"tokens\":%" PRIu64 ",\n",
                  head->step->step, head->step->samples, head->step->tokens);
    lt_buf_printf(out, "\"world\":%" PRIu32 ",\"block_bytes\":%d,\n\"tensors\":[\n", head->world,
                  LT_CKPT_BLOCK);
    for (size_t i = 0; i < head->n_tensors; i++) {
        lt_buf_append(out, ",\n", i ? 2 : 0);
        add_tensor(out, &head->tensors[i]);
    }
    lt_buf_printf(out, "],\n\"files\":[\n");
    for (size_t i = 0; i < n_parts; i++) {
        if (parts[i][0] == '\0') /* a rank that wrote nothing */
            continue;
        lt_buf_append(out, ",\n", any ? 2 : 0);
        lt_buf_append(out, parts[i], strlen(parts[i]));
        any = true;
    }
    lt_buf_printf(out, "],\n");
    add_digest(out);
}
