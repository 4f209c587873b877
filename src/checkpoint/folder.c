#include "checkpoint/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "checkpoint/checkpoint.h"

char *reid_folder_name(const char *prefix, const char *checkpoint)
{
    return reid_xasprintf("%s%s-%ld", prefix, checkpoint, (long)getpid());
}

reid_status reid_folder_make(const char *path, int *ret_fd, reid_error *err)
{
    REID_TRY(reid_remove_tree(path, err));
    if (mkdir(path, 0777) != 0)
        return reid_fail_errno(err, errno, "cannot make the folder '%s'", path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot open the folder '%s'", path);
    /* Where folders cannot be locked (some network file systems), the process id in the name
     * speaks. */
    flock(fd, LOCK_EX | LOCK_NB);
    *ret_fd = fd;
    return REID_OK;
}

/* Splits ".tmp-NAME-PID". Returns NAME (caller frees), or NULL when it is no such name. */
static char *split_name(const char *entry, const char *prefix, int64_t *ret_pid)
{
    const char *dash = strrchr(entry, '-');
    if (!reid_str_starts(entry, prefix) || dash < entry + strlen(prefix) + 1 ||
        reid_parse_int64(dash + 1, ret_pid) != REID_OK || *ret_pid <= 0)
        return NULL;
    const char *name = entry + strlen(prefix);
    return reid_xstrndup(name, (size_t)(dash - name));
}

/* Is a living process writing this folder? */
static bool in_use(const char *path, int64_t pid)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    int failed = flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    close(fd);
    if (failed == 0)
        return false;
    return failed == EWOULDBLOCK || pid == (int64_t)getpid() || kill((pid_t)pid, 0) == 0 ||
           errno == EPERM;
}

static bool is_complete(const char *path)
{
    reid_checkpoint *checkpoint;
    if (reid_checkpoint_open(path, false, &checkpoint, NULL) != REID_OK)
        return false;
    reid_checkpoint_free(checkpoint);
    return true;
}

static void put_back(const char *output_dir, const char *entry, const char *name, int64_t pid)
{
    REID_AUTOFREE char *old = reid_path_join(output_dir, entry);
    REID_AUTOFREE char *place = reid_path_join(output_dir, name);
    REID_AUTOFREE char *successor_name =
        reid_xasprintf(REID_FOLDER_NEW "%s-%lld", name, (long long)pid);
    REID_AUTOFREE char *successor = reid_path_join(output_dir, successor_name);
    if (reid_path_exists(place) || in_use(successor, pid) || !is_complete(old))
        return;
    if (rename(old, place) != 0)
        reid_log_warn("checkpoint cannot put '%s' back as '%s': %s", old, place, strerror(errno));
    else
        reid_log_warn(
            "checkpoint recovered '%s', which was being replaced when its writer was killed",
            place);
}

static void remove_stale(const char *output_dir, const char *entry, int64_t pid)
{
    REID_AUTOFREE char *path = reid_path_join(output_dir, entry);
    reid_error err = {0};
    if (in_use(path, pid))
        return;
    if (reid_remove_tree(path, &err) != REID_OK)
        reid_log_warn("checkpoint cannot clean up: %s", err.text);
}

void reid_folder_recover(const char *output_dir)
{
    reid_dir_entry *entries = NULL;
    size_t count = 0;
    if (reid_dir_list(output_dir, &entries, &count, NULL) != REID_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        int64_t pid;
        REID_AUTOFREE char *name = split_name(entries[i].name, REID_FOLDER_OLD, &pid);
        if (name && entries[i].is_dir)
            put_back(output_dir, entries[i].name, name, pid);
    }
    reid_dir_free(entries, count);
}

void reid_folder_clean(const char *output_dir)
{
    reid_dir_entry *entries = NULL;
    size_t count = 0;
    if (reid_dir_list(output_dir, &entries, &count, NULL) != REID_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        int64_t pid;
        REID_AUTOFREE char *unfinished = split_name(entries[i].name, REID_FOLDER_NEW, &pid);
        REID_AUTOFREE char *replaced = split_name(entries[i].name, REID_FOLDER_OLD, &pid);
        if ((unfinished || replaced) && entries[i].is_dir)
            remove_stale(output_dir, entries[i].name, pid);
    }
    reid_dir_free(entries, count);
}
