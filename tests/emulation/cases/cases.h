/* Small CUDA programs, right ones and wrong ones, each with the word that the emulator must say
 * about it. They are built as the module is: nvcc and gcc, against the real libraries. */
#ifndef REID_TESTS_EMULATION_CASES_H
#define REID_TESTS_EMULATION_CASES_H

#include <cuda_runtime_api.h>
#include <nccl.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct case_world {
    int rank, size;
    ncclUniqueId id;
} case_world;

/* true: the results are right. Runs in a process of its own. */
typedef bool case_fn(const case_world *world);

typedef struct case_row {
    const char *name;
    case_fn *run;
    const char *word; /* NULL: no report; "RACE": at least one, and no other word */
    int ranks;        /* 0: one */
    const char *env;  /* NAME=VALUE, or NULL */
    const char *also; /* another word that may be said too */
    bool dies;        /* the process ends by a signal, after the report */
    bool wrong;       /* results need not be right */
} case_row;

extern const case_row memory_cases[], order_cases[], kernel_cases[], nccl_cases[], dnn_cases[],
    graph_cases[];

#define CASE_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return case_failed(__FILE__, __LINE__, #condition);                                    \
    } while (0)
#define CASE_OK(call) CASE_CHECK((call) == 0)
bool case_failed(const char *file, int line, const char *what);

cudaStream_t case_stream(void); /* a non-blocking one */
cudaEvent_t case_event(void);
void *case_device(size_t bytes); /* not initialised */
void *case_pinned(size_t bytes);

#endif
