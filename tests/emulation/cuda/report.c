/* Reports, options of the environment, injected faults. */
#include "emu.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int reports;

static void append_to_log(const char *line, size_t length)
{
    const char *path = getenv("REID_EMU_LOG");
    int fd = path && *path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return;
    if (write(fd, line, length) < 0)
        perror("REID_EMU_LOG");
    close(fd);
}

void emu_report(const char *kind, const char *format, ...)
{
    char text[640], line[720];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    int length = snprintf(line, sizeof line, "EMU[%d] %s: %s\n", (int)getpid(), kind, text);
    fputs(line, stderr);
    append_to_log(line, (size_t)length);
    __atomic_add_fetch(&reports, 1, __ATOMIC_RELAXED);
    if (getenv("REID_EMU_FATAL"))
        abort();
}

int emu_report_count(void)
{
    return __atomic_load_n(&reports, __ATOMIC_RELAXED);
}

long emu_option(const char *name, long otherwise)
{
    const char *text = getenv(name);
    char *end;
    if (!text || !*text)
        return otherwise;
    long value = strtol(text, &end, 0);
    if (*end) {
        fprintf(stderr, "EMU: %s=%s is not a number\n", name, text);
        abort();
    }
    return value;
}

uint64_t emu_random(void)
{
    static uint64_t state;
    if (!state)
        state = ((uint64_t)emu_option("REID_EMU_SEED", 1) * 0x9E3779B97F4A7C15ull) | 1;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* One entry of REID_EMU_FAULT: API:N[:fail|stall|exit|kill|sleep=MS][@RANK], entries parted by
 * commas. */
typedef struct plan {
    char api[64], action[32];
    int at, rank;
    int calls;
} plan;

static plan plans[16];
static int plan_count;
static _Thread_local bool stall_next;

static int own_rank(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "REID_EMU_RANK"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i]))
            return atoi(getenv(names[i]));
    return 0;
}

static void parse_plans(const char *text)
{
    while (text && *text && plan_count < 16) {
        plan *p = &plans[plan_count];
        *p = (plan){.action = "fail", .rank = -1};
        int used = 0;
        if (sscanf(text, "%63[^:]:%d%n", p->api, &p->at, &used) != 2) {
            fprintf(stderr, "EMU: REID_EMU_FAULT: '%s' is not API:N[:ACTION][@RANK]\n", text);
            abort();
        }
        text += used;
        if (*text == ':') {
            sscanf(text + 1, "%31[^@,]%n", p->action, &used);
            text += 1 + used;
        }
        if (*text == '@') {
            sscanf(text + 1, "%d%n", &p->rank, &used);
            text += 1 + used;
        }
        text += *text == ',';
        plan_count++;
    }
}

/* With REID_EMU_FAULT_ONCE=FILE a fault happens in one process only, ever. */
static bool first_ever(void)
{
    const char *path = getenv("REID_EMU_FAULT_ONCE");
    if (!path || !*path)
        return true;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* With REID_EMU_FAULT_AFTER=PATTERN calls count from the moment on when a file of that name is
 * there. */
static bool begun(void)
{
    static bool seen;
    const char *pattern = getenv("REID_EMU_FAULT_AFTER");
    glob_t found;
    if (seen || !pattern || !*pattern)
        return true;
    seen = glob(pattern, GLOB_NOSORT, NULL, &found) == 0;
    if (seen)
        globfree(&found);
    return seen;
}

static emu_fault act(const plan *p)
{
    fprintf(stderr, "EMU[%d] injected: %s, call %d: %s\n", (int)getpid(), p->api, p->at, p->action);
    if (strncmp(p->action, "sleep=", 6) == 0)
        usleep((useconds_t)atoi(p->action + 6) * 1000u);
    else if (strcmp(p->action, "stall") == 0)
        stall_next = true;
    else if (strcmp(p->action, "exit") == 0)
        _exit(3);
    else if (strcmp(p->action, "kill") == 0)
        kill(getpid(), SIGKILL);
    else
        return EMU_FAIL;
    return EMU_GO_ON;
}

emu_fault emu_fault_at(const char *api)
{
    static pid_t parsed_by; /* a child may have another plan */
    if (parsed_by != getpid()) {
        parsed_by = getpid();
        plan_count = 0;
        parse_plans(getenv("REID_EMU_FAULT"));
    }
    emu_fault fault = EMU_GO_ON;
    for (int i = 0; i < plan_count; i++) {
        plan *p = &plans[i];
        if (strcmp(p->api, api) != 0 || (p->rank >= 0 && p->rank != own_rank()) || !begun())
            continue;
        if (__atomic_add_fetch(&p->calls, 1, __ATOMIC_RELAXED) == p->at && first_ever())
            fault = act(p);
    }
    return fault;
}

bool emu_take_stall(void)
{
    bool stall = stall_next;
    stall_next = false;
    return stall;
}
