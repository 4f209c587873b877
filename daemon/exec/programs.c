#include "daemon/exec/programs.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"

static bool is_program(const char *path)
{
    return reid_path_is_file(path) && access(path, X_OK) == 0;
}

static char *beside_self(const char *name)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return NULL;
    self[n] = '\0';
    REID_AUTOFREE char *folder = reid_path_dir(self);
    return reid_path_join(folder, name);
}

static char *in_path(const char *name)
{
    const char *list = getenv("PATH");
    while (list && *list) {
        size_t length = strcspn(list, ":");
        REID_AUTOFREE char *folder = reid_xstrndup(list, length);
        char *path = reid_path_join(folder, name);
        if (length > 0 && *folder == '/' && is_program(path))
            return path;
        free(path);
        list += length + (list[length] == ':');
    }
    return NULL;
}

reid_status reidd_program_find(const char *name, char **ret_path, reid_error *err)
{
    char *path = beside_self(name);
    if (path && !is_program(path)) {
        free(path);
        path = NULL;
    }
    if (!path)
        path = in_path(name);
    if (!path)
        return reid_fail(err, REID_ERR_NOT_FOUND,
                         "there is no program '%s', neither beside reidd "
                         "nor in PATH",
                         name);
    *ret_path = path;
    return REID_OK;
}
