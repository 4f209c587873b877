/* Folders beside the checkpoints that exist only while one is written: .tmp-NAME-PID and
 * .old-NAME-PID. */
#ifndef REID_CHECKPOINT_FOLDER_H
#define REID_CHECKPOINT_FOLDER_H

#include <stdbool.h>

#include "base/status.h"

#define REID_FOLDER_NEW ".tmp-"
#define REID_FOLDER_OLD ".old-"

/* ".tmp-model_0009-123" of this process (caller frees). */
char *reid_folder_name(const char *prefix, const char *checkpoint);
/* Makes an empty folder and takes the lock that tells others it is in use, until the descriptor is
 * closed. */
reid_status reid_folder_make(const char *path, int *ret_fd, reid_error *err);
/* Puts a replaced checkpoint back whose successor did not come: the writer was killed between two
 * renames. Failures are logged. */
void reid_folder_recover(const char *output_dir);
/* Removes what killed writers left. Failures are logged. */
void reid_folder_clean(const char *output_dir);

#endif
