/* fuzz_token_stream.c - the token stream reader.  An odd first byte means: the checksums of header,
 * tokenizer and blocks are made right first, so that what they protect is reached. */
#include "base/hash.h"
#include "shard/shard_bytes.h"
#include "shard/token_stream.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t sum(const uint8_t *p, uint64_t n, uint64_t seed)
{
    return (uint32_t)lt_xxh64(p, (size_t)n, seed);
}

static void mend(uint8_t *p, size_t size)
{
    uint64_t at = 64, block = 0, packed;

    if (size < 64)
        return;
    packed = lt_get_u32(p + 20);
    if (packed <= size - at) {
        lt_put_u32(p + 56, sum(p + at, packed, 0));
        at += packed;
    }
    lt_put_u32(p + 60, sum(p, 60, 0));
    while (at + 12 <= size) {
        uint32_t n = lt_get_u32(p + at), ends = lt_get_u32(p + at + 4);
        uint64_t body = n == UINT32_MAX ? 24 : 8 + 4 * (uint64_t)ends + (uint64_t)n * p[6];

        if (body > size - at || size - at - body < 4)
            return;
        lt_put_u32(p + at + body, sum(p + at, body, block++));
        at += body + 4;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    lt_token_reader *r;
    uint8_t *copy;

    if (size < 1)
        return 0;
    if (fd < 0)
        fd = memfd_create("stream", MFD_CLOEXEC);
    copy = malloc(size);
    memcpy(copy, data + 1, size - 1);
    if (data[0] & 1)
        mend(copy, size - 1);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, copy, size - 1, 0) < 0)
        abort();
    free(copy);
    lseek(fd, 0, SEEK_SET);
    if (lt_token_reader_open(&r, fd, "fuzz") != LT_OK)
        return 0;
    for (;;) {
        const uint32_t *ids;
        bool document_end, end;
        size_t n;

        if (lt_token_reader_next(r, &ids, &n, &document_end, &end) != LT_OK || end)
            break;
        for (size_t i = 0; i < n; i++)
            if (ids[i] >= lt_token_reader_info(r)->vocab_size)
                abort();
        if (n == 0)
            abort();
    }
    lt_token_reader_close(r);
    return 0;
}
