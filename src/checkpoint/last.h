/* OUTPUT_DIR/last_checkpoint: one line, the name of a checkpoint. */
#ifndef REID_CHECKPOINT_LAST_H
#define REID_CHECKPOINT_LAST_H

#include "base/status.h"

reid_status reid_checkpoint_last_write(const char *output_dir, const char *name, reid_error *err);
/* NOT_FOUND: no such file; CORRUPT: it holds no name. Caller frees. */
reid_status reid_checkpoint_last_read(const char *output_dir, char **ret_name, reid_error *err);

#endif
