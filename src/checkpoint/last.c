#include "checkpoint/last.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"
#include "checkpoint/manifest.h"

#define LAST_FILE "last_checkpoint"
#define LAST_LIMIT_BYTES 4096

reid_status reid_checkpoint_last_write(const char *output_dir, const char *name, reid_error *err)
{
    REID_AUTOFREE char *path = reid_path_join(output_dir, LAST_FILE);
    return reid_file_write_atomic(path, name, strlen(name), err);
}

reid_status reid_checkpoint_last_read(const char *output_dir, char **ret_name, reid_error *err)
{
    REID_AUTOFREE char *path = reid_path_join(output_dir, LAST_FILE);
    REID_AUTOFREE char *text = NULL;
    size_t size;
    REID_TRY(reid_file_read(path, LAST_LIMIT_BYTES, &text, &size, err));
    const char *name = reid_str_trim(text);
    if (strlen(text) != size && strlen(name) == 0)
        return reid_fail(err, REID_ERR_CORRUPT, "'%s' does not hold the name of a checkpoint",
                         path);
    if (!reid_manifest_is_file_name(name))
        return reid_fail(err, REID_ERR_CORRUPT, "'%s' does not hold the name of a checkpoint",
                         path);
    *ret_name = reid_xstrdup(name);
    return REID_OK;
}
