/* An append-only file of records: u32 length, u32 crc32c of the bytes (both little endian), the
 * bytes.
 *
 * One process appends, others may read at the same time. A record is complete once its bytes match
 * its checksum; a torn tail (the writer died in the middle) reads as the end of the file and is cut
 * off by the next writer. What a process has appended survives its death, not the machine's.
 * Objects belong to one thread at a time.
 */
#ifndef REID_BASE_RECORDFILE_H
#define REID_BASE_RECORDFILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct reid_record_file reid_record_file;

#define REID_RECORD_LIMIT_BYTES (1u << 20) /* longer records are refused */

/* Opens for appending, creating the file when absent and cutting off a torn tail. */
reid_status reid_record_file_append_open(const char *path, reid_record_file **ret_file,
                                         reid_error *err);
/* After a failure (a full disk) the file is as before, and a later call may succeed. */
reid_status reid_record_file_append(reid_record_file *file, const void *data, size_t size,
                                    reid_error *err);

/* Opens for reading, from the first record on. NOT_FOUND when the file does not exist. */
reid_status reid_record_file_read_open(const char *path, reid_record_file **ret_file,
                                       reid_error *err);
/* The next record, valid until the next call; *ret_data is NULL at the end (more may come later).
 */
reid_status reid_record_file_next(reid_record_file *file, const uint8_t **ret_data,
                                  size_t *ret_size, reid_error *err);
void reid_record_file_rewind(reid_record_file *file);

void reid_record_file_free(reid_record_file *file);

#endif
