/* fuzz_shard.c - opening, verifying, reading and repairing a shard.  An odd first byte means:
 * header, index and footer checksums are made right first, so that what they protect is reached. */
#include "base/file.h"
#include "base/hash.h"
#include "shard/shard_bytes.h"
#include "shard/shard_verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_hash(uint8_t *p, size_t size, uint64_t from, uint64_t to, uint8_t *at)
{
    if (from <= to && to <= size)
        lt_put_u64(at, lt_xxh64(p + from, (size_t)(to - from), 0));
}

static void mend(uint8_t *p, size_t size)
{
    uint64_t seek, docs, fidx, rows;
    uint8_t *foot;

    if (size < 320 + 200 + 17)
        return;
    lt_put_u64(p + 256, lt_xxh64(p, 256, 0));
    seek = 17 + 12 * (uint64_t)lt_get_u32(p + size - 9);
    if (seek > size - 200)
        return;
    foot = p + size - seek - 200;
    docs = lt_get_u64(foot + 48);
    fidx = lt_get_u64(foot + 56);
    rows = lt_get_u64(foot + 32);
    put_hash(p, size, 0, 8 + (uint64_t)lt_get_u32(p + 4), foot + 64);
    put_hash(p, size, docs, fidx, foot + 72);
    if (fidx < size && rows < size)
        put_hash(p, size, fidx, LT_ALIGN_UP(fidx + 8, 64) + 28 * rows, foot + 80);
    lt_put_u64(foot + 192, lt_xxh64(foot, 192, 0));
}

static void use(lt_shard_reader *r)
{
    const lt_shard_info *s = lt_shard_reader_info(r);
    uint64_t n = s->foot.n_tokens, ordinal, first, count;
    uint32_t ids[256];

    for (uint64_t at = 0; at < n && at < 100000; at += 97) {
        size_t take = n - at < 256 ? (size_t)(n - at) : 256;
        uint64_t end = lt_shard_reader_next_end(r, at, &ordinal);

        if (lt_shard_reader_read(r, at, ids, take) != LT_OK)
            break;
        for (size_t i = 0; i < take; i++)
            if (ids[i] >= s->head.vocab_size)
                abort();
        if (end < at || end > n || ordinal > s->foot.n_docs)
            abort();
        if (ordinal < s->foot.n_docs) {
            lt_shard_reader_document(r, ordinal, &first, &count);
            if (first > at || first + count > n || count == 0)
                abort();
        }
    }
    if (lt_shard_verify(r) == LT_OK && s->file_bytes == 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char to[64];
    char path[64];
    lt_shard_repair report;
    lt_shard_reader *r;
    uint8_t *copy;

    if (size < 1)
        return 0;
    if (fd < 0) {
        fd = memfd_create("shard", MFD_CLOEXEC);
        snprintf(to, sizeof to, "/dev/shm/lt-fuzz-shard.%d", (int)getpid());
    }
    copy = malloc(size);
    memcpy(copy, data + 1, size - 1);
    if (data[0] & 1)
        mend(copy, size - 1);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, copy, size - 1, 0) < 0)
        abort();
    free(copy);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (lt_shard_reader_open(&r, path) == LT_OK) {
        use(r);
        lt_shard_reader_close(r);
    }
    if (data[0] & 2) { /* what is repaired must be sound */
        if (lt_shard_repair_file(path, to, &report) != LT_OK)
            return 0;
        if (lt_shard_reader_open(&r, to) != LT_OK || lt_shard_verify(r) != LT_OK)
            abort();
        lt_shard_reader_close(r);
        unlink(to);
    }
    return 0;
}
