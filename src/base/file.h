/* Files and paths. Every descriptor is close-on-exec. Thread-safe. */
#ifndef REID_BASE_FILE_H
#define REID_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Whole file as bytes, NUL-terminated beyond *ret_size (caller frees). Refuses more than
 * `limit_bytes` (EXHAUSTED). */
reid_status reid_file_read(const char *path, size_t limit_bytes, char **ret_data, size_t *ret_size,
                           reid_error *err);

/* The same of a file in somebody else's folder: a link (as the last part), a pipe or a device is
 * CORRUPT or fails, and keeps nobody waiting. */
reid_status reid_file_read_foreign(const char *path, size_t limit_bytes, char **ret_data,
                                   size_t *ret_size, reid_error *err);

/* temp file in the same folder → write → fsync → rename → fsync of the folder. */
reid_status reid_file_write_atomic(const char *path, const void *data, size_t size,
                                   reid_error *err);

reid_status reid_make_dirs(const char *path, unsigned mode, reid_error *err); /* mkdir -p */
reid_status reid_remove_tree(const char *path,
                             reid_error *err); /* rm -r; no follow of links; absent is OK */
bool reid_path_exists(const char *path);
bool reid_path_is_dir(const char *path);
bool reid_path_is_file(const char *path);
char *reid_path_join(const char *folder,
                     const char *name); /* an absolute name wins; caller frees */
char *
reid_path_absolute(const char *path); /* against the working folder, `~` expanded; caller frees */
const char *reid_path_base(const char *path); /* after the last '/' */
char *reid_path_dir(const char *path);        /* before the last '/', "." if none; caller frees */
reid_status reid_fsync_dir(const char *path, reid_error *err);
/* Writes all bytes to a blocking descriptor, resuming after EINTR. */
reid_status reid_write_all(int fd, const void *data, size_t size, const char *name,
                           reid_error *err);

typedef struct reid_dir_entry {
    char *name;
    bool is_dir;
} reid_dir_entry;
/* Sorted by name (bytewise), without "." and "..". Free with reid_dir_free. */
reid_status reid_dir_list(const char *path, reid_dir_entry **ret_entries, size_t *ret_count,
                          reid_error *err);
void reid_dir_free(reid_dir_entry *entries, size_t count);

#endif
