/* shard/shard_reader_parts.h - the inside of a shard reader; for shard_open.c and shard_reader.c.
 *
 * The file is mapped, so its bytes may change under us after they were checked.  What was checked
 * at opening keeps answers honest; every offset is checked again where it is used, and a file that
 * is cut raises SIGBUS (shard_guard.h). */
#ifndef LT_SHARD_SHARD_READER_PARTS_H
#define LT_SHARD_SHARD_READER_PARTS_H

#include "base/file.h"
#include "shard/shard_bytes.h"
#include "shard/shard_guard.h"
#include "shard/shard_reader.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Where one frame at a time is decoded. */
typedef struct lt_shard_desk {
    struct ZSTD_DCtx_s *dctx;
    const lt_shard_reader *reader; /* whose frame lies on it; NULL: none */
    uint64_t frame;
    uint8_t *raw; /* one frame of any shard, ids as stored */
    lt_shard_work work;
} lt_shard_desk;

struct lt_shard_reader {
    lt_file file; /* closed once it is mapped */
    char *path;
    lt_shard_guard *guard;
    const uint8_t *map; /* [info.file_bytes] */
    lt_shard_info info;
    const uint8_t *first_doc; /* u32[n_frames + 1], inside map */
    const uint8_t *end_off;   /* u16[n_docs] */
    const uint8_t *rows;      /* LT_SHARD_FIDX_ROW[n_frames] */
    lt_shard_desk *desk;      /* NULL before the first decoding */
    bool shares;              /* the desk is another reader's */
};

/* Tokens of this frame. */
static inline uint64_t lt_shard_frame_tokens(const lt_shard_reader *r, uint64_t frame)
{
    uint64_t size = UINT64_C(1) << r->info.head.frame_log2;
    uint64_t left = r->info.foot.n_tokens - frame * size;

    return left < size ? left : size;
}

/* Documents that end before this frame. */
static inline uint32_t lt_shard_first_doc(const lt_shard_reader *r, uint64_t frame)
{
    uint32_t d = lt_get_u32(r->first_doc + 4 * frame);

    return d < r->info.foot.n_docs ? d : (uint32_t)r->info.foot.n_docs;
}

static inline uint32_t lt_shard_end_offset(const lt_shard_reader *r, uint64_t document)
{
    return lt_get_u16(r->end_off + 2 * document);
}

/* "FILE: frame N at byte N WHY" */
lt_err lt_shard_fail_frame(const lt_shard_reader *r, uint64_t frame, uint64_t offset,
                           const char *why);

#ifdef __cplusplus
}
#endif
#endif
