#include "daemon/shim/memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/str.h"

#define FILE_BYTES 65536
#define LOG_RECORD_BYTES 8192

/* The number after the word "oom_kill" at the beginning of a line. */
static uint64_t read_kills(const char *path)
{
    char *text = NULL;
    size_t size = 0;
    unsigned long long kills = 0;
    if (!path || reid_file_read(path, FILE_BYTES, &text, &size, NULL) != REID_OK)
        return 0;
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (sscanf(line, "oom_kill %llu", &kills) == 1)
            break;
    }
    free(text);
    return kills;
}

/* The group's file: version 1's ("4:memory:/path") or version 2's ("0::/path"), or that of the
 * nearest group above which has one: an attempt's own may be without a controller, and inside a
 * container the path may be one of outside. Version 1 does not count below. Caller frees; NULL for
 * none. */
static char *find_group(const char *root, bool *ret_own, bool *ret_decides)
{
    static const struct {
        const char *mark, *folder, *file;
        bool counts_below;
    } kinds[] = {{":memory:", "/sys/fs/cgroup/memory", "memory.oom_control", false},
                 {"0::", "/sys/fs/cgroup", "memory.events", true}};
    REID_AUTOFREE char *path = reid_xasprintf("%s/proc/self/cgroup", root);
    REID_AUTOFREE char *text = NULL;
    size_t length = 0;
    if (reid_file_read(path, FILE_BYTES, &text, &length, NULL) != REID_OK)
        return NULL;
    for (size_t i = 0; i < REID_COUNT_OF(kinds); i++) {
        const char *group = strstr(text, kinds[i].mark);
        if (!group)
            continue;
        group += strlen(kinds[i].mark);
        int group_length = (int)strcspn(group, "\n");
        REID_AUTOFREE char *whole = reid_xstrndup(group, (size_t)group_length);
        for (;;) {
            char *found = reid_xasprintf("%s%s%.*s/%s", root, kinds[i].folder, group_length, group,
                                         kinds[i].file);
            if (reid_path_exists(found)) {
                bool exact = whole[group_length] == '\0';
                *ret_own = exact && reid_str_starts(reid_path_base(whole), "reidd-");
                *ret_decides = exact || kinds[i].counts_below;
                return found;
            }
            free(found);
            if (group_length == 0)
                break;
            while (group_length > 0 && group[--group_length] != '/')
                continue;
        }
    }
    return NULL;
}

void reidd_memory_watch_init(reidd_memory_watch *watch, const char *root)
{
    REID_AUTOFREE char *log = reid_xasprintf("%s/dev/kmsg", root);
    watch->log_fd = open(log, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (watch->log_fd >= 0)
        lseek(watch->log_fd, 0, SEEK_END);
    watch->own = watch->decides = false;
    watch->path[0] = find_group(root, &watch->own, &watch->decides);
    watch->path[1] = reid_xasprintf("%s/proc/vmstat", root);
    for (int i = 0; i < 2; i++)
        watch->kills[i] = read_kills(watch->path[i]);
}

/* Each read is one record: "6,1234,5678,-;Memory cgroup out of memory: Killed process 71 (x) …". A
 * record that was overwritten meanwhile is an error, after which reading goes on. */
static bool log_names(int fd, pid_t pid)
{
    static const char mark[] = "Killed process ";
    char record[LOG_RECORD_BYTES];
    bool named = false;
    for (int lost = 0; fd >= 0 && lost < 2;) {
        ssize_t n = read(fd, record, sizeof record - 1);
        lost = n > 0 ? 0 : lost + 1;
        if (n == 0)
            break;
        record[n > 0 ? n : 0] = '\0';
        for (const char *at = strstr(record, mark); at; at = strstr(at, mark)) {
            at += sizeof mark - 1;
            named = named || strtol(at, NULL, 10) == pid;
        }
    }
    return named;
}

reidd_oom reidd_memory_watch_ask(reidd_memory_watch *watch, pid_t pid)
{
    if (log_names(watch->log_fd, pid))
        return REIDD_OOM_SURE;
    if (read_kills(watch->path[0]) > watch->kills[0])
        return watch->own ? REIDD_OOM_LIKELY : REIDD_OOM_POSSIBLE;
    if (!watch->decides && read_kills(watch->path[1]) > watch->kills[1])
        return REIDD_OOM_POSSIBLE;
    return REIDD_OOM_NOT;
}

void reidd_memory_watch_fini(reidd_memory_watch *watch)
{
    if (watch->log_fd >= 0)
        close(watch->log_fd);
    watch->log_fd = -1;
    free(watch->path[0]);
    free(watch->path[1]);
    watch->path[0] = watch->path[1] = NULL;
}
