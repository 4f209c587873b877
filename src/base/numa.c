#include "base/numa.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"

#define FILE_LIMIT 65536
#define POLICY_PREFERRED 1 /* of linux/mempolicy.h, which not every machine has */
#define NODE_LIMIT 1024

/* Text of a file of the kernel; NULL where there is none. Caller frees. */
static char *read_kernel(const char *name)
{
    const char *root = getenv("REID_SYSFS");
    REID_AUTOFREE char *path = reid_path_join(root && *root ? root : "/sys", name);
    char *text = NULL;
    size_t size = 0;
    return reid_file_read(path, FILE_LIMIT, &text, &size, NULL) == REID_OK ? text : NULL;
}

int reid_numa_of_pci(const char *address)
{
    REID_AUTOFREE char *name = reid_xasprintf("bus/pci/devices/%s/numa_node", address);
    for (char *c = name; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    REID_AUTOFREE char *text = read_kernel(name);
    if (!text)
        return REID_NUMA_UNKNOWN;
    char *end = NULL;
    long node = strtol(text, &end, 10);
    return end != text && node >= 0 && node < NODE_LIMIT ? (int)node : REID_NUMA_UNKNOWN;
}

/* "0-3,8,10-11\n" */
static void parse_cores(const char *text, cpu_set_t *ret_cores)
{
    CPU_ZERO(ret_cores);
    while (isdigit((unsigned char)*text)) {
        char *end = NULL;
        unsigned long first = strtoul(text, &end, 10), last = first;
        if (*end == '-')
            last = strtoul(end + 1, &end, 10);
        for (unsigned long core = first; core <= last && core < CPU_SETSIZE; core++)
            CPU_SET(core, ret_cores);
        text = *end == ',' ? end + 1 : end;
    }
}

/* A thread that ends meanwhile has no use for it. */
static void bind_threads(const cpu_set_t *cores)
{
    sched_setaffinity(0, sizeof *cores, cores);
    DIR *folder = opendir("/proc/self/task");
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        int64_t thread = 0;
        if (reid_parse_int64(entry->d_name, &thread) == REID_OK)
            sched_setaffinity((pid_t)thread, sizeof *cores, cores);
    }
    if (folder)
        closedir(folder);
}

/* Where the kernel refuses (a container may), first touch does nearly the same. */
static void prefer_memory(int node)
{
    enum { BITS = 8 * sizeof(unsigned long) };
    unsigned long mask[NODE_LIMIT / BITS] = {0};
    mask[node / BITS] = 1ul << (node % BITS);
    syscall(SYS_set_mempolicy, POLICY_PREFERRED, mask, (unsigned long)NODE_LIMIT);
}

reid_status reid_numa_bind(int node, int *ret_cores, bool *ret_changed, reid_error *err)
{
    cpu_set_t may, there, both;
    REID_AUTOFREE char *name = reid_xasprintf("devices/system/node/node%d/cpulist", node);
    REID_AUTOFREE char *text = read_kernel(name);
    if (!text || sched_getaffinity(0, sizeof may, &may) != 0)
        return reid_fail(err, REID_ERR_PRECONDITION, "the cores of NUMA node %d are not known",
                         node);
    parse_cores(text, &there);
    CPU_AND(&both, &may, &there);
    if (CPU_COUNT(&both) == 0)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "none of the %d cores that this process may use is at NUMA node %d",
                         CPU_COUNT(&may), node);
    *ret_cores = CPU_COUNT(&both);
    *ret_changed = !CPU_EQUAL(&both, &may);
    if (*ret_changed)
        bind_threads(&both);
    prefer_memory(node);
    return REID_OK;
}
