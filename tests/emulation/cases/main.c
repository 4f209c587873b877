/* emulation_cases GROUP [NAME]: runs every case of a group under several schedules and holds the
 * emulator's reports against the expected word. */
#include "emulation/cases/cases.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
    const char *name;
    const case_row *rows;
} groups[] = {{"memory", memory_cases}, {"order", order_cases}, {"kernels", kernel_cases},
              {"nccl", nccl_cases},     {"dnn", dnn_cases},     {"graph", graph_cases}};

static const char *const schedules[][2] = {{"random", "1"}, {"random", "7"}, {"lazy", "3"}};

bool case_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    return false;
}

cudaStream_t case_stream(void)
{
    cudaStream_t stream = NULL;
    if (cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) != cudaSuccess)
        abort();
    return stream;
}

cudaEvent_t case_event(void)
{
    cudaEvent_t event = NULL;
    if (cudaEventCreateWithFlags(&event, cudaEventDisableTiming) != cudaSuccess)
        abort();
    return event;
}

void *case_device(size_t bytes)
{
    void *memory = NULL;
    if (cudaMalloc(&memory, bytes) != cudaSuccess)
        abort();
    return memory;
}

void *case_pinned(size_t bytes)
{
    void *memory = NULL;
    if (cudaMallocHost(&memory, bytes) != cudaSuccess)
        abort();
    return memory;
}

static void child(const case_row *row, const case_world *world, const char *log, int schedule)
{
    char rank[12];
    snprintf(rank, sizeof rank, "%d", world->rank);
    setenv("REID_EMU_LOG", log, 1);
    setenv("REID_EMU_SCHED", schedules[schedule][0], 1);
    setenv("REID_EMU_SEED", schedules[schedule][1], 1);
    setenv("REID_EMU_RANK", rank, 1);
    if (row->env && putenv(strdup(row->env)) != 0)
        abort();
    alarm(30);
    exit(row->run(world) ? 0 : 1);
}

/* Words of all reports in `log`: true when they are as the row says. */
static bool words_match(const case_row *row, const char *log, char *ret_text, size_t capacity)
{
    char line[1024], word[64];
    int wanted = 0, other = 0;
    FILE *file = fopen(log, "r");
    ret_text[0] = 0;
    while (file && fgets(line, sizeof line, file)) {
        size_t length = strlen(ret_text);
        snprintf(ret_text + length, capacity - length, "        %s", line);
        if (sscanf(line, "EMU[%*d] %63[^:]", word) != 1)
            other++;
        else if (row->word && strcmp(word, row->word) == 0)
            wanted++;
        else if (!row->also || strcmp(word, row->also) != 0)
            other++;
    }
    if (file)
        fclose(file);
    return !other && (wanted > 0) == (row->word != NULL);
}

static bool ending_matches(const case_row *row, int status)
{
    if (row->dies)
        return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
    if (!WIFEXITED(status))
        return false;
    /* 86: something was reported, whatever the program itself said. */
    return WEXITSTATUS(status) == 0 || (row->word && WEXITSTATUS(status) == 86) ||
           (row->wrong && WEXITSTATUS(status) == 1);
}

static bool run_row(const char *group, const case_row *row, int schedule)
{
    char log[] = "/tmp/reid-emulation-XXXXXX", text[4096];
    int fd = mkstemp(log), ranks = row->ranks ? row->ranks : 1;
    bool endings = true;
    case_world world = {.size = ranks};
    if (fd < 0 || ncclGetUniqueId(&world.id) != ncclSuccess)
        abort();
    close(fd);
    fflush(NULL);
    for (; world.rank < ranks; world.rank++)
        if (fork() == 0)
            child(row, &world, log, schedule);
    for (int r = 0; r < ranks; r++) {
        int status = 0;
        wait(&status);
        endings &= ending_matches(row, status);
    }
    bool words = words_match(row, log, text, sizeof text);
    unlink(log);
    if (words && endings)
        return true;
    printf("FAILED %s.%s, schedule %s seed %s: expected %s%s\n%s", group, row->name,
           schedules[schedule][0], schedules[schedule][1], row->word ? row->word : "no report",
           endings ? "" : "; the process ended otherwise than expected", text);
    return false;
}

int main(int argc, char **argv)
{
    int rows = 0, failed = 0;
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
        if (argc > 1 && strcmp(argv[1], groups[g].name) != 0)
            continue;
        for (const case_row *row = groups[g].rows; row->name; row++) {
            if (argc > 2 && strcmp(argv[2], row->name) != 0)
                continue;
            for (int s = 0; s < 3; s++, rows++)
                failed += !run_row(groups[g].name, row, s);
        }
    }
    printf("%d runs, %d failed\n", rows, failed);
    return failed || !rows;
}
