/* Any bytes as a safetensors file or as its index.  What is accepted must keep its promises: spans
 * inside the file, without hole or overlap, and found again by name. */
#include "ckpt/hf_model.h"
#include "ckpt/safetensors.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_file(const uint8_t *data, size_t size)
{
    lt_safetensors *s = NULL;
    uint64_t at;

    if (lt_safetensors_parse(&s, data, size, size, "fuzz") != LT_OK)
        return;
    at = lt_safetensors_count(s) > 0 ? lt_safetensors_at(s, 0)->begin : size;
    for (size_t i = 0; i < lt_safetensors_count(s); i++) {
        const lt_safetensor *t = lt_safetensors_at(s, i);

        LT_BUG_ON(t->begin != at || lt_safetensors_find(s, t->name) != t);
        at += t->bytes;
    }
    LT_BUG_ON(at != size);
    lt_safetensors_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lt_hf_index index = { 0 };

    check_file(data, size);
    if (lt_hf_index_parse(&index, (const char *)data, size, "fuzz") == LT_OK) {
        for (size_t i = 0; i < index.n_entries; i++)
            LT_BUG_ON(index.entries[i].file >= index.n_files);
        for (size_t i = 0; i < index.n_files; i++)
            LT_BUG_ON(strchr(index.files[i], '/'));
    }
    lt_hf_index_release(&index);
    return 0;
}
