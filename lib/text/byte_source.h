/* text/byte_source.h - the bytes of one input: a file or stdin, plain, gzip or zstd.
 *
 * Compression is recognised by its first bytes (neither magic is valid UTF-8), so stdin works too.
 * Read as a stream: memory is bounded whatever the file inflates to. */
#ifndef LT_TEXT_BYTE_SOURCE_H
#define LT_TEXT_BYTE_SOURCE_H

#include "base/err.h"

typedef struct lt_byte_source lt_byte_source;

LT_MUST_USE lt_err lt_byte_source_open(lt_byte_source **out, const char *path); /* "-": stdin */

/* Fills dst; fewer than n bytes only at the end of the input. */
LT_MUST_USE lt_err lt_byte_source_read(lt_byte_source *s, void *dst, size_t n, size_t *got);

uint64_t lt_byte_source_consumed(const lt_byte_source *s); /* bytes of the file so far */
void lt_byte_source_close(lt_byte_source *s);              /* NULL is fine */

#endif
