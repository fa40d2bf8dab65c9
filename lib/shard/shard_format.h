/* shard/shard_format.h - the fixed parts of an LTS shard as bytes (spec: lib/shard/FORMAT.md).
 *
 * Plain data and its encoding; opens nothing and owns nothing.  Decoders get exactly the bytes of
 * their part and believe nothing in it before its checksum agrees. */
#ifndef LT_SHARD_SHARD_FORMAT_H
#define LT_SHARD_SHARD_FORMAT_H

#include "base/hash.h"
#include "base/mem.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    LT_SHARD_MAGIC_HEAD = 0x184D2A50,
    LT_SHARD_MAGIC_DOCS = 0x184D2A51,
    LT_SHARD_MAGIC_FIDX = 0x184D2A52,
    LT_SHARD_MAGIC_FOOT = 0x184D2A53,
    LT_SHARD_MAGIC_SEEK = 0x184D2A5E,
};
#define LT_SHARD_SEEK_END 0x8F92EAB1u /* last four bytes of a zstd seek table */

enum {
    LT_SHARD_SKIP_BYTES = 8,   /* header of a skippable frame: magic, payload size */
    LT_SHARD_HEAD_BYTES = 320, /* HEAD as this version writes it; 264 of it are fixed */
    LT_SHARD_HEAD_FIXED = 264,
    LT_SHARD_HEAD_MAX = 64 << 20, /* with the TLVs of later versions */
    LT_SHARD_FOOT_BYTES = 200,
    LT_SHARD_FIDX_ROW = 28,
    LT_SHARD_SEEK_ROW = 12,
    LT_SHARD_SEEK_TAIL = 9, /* n_entries, descriptor, magic */
    LT_SHARD_ALIGN = 64,    /* of the arrays in DOCS and FIDX */
    LT_SHARD_MIN_LOG2 = 6,
    LT_SHARD_MAX_LOG2 = 16,
    LT_SHARD_DEFAULT_LOG2 = 14,
};
#define LT_SHARD_MAX_TOKENS (UINT64_C(1) << 31)
#define LT_SHARD_MAX_DOCS   (UINT64_C(1) << 30) /* DOCS stays below 4 GiB */

typedef enum lt_shard_layout { LT_LAYOUT_U16, LT_LAYOUT_U32, LT_LAYOUT_PLANES } lt_shard_layout;
typedef enum lt_shard_codec { LT_CODEC_RAW, LT_CODEC_ZSTD } lt_shard_codec;
enum {
    LT_SHARD_FREQ_RANK = 1 << 0, /* ids are renumbered by frequency: reserved, refused */
    LT_SHARD_HAS_DOCS = 1 << 1,
    LT_SHARD_EOT_INCLUDED = 1 << 2,
    LT_SHARD_BOS_INCLUDED = 1 << 3,
    LT_SHARD_LAST = 1 << 4, /* of its split */
};

typedef struct lt_shard_head {
    uint8_t layout, codec;
    uint16_t flags;
    uint32_t frame_log2;                         /* tokens per frame */
    uint32_t vocab_size, eot_id, bos_id, pad_id; /* LT_NO_TOKEN = none */
    uint8_t tokenizer_hash[32];
    uint8_t source_hash[32]; /* zero: unknown */
    uint64_t seed;           /* of the split */
    char tool[32];           /* the program that wrote it, NUL-padded */
} lt_shard_head;

typedef struct lt_shard_foot {
    uint64_t n_tokens, n_docs, n_frames;
    uint64_t docs_offset, fidx_offset;        /* of the skippable frames */
    uint64_t head_hash, docs_hash, fidx_hash; /* XXH64 of the skippable frames, headers included */
    uint8_t root[32];                         /* identity of the content */
} lt_shard_foot;

/* One row of FIDX. */
typedef struct lt_shard_frame {
    uint64_t offset;       /* in the file */
    uint32_t stored_bytes; /* the zstd frame */
    uint32_t raw_bytes;    /* what it decodes to */
    uint32_t raw_sum;      /* low 32 bits of XXH64 of what it decodes to */
    uint32_t stored_sum;   /* the same of the zstd frame itself */
    uint32_t first_token;
} lt_shard_frame;

static inline int lt_shard_id_bytes(const lt_shard_head *h)
{
    return h->layout == LT_LAYOUT_U16 ? 2 : 4;
}
static inline const char *lt_shard_dtype_name(const lt_shard_head *h)
{
    return h->layout == LT_LAYOUT_U16 ? "u16" : "u32";
}

void lt_shard_head_encode(const lt_shard_head *h, uint8_t out[LT_SHARD_HEAD_BYTES]);
LT_MUST_USE lt_err lt_shard_head_decode(lt_shard_head *h, const uint8_t in[LT_SHARD_HEAD_FIXED],
                                        const char *path);
LT_MUST_USE lt_err lt_shard_foot_decode(lt_shard_foot *f, const uint8_t in[LT_SHARD_FOOT_BYTES],
                                        const char *path);
lt_shard_frame lt_shard_frame_decode(const uint8_t in[LT_SHARD_FIDX_ROW]);

/* Everything behind the frames, appended to *out: DOCS, FIDX, FOOT, SEEK.  In foot the counts, the
 * docs_offset (= end of the frames) and head_hash are given; the rest is computed into it.
 * first_doc[n_frames + 1], end_off[n_docs] as FORMAT.md describes. */
void lt_shard_trailer_encode(lt_buf *out, const lt_shard_head *head, lt_shard_foot *foot,
                             const lt_shard_frame *frames, const uint32_t *first_doc,
                             const uint16_t *end_off);

/* Appends the zstd seek table over HEAD, the frames, DOCS, FIDX and FOOT. */
void lt_shard_seek_encode(lt_buf *out, uint64_t head_bytes, const lt_shard_foot *foot,
                          const lt_shard_frame *frames);

/* foot->root from the parts that make the content. */
void lt_shard_root(lt_shard_foot *foot, const lt_shard_head *head, const lt_shard_frame *frames,
                   const void *docs_arrays, size_t docs_bytes);

#ifdef __cplusplus
}
#endif
#endif
