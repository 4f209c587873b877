#include "daemon/access/paths.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"

/* The path with its links followed; of one that is not there yet, those of its nearest folder, and
 * the rest of the name. NULL when it cannot be told (a loop of links, or ".." in what is not
 * there). The caller frees. */
static char *follow(const char *path)
{
    REID_AUTOFREE char *head = reid_xstrdup(path);
    size_t length = strlen(head);
    for (;;) {
        char *real = realpath(*head ? head : "/", NULL);
        if (real) {
            const char *rest = path + length;
            REID_AUTOFREE char *slashed = reid_xasprintf("%s/", rest);
            char *whole = strstr(slashed, "/../") ? NULL : reid_xasprintf("%s%s", real, rest);
            free(real);
            return whole;
        }
        if (errno != ENOENT || length == 0)
            return NULL;
        struct stat info;
        if (lstat(head, &info) ==
            0) /* a link to what is not there: anything may come to be there */
            return NULL;
        char *slash = strrchr(head, '/');
        if (!slash)
            return NULL;
        *slash = '\0';
        length = (size_t)(slash - head);
    }
}

static bool is_within(const char *path, const char *root)
{
    size_t length = strlen(root);
    while (length > 0 && root[length - 1] == '/')
        length--;
    return strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* The next of the roots, or NULL; the caller frees. */
static char *next_root(const char **rest)
{
    if (!*rest)
        return NULL;
    size_t length = strcspn(*rest, ":");
    char *root = reid_xstrndup(*rest, length);
    *rest = (*rest)[length] ? *rest + length + 1 : NULL;
    return root;
}

reid_status reidd_paths_check_roots(const char *option, const char *roots, reid_error *err)
{
    const char *rest = roots;
    char *root;
    reid_status status = REID_OK;
    while (status == REID_OK && (root = next_root(&rest)) != NULL) {
        if (*root != '/')
            status =
                reid_fail(err, REID_ERR_INVALID,
                          "%s needs absolute folders with colons between, not '%s'", option, roots);
        free(root);
    }
    return status;
}

reid_status reidd_paths_check(const char *option, const char *roots, const char *what,
                              const char *path, reid_error *err)
{
    if (!roots)
        return REID_OK;
    REID_AUTOFREE char *real = follow(path);
    const char *rest = roots;
    char *root;
    bool found = false;
    while (real && !found && (root = next_root(&rest)) != NULL) {
        char *real_root = realpath(root, NULL);
        found = real_root && is_within(real, real_root);
        free(real_root);
        free(root);
    }
    if (found)
        return REID_OK;
    return reid_fail(err, REID_ERR_PERMISSION, "%s '%s' is outside of what reidd allows (%s %s)",
                     what, path, option, roots);
}

/* ---- what others may not touch ---- */

reid_status reidd_paths_check_trusted(const char *option, const char *folder, reid_error *err)
{
    struct stat info;
    if (stat(folder, &info) != 0)
        return errno == ENOENT ? REID_OK
                               : reid_fail_errno(err, errno, "cannot use %s '%s'", option, folder);
    if (!S_ISDIR(info.st_mode))
        return reid_fail(err, REID_ERR_INVALID, "%s '%s' is no folder", option, folder);
    if (info.st_uid != 0 && info.st_uid != geteuid())
        return reid_fail(err, REID_ERR_PERMISSION,
                         "%s '%s' belongs to uid %u, but must be root's or reidd's own", option,
                         folder, (unsigned)info.st_uid);
    if (info.st_mode & 022)
        return reid_fail(err, REID_ERR_PERMISSION,
                         "%s '%s' may be written by others than its owner (chmod go-w)", option,
                         folder);
    return REID_OK;
}
