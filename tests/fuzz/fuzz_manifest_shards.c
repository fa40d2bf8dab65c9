/* fuzz_manifest_shards.c - the manifest of a split.  An odd first byte means: the id line is made
 * right first.  What parses must come out of the formatter as it went in. */
#include "shard/shard_manifest.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void mend(char *text, size_t n)
{
    enum { TAIL = 3 + 64 + 1 };
    uint8_t digest[32];
    char hex[LT_SHA256_HEX];
    lt_sha256 s;

    if (n < TAIL)
        return;
    lt_sha256_init(&s);
    lt_sha256_update(&s, text, n - TAIL);
    lt_sha256_final(&s, digest);
    lt_sha256_hex(digest, hex);
    memcpy(text + n - TAIL, "id ", 3);
    memcpy(text + n - 65, hex, 64);
    text[n - 1] = '\n';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lt_shard_manifest m;
    lt_buf again = { 0 };
    char *text;

    if (size < 1)
        return 0;
    text = malloc(size);
    memcpy(text, data + 1, size - 1);
    if (data[0] & 1)
        mend(text, size - 1);
    if (lt_shard_manifest_parse(&m, text, size - 1, "fuzz") == LT_OK) {
        lt_shard_manifest_format(&m, &again);
        if (again.size != size - 1 || memcmp(again.data, text, size - 1) != 0)
            abort();
        lt_buf_release(&again);
        lt_shard_manifest_release(&m);
    }
    free(text);
    return 0;
}
