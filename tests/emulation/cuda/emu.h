/* Internals of the emulated CUDA stack: a CPU stand-in for libcudart, libcudnn and libnccl that
 * runs the binaries built against the real ones, and reports what a real GPU would do wrong
 * silently.
 *
 * A program's call becomes an emu_op: created, given the memory it will touch, submitted to a
 * stream. One engine thread runs the operations, in an order that REID_EMU_SEED and REID_EMU_SCHED
 * vary within what the streams allow. Who is ordered after whom is known when an operation is
 * submitted (vector clocks), so a missing wait is reported however the operations happened to run.
 *
 * Locks: emu_lock guards streams, events, records of accesses. Operations run without it.
 */
#ifndef EMU_H
#define EMU_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    EMU_ACTORS = 64, /* actor 0 is the host, the others are streams */
    EMU_DEVICES = 8,
    EMU_RANGES = 24,
    EMU_PAGE = 4096
};

/* ---- reports and injected faults (report.c) ---- */

/* kind is a short stable word that tests look for. */
void emu_report(const char *kind, const char *format, ...) __attribute__((format(printf, 2, 3)));
int emu_report_count(void);

typedef enum emu_fault {
    EMU_GO_ON,
    EMU_FAIL,
} emu_fault;
/* Has REID_EMU_FAULT planned something for this call of `api`? A stall marks the next operation
 * that this thread creates; sleeping, exiting and being killed happen inside. */
emu_fault emu_fault_at(const char *api);
bool emu_take_stall(void);
uint64_t emu_random(void);
/* A number from the environment. */
long emu_option(const char *name, long otherwise);

/* ---- vector clocks and unordered accesses (race.c) ---- */

typedef struct emu_clock {
    uint32_t at[EMU_ACTORS];
} emu_clock;
void emu_clock_join(emu_clock *into, const emu_clock *from);

/* A past access that conflicting later ones must be ordered after. */
typedef struct emu_record {
    size_t lo, hi;
    uint32_t actor, epoch;
    bool write;
    char op[48];
} emu_record;

/* ---- memory (memory.c) ---- */

typedef struct emu_alloc {
    uintptr_t va; /* what the program sees */
    char *mem;    /* where the emulator reads and writes */
    size_t size, capacity;
    int device; /* -1: pinned host memory */
    bool freed;
    bool touched; /* by the running kernel, somewhere in [lo,hi) */
    size_t lo, hi;
    emu_record *records;
    int record_count, record_capacity;
    struct emu_alloc *next, *next_touched;
} emu_alloc;

/* Shadow of device memory by offset in the arena: one bit a byte, or 24 bytes a word. */
typedef struct emu_shadow {
    char *data;            /* the arena itself */
    uint8_t *init;         /* was written */
    uint8_t *read, *wrote; /* by the running operation */
    char *cells;           /* of thread-level race detection */
} emu_shadow;
extern emu_shadow emu_arena;
extern uint64_t emu_arena_bytes;

emu_alloc *emu_alloc_new(size_t size, int device); /* device -1: pinned; NULL: no memory left */
void emu_alloc_drop(emu_alloc *alloc);
emu_alloc *emu_find(uintptr_t va);
emu_alloc *emu_find_offset(uint64_t offset); /* of the arena */
bool emu_is_device_address(uintptr_t va);
void *emu_mem(const void *va); /* device or pinned address to memory; any other stays */
emu_alloc *emu_allocs(void);   /* list of all, freed ones too */
size_t emu_memory_used(int device);
size_t emu_memory_limit(void);
void emu_pinned_protect(emu_alloc *alloc); /* by its records and the host's clock */
void emu_bits_set(uint8_t *bits, size_t lo, size_t hi);

/* ---- operations, streams, events (stream.c) ---- */

typedef struct emu_op emu_op;
typedef bool emu_op_fn(emu_op *op); /* true: done; false: to be called again */

struct emu_op {
    emu_op_fn *run;
    emu_op_fn *cancelled;              /* NULL: never; asked of a stalled operation */
    void *(*clone)(const void *owned); /* for graphs that are launched again; NULL: no `owned` */
    char name[64];
    struct CUstream_st *stream;
    emu_clock clock;
    uint32_t epoch;
    bool stalled;
    emu_op *next;
    uint64_t arg[12];
    void *owned; /* freed after the run */
    struct {
        uintptr_t address;
        size_t bytes;
        bool write;
    } range[EMU_RANGES];
    int range_count;
};

emu_op *emu_op_new(struct CUstream_st *stream, const char *name, emu_op_fn *run);
void emu_op_range(emu_op *op, const void *address, size_t bytes, bool write);
void emu_op_submit(emu_op *op);
void emu_op_free(emu_op *op); /* of one that was not submitted */
int emu_op_device(const emu_op *op);
int emu_stream_device(struct CUstream_st *stream);
unsigned emu_stream_id(const struct CUstream_st *stream);
int emu_device(void); /* of the calling thread */
int emu_device_count(void);
void emu_kick(void); /* something that operations poll has changed */
void emu_lock(void);
void emu_unlock(void);
const emu_clock *emu_host_clock(void);
bool emu_in_engine(void);
cudaError_t emu_drain(struct CUstream_st *stream);

/* ---- graphs made by stream capture (graph.c) ---- */

struct CUgraph_st **emu_stream_capture(struct CUstream_st *stream); /* NULL inside: not capturing */
void emu_capture_add(struct CUgraph_st *graph, emu_op *op);
/* The call that is not allowed while the stream captures: ends the capture, gives the error. */
cudaError_t emu_capture_refuse(struct CUgraph_st *graph, const char *call);
bool emu_capture_forbids_calls(void); /* a capture that is not relaxed is going on */

/* Checks a run operation's accesses against all earlier ones; called locked. */
void emu_race_finish(emu_op *op);
void emu_race_pinned(emu_op *op); /* at submission: the host keeps off from now on */

/* ---- errors of the runtime (runtime.c) ---- */

cudaError_t emu_error(cudaError_t error); /* remembers it for cudaGetLastError */
cudaError_t emu_sticky(void);
void emu_break(cudaError_t error); /* the context is lost, as after an illegal address */
cudaError_t emu_enter(const char *api);
#define EMU_ENTER()                                                                                \
    do {                                                                                           \
        cudaError_t error_ = emu_enter(__func__);                                                  \
        if (error_)                                                                                \
            return error_;                                                                         \
    } while (0)

/* ---- kernels (kernel.c, access.c, launch.c) ---- */

typedef void emu_thunk(void *function, void **args);
/* From a twin's static initializers: a kernel's host function and the sizes of its parameters. */
void emu_register_twin(void *function, emu_thunk *thunk, int count, const unsigned *sizes);
typedef struct emu_kernel emu_kernel;
emu_kernel *emu_kernel_find(const char *name);
int emu_kernel_args(const emu_kernel *kernel, const unsigned **ret_sizes);
bool emu_kernel_run(emu_kernel *kernel, const char *name, dim3 grid, dim3 block, size_t shared,
                    void **args);

/* What twins call. */
uint3 emu_threadIdx(void);
uint3 emu_blockIdx(void);
dim3 emu_blockDim(void);
dim3 emu_gridDim(void);
void *emu_dynamic_shared(void);
/* what: 0 plain, 1 count, 2 and, 3 or */
int emu_syncthreads(int line, int predicate, int what);
enum { EMU_WARP_SYNC, EMU_WARP_SHUFFLE, EMU_WARP_BALLOT };
uint64_t emu_warp(unsigned mask, uint64_t value, int source, int what);
int emu_lane(void);
void emu_atomic_note(const void *address, unsigned bytes);

#ifdef __cplusplus
}
#endif
#endif
