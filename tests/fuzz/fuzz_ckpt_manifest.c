/* Any bytes as a MANIFEST, with the digest set right so that the parser behind it is reached.  What
 * is accepted must cover every tensor of the weights exactly once.  Also the added tokens of a
 * tokenizer.json, which the export reads. */
#include "base/hash.h"
#include "ckpt/hf_export_files.h"
#include "ckpt/manifest.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const lt_manifest *m)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        size_t n;
        const lt_manifest_piece *p = lt_manifest_pieces(m, LT_CKPT_WEIGHTS, (uint32_t)i, &n);
        uint64_t at = 0;

        LT_BUG_ON(lt_manifest_tensor(m, m->tensors[i].name) != (int64_t)i);
        for (size_t k = 0; k < n; k++) {
            const lt_manifest_file *f = &m->files[p[k].file];

            LT_BUG_ON(p[k].slice.first != at || p[k].slice.offset > f->size);
            LT_BUG_ON(f->n_blocks != f->size / LT_CKPT_BLOCK + (f->size % LT_CKPT_BLOCK != 0));
            at += p[k].slice.count;
        }
        LT_BUG_ON(at != lt_ckpt_tensor_count(&m->tensors[i]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t digest[LT_SHA256_BYTES];
    char hex[LT_SHA256_HEX], token[32];
    const char tail[] = "\"sha256\":\"";
    lt_manifest *m = NULL;
    lt_buf text = { 0 };
    lt_sha256 sha;

    if (size > 77 && memcmp(data + size - 77, tail, sizeof tail - 1) == 0)
        size -= 77; /* a whole MANIFEST of the corpus: its digest is made anew */
    lt_sha256_init(&sha);
    lt_sha256_update(&sha, data, size);
    lt_sha256_final(&sha, digest);
    lt_sha256_hex(digest, hex);
    lt_buf_append(&text, data, size);
    lt_buf_printf(&text, "%s%s\"}\n", tail, hex);
    if (lt_manifest_parse(&m, text.data, text.size, "fuzz") == LT_OK)
        check(m);
    lt_manifest_free(m);
    lt_buf_release(&text);
    (void)!lt_hf_added_token((const char *)data, size, "fuzz", 7, token, sizeof token);
    return 0;
}
