#include "daemon/exec/process.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "base/vec.h"

typedef REID_VEC(reidd_process) process_list;

bool reidd_process_read(pid_t pid, reidd_process *ret_process)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    /* pid (name) state ppid … start time is field 22; the name may hold anything. */
    char *rest = strrchr(text, ')');
    int parent = 0;
    char state = 0;
    unsigned long long start = 0;
    if (!rest || sscanf(rest + 1,
                        " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
                        "%*d %llu",
                        &state, &parent, &start) != 3)
        return false;
    *ret_process =
        (reidd_process){.pid = pid, .parent = parent, .state = state, .start_time = start};
    return true;
}

bool reidd_process_is_alive(pid_t pid, uint64_t start_time)
{
    reidd_process process;
    if (pid <= 0 || !reidd_process_read(pid, &process))
        return false;
    return process.state != 'Z' && process.state != 'X' &&
           (start_time == 0 || process.start_time == start_time);
}

bool reidd_process_user(pid_t pid, uid_t *ret_uid)
{
    char path[64], line[256];
    unsigned uid = 0;
    bool found = false;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = pid > 0 ? fopen(path, "re") : NULL;
    while (file && !found && fgets(line, sizeof line, file))
        found = sscanf(line, "Uid: %u", &uid) == 1;
    if (file)
        fclose(file);
    if (found)
        *ret_uid = uid;
    return found;
}

static void read_all(process_list *list)
{
    DIR *folder = opendir("/proc");
    if (!folder)
        return;
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        int64_t pid = 0;
        reidd_process process;
        if (isdigit((unsigned char)entry->d_name[0]) &&
            reid_parse_int64(entry->d_name, &pid) == REID_OK &&
            reidd_process_read((pid_t)pid, &process))
            reid_vec_push(list, process);
    }
    closedir(folder);
}

static bool contains(const process_list *list, pid_t pid)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].pid == pid)
            return true;
    return false;
}

size_t reidd_process_signal_descendants(pid_t ancestor, int signal)
{
    process_list all = {0}, family = {0};
    read_all(&all);
    /* A child may have a smaller number than its parent: repeat until nobody is added. */
    size_t before;
    do {
        before = family.count;
        for (size_t i = 0; i < all.count; i++) {
            const reidd_process *p = &all.items[i];
            if ((p->parent == ancestor || contains(&family, p->parent)) &&
                !contains(&family, p->pid))
                reid_vec_push(&family, *p);
        }
    } while (family.count > before);
    size_t alive = 0;
    for (size_t i = 0; i < family.count; i++) {
        const reidd_process *p = &family.items[i];
        if (p->state == 'Z' || !reidd_process_is_alive(p->pid, p->start_time))
            continue;
        alive++;
        if (signal)
            kill(p->pid, signal);
    }
    reid_vec_fini(&all);
    reid_vec_fini(&family);
    return alive;
}

/* Whether one of the NUL-separated entries is `entry`. */
static bool environment_has(pid_t pid, const char *entry)
{
    enum { LIMIT = 4 << 20 };
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    char *line = NULL;
    size_t capacity = 0, total = 0;
    ssize_t n;
    bool found = false;
    while (!found && total < LIMIT && (n = getdelim(&line, &capacity, '\0', file)) > 0) {
        total += (size_t)n;
        found = strcmp(line, entry) == 0;
    }
    free(line);
    fclose(file);
    return found;
}

size_t reidd_process_signal_by_environment(const char *entry, int signal)
{
    process_list all = {0};
    read_all(&all);
    size_t count = 0;
    for (size_t i = 0; i < all.count; i++) {
        const reidd_process *p = &all.items[i];
        if (p->state == 'Z' || p->pid == getpid() || !environment_has(p->pid, entry) ||
            !reidd_process_is_alive(p->pid, p->start_time))
            continue;
        count++;
        if (signal)
            kill(p->pid, signal);
    }
    reid_vec_fini(&all);
    return count;
}
