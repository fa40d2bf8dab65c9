/* shard/shard_bytes.h - little-endian integers at any address, for the formats of this room. */
#ifndef LT_SHARD_BYTES_H
#define LT_SHARD_BYTES_H

#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "lt's files are little endian");

static inline uint16_t lt_get_u16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t lt_get_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t lt_get_u64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void lt_put_u16(void *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}

static inline void lt_put_u32(void *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
}

static inline void lt_put_u64(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}

#endif
