#include "daemon/exec/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

#define TABLE_BYTES (1u << 20)
#define NOTE_BYTES 4096
#define SWEEP_TRIES 200 /* of 10 ms */
#define EMPTY_S 60

/* ---- files of the kernel ---- */

static reid_status put(const char *group, const char *name, const char *text, reid_error *err)
{
    REID_AUTOFREE char *path = reid_path_join(group, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return reid_fail_errno(err, errno, "cannot open '%s'", path);
    reid_status status = reid_write_all(fd, text, strlen(text), path, err);
    close(fd);
    return status;
}

/* The nth (from 0) word of a line; its length in *ret_length. */
static const char *word(const char *line, int n, int *ret_length)
{
    for (; n > 0 && *line && *line != '\n'; n--) {
        line += strcspn(line, " \n");
        line += *line == ' ';
    }
    *ret_length = (int)strcspn(line, " \n");
    return line;
}

/* "29 23 0:26 /root /sys/fs/cgroup rw,… shared:4 - cgroup2 cgroup2 rw": false for others. */
static bool read_mount(const char *line, char **ret_root, char **ret_place)
{
    static const char kind[] = " - cgroup2 ";
    const char *found = strstr(line, kind), *end = line + strcspn(line, "\n");
    int root_length = 0, place_length = 0;
    if (!found || found > end)
        return false;
    const char *root = word(line, 3, &root_length), *place = word(line, 4, &place_length);
    *ret_root = reid_xstrndup(root, (size_t)root_length);
    *ret_place = reid_xstrndup(place, (size_t)place_length);
    return true;
}

/* A group's folder: its name without the part that is above the mount. */
static char *place_of(const char *group, const char *mounted, const char *place)
{
    size_t above = strcmp(mounted, "/") == 0 ? 0 : strlen(mounted);
    if (strncmp(group, mounted, above) != 0 || (group[above] && group[above] != '/'))
        return NULL;
    const char *below = group + above;
    return reid_xasprintf("%s%s", place, strcmp(below, "/") == 0 ? "" : below);
}

char *reidd_confine_find_own(const char *root)
{
    REID_AUTOFREE char *groups_path = reid_xasprintf("%s/proc/self/cgroup", root);
    REID_AUTOFREE char *mounts_path = reid_xasprintf("%s/proc/self/mountinfo", root);
    REID_AUTOFREE char *groups = NULL, *mounts = NULL;
    size_t size = 0;
    if (reid_file_read(groups_path, TABLE_BYTES, &groups, &size, NULL) != REID_OK ||
        reid_file_read(mounts_path, TABLE_BYTES, &mounts, &size, NULL) != REID_OK)
        return NULL;
    const char *own = reid_str_starts(groups, "0::/") ? groups : strstr(groups, "\n0::/");
    if (!own)
        return NULL;
    own = strchr(own, '/');
    REID_AUTOFREE char *group = reid_xstrndup(own, strcspn(own, "\n"));
    char *found = NULL;
    for (const char *line = mounts; *line && !found; line += strcspn(line, "\n"), line += !!*line) {
        char *mounted = NULL, *place = NULL;
        if (!read_mount(line, &mounted, &place))
            continue;
        found = place_of(group, mounted, place);
        free(mounted);
        free(place);
    }
    return found;
}

/* ---- the daemon's own ---- */

/* A process of its own goes there, as a shim would. */
static reid_status try_join(const char *group, reid_error *err)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(reidd_confine_join(group, NULL) == REID_OK ? 0 : 1);
    if (pid < 0)
        return reid_fail_errno(err, errno, "cannot start a process");
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (status != 0)
        return reid_fail(err, REID_ERR_PERMISSION, "no process can be put into '%s'", group);
    return REID_OK;
}

/* Again and again for some time: the dead need a moment to go. */
static bool end_patiently(const char *group)
{
    for (int tries = 0; tries < SWEEP_TRIES; tries++) {
        if (reidd_confine_end(group))
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return false;
}

static reid_status try_out(const reidd_confine *confine, reid_error *err)
{
    REID_AUTOFREE char *group = reid_xasprintf("%s/%s.try", confine->own, confine->prefix);
    if (mkdir(group, 0755) != 0 && errno != EEXIST)
        return reid_fail_errno(err, errno, "'%s' cannot be made", group);
    reid_status status = try_join(group, err);
    end_patiently(group);
    return status;
}

void reidd_confine_init(reidd_confine *confine, const char *state_dir)
{
    static const char otherwise[] = "process groups and parents' deaths hold jobs together, since";
    struct stat info;
    reid_error err = {0};
    *confine = (reidd_confine){.own = reidd_confine_find_own("")};
    if (!confine->own || stat(state_dir, &info) != 0) {
        confine->why =
            reid_xasprintf("%s there are no control groups of version 2 here", otherwise);
        free(confine->own);
        confine->own = NULL;
        return;
    }
    confine->prefix = reid_xasprintf("reidd-%llx-%llx", (unsigned long long)info.st_dev,
                                     (unsigned long long)info.st_ino);
    if (try_out(confine, &err) == REID_OK) {
        confine->why =
            reid_xasprintf("each job has a control group of its own in '%s'", confine->own);
        return;
    }
    confine->why = reid_xasprintf("%s %s", otherwise, err.text);
    free(confine->own);
    confine->own = NULL;
}

void reidd_confine_fini(reidd_confine *confine)
{
    free(confine->own);
    free(confine->prefix);
    free(confine->why);
    *confine = (reidd_confine){0};
}

/* Another daemon's, which was killed and never came back: its jobs have ended since, and what is
 * left is a name. A group that was made just now waits for its shim. */
static void remove_empty(const char *group)
{
    struct stat info;
    if (stat(group, &info) == 0 && time(NULL) - info.st_mtime > EMPTY_S)
        rmdir(group); /* fails when somebody is in there */
}

void reidd_confine_sweep(const reidd_confine *confine,
                         bool (*is_known)(const char *job, int attempt, void *user), void *user)
{
    reid_dir_entry *list = NULL;
    size_t count = 0;
    if (!confine->own || reid_dir_list(confine->own, &list, &count, NULL) != REID_OK)
        return;
    size_t length = strlen(confine->prefix);
    for (size_t i = 0; i < count; i++) {
        const char *name = list[i].name;
        if (!list[i].is_dir || !reid_str_starts(name, "reidd-"))
            continue;
        REID_AUTOFREE char *group = reid_path_join(confine->own, name);
        if (strncmp(name, confine->prefix, length) != 0 || name[length] != '.') {
            remove_empty(group);
            continue;
        }
        int64_t attempt = 0;
        const char *job = name + length + 1, *dot = strrchr(job, '.');
        REID_AUTOFREE char *id = reid_xstrndup(job, dot ? (size_t)(dot - job) : strlen(job));
        if (dot && reid_parse_int64(dot + 1, &attempt) == REID_OK &&
            is_known(id, (int)attempt, user))
            continue;
        reid_log_warn("daemon ends what a former one has left group=%s", group);
        if (!end_patiently(group))
            reid_log_error("daemon processes that cannot be killed are left group=%s", group);
    }
    reid_dir_free(list, count);
}

char *reidd_confine_path(const reidd_confine *confine, const char *job, int attempt)
{
    if (!confine || !confine->own)
        return NULL;
    return reid_xasprintf("%s/%s.%s.%d", confine->own, confine->prefix, job, attempt);
}

/* ---- an attempt's ---- */

static char *note_of(const char *folder)
{
    return reid_xasprintf("%s.cgroup", folder);
}

/* The note first: a group that nobody knows of would be nobody's. */
reid_status reidd_confine_make(const char *folder, const char *group, reid_error *err)
{
    REID_AUTOFREE char *note = note_of(folder);
    REID_TRY(reid_file_write_atomic(note, group, strlen(group), err));
    if ((mkdir(group, 0755) == 0 || errno == EEXIST) && chmod(group, 0755) == 0)
        return REID_OK;
    reid_status status = reid_fail_errno(err, errno, "cannot make the control group '%s'", group);
    unlink(note);
    return status;
}

char *reidd_confine_read(const char *folder)
{
    REID_AUTOFREE char *note = note_of(folder);
    char *group = NULL;
    size_t size = 0;
    if (reid_file_read_foreign(note, NOTE_BYTES, &group, &size, NULL) != REID_OK)
        return NULL;
    if (*group == '/' && !strstr(group, "/../") && reid_str_starts(reid_path_base(group), "reidd-"))
        return group;
    free(group);
    return NULL;
}

void reidd_confine_forget(const char *folder)
{
    REID_AUTOFREE char *note = note_of(folder);
    unlink(note);
}

/* Where the kernel has no cgroup.kill (before Linux 5.14): frozen ones cannot fork meanwhile. */
static void kill_each(const char *group)
{
    REID_AUTOFREE char *path = reid_path_join(group, "cgroup.procs");
    REID_AUTOFREE char *text = NULL;
    size_t size = 0;
    put(group, "cgroup.freeze", "1", NULL);
    if (reid_file_read(path, TABLE_BYTES, &text, &size, NULL) != REID_OK)
        return;
    for (char *line = text; *line; line += strcspn(line, "\n"), line += !!*line) {
        long pid = strtol(line, NULL, 10);
        if (pid > 1 && pid != getpid())
            kill((pid_t)pid, SIGKILL);
    }
}

/* Groups within are of a job that runs as the daemon's own user. */
static void end_inner(const char *group)
{
    reid_dir_entry *list = NULL;
    size_t count = 0;
    if (reid_dir_list(group, &list, &count, NULL) != REID_OK)
        return;
    for (size_t i = 0; i < count; i++) {
        REID_AUTOFREE char *inner = reid_path_join(group, list[i].name);
        if (list[i].is_dir)
            reidd_confine_end(inner);
    }
    reid_dir_free(list, count);
}

bool reidd_confine_end(const char *group)
{
    if (rmdir(group) == 0 || errno == ENOENT)
        return true;
    if (put(group, "cgroup.kill", "1", NULL) != REID_OK)
        kill_each(group);
    end_inner(group);
    return rmdir(group) == 0 || errno == ENOENT;
}

reid_status reidd_confine_join(const char *group, reid_error *err)
{
    return put(group, "cgroup.procs", "0", err);
}
