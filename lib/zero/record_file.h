/* zero/record_file.h - a file of records without a name, each with its CRC-32C.
 *
 * The name PATH/lt-LABEL.PID is taken away as soon as the file is open, so a kill leaves nothing
 * behind.  The room is reserved when it is opened, and all records are zeros then.  Transfers are
 * LT_TIER_BLOCK aligned, records padded to it; O_DIRECT is used where the file system takes it.
 * Two threads may use two records at once, one record only in turn. */
#ifndef LT_ZERO_RECORD_FILE_H
#define LT_ZERO_RECORD_FILE_H

#include "zero/tier_parts.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lt_record_file {
    char *path; /* the name it had, for messages; NULL: not open */
    int fd;
    bool direct;
    int n_records;
    const size_t *bytes;    /* [n_records] borrowed from the tier */
    const uint64_t *offset; /* [n_records] borrowed */
    uint32_t *crc;          /* [n_records] of the record as it was written, without the padding */
} lt_record_file;

/* zeros: room for the largest record, aligned, full of zeros; they stay. */
LT_MUST_USE lt_err lt_record_file_open(lt_record_file *f, const lt_tier *t, const char *dir,
                                       char *zeros);
void lt_record_file_close(lt_record_file *f); /* a zeroed one is fine */

/* A record with its padding from or to aligned memory.  Damage is LT_EFORMAT. */
LT_MUST_USE lt_err lt_record_file_read(lt_record_file *f, int record, char *dst);
LT_MUST_USE lt_err lt_record_file_write(lt_record_file *f, int record, const char *src);

#ifdef __cplusplus
}
#endif
#endif
