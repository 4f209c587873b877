/* Between the three parts that run kernels: fibers and barriers (kernel.c), the check of every
 * access (access.c), launches (launch.c). The engine thread alone uses them. */
#ifndef EMU_KERNEL_H
#define EMU_KERNEL_H

#include "emu.h"

enum { EMU_STACK = 64 * 1024, EMU_BLOCK_THREADS = 1024, EMU_SHARED_BYTES = 48 * 1024 };

/* One thread of the running block. */
typedef struct emu_fiber {
    void *sp;
    char *stack;
    enum { FIBER_NEW, FIBER_RUN, FIBER_BARRIER, FIBER_WARP, FIBER_DONE } state;
    uint3 index;
    uint32_t linear;
    int lane;
    uint32_t warp_epoch; /* warp-wide synchronizations so far */
    /* what it waits with */
    int line, predicate, what;
    unsigned mask;
    int source;
    uint64_t value, result;
} emu_fiber;

/* The running launch. */
typedef struct emu_running {
    emu_kernel *kernel;
    const char *name;
    void **args;
    dim3 grid, block;
    uint3 block_index;
    uint32_t threads;       /* of a block */
    uint32_t block_number;  /* counts over all launches: barriers order within one */
    uint32_t first_number;  /* of this launch's first block */
    uint32_t barrier_epoch; /* __syncthreads so far in this block */
    size_t shared_bytes;
    char *shared;
    bool broken; /* an access was refused: the context is lost */
    int faults, told;
    const char *told_kind;
} emu_running;

extern emu_running emu_now;
extern emu_fiber *emu_fiber_now; /* NULL: no kernel runs */

/* A fault of the running thread; of a kind, the third and later ones of a launch are only counted.
 */
void emu_thread_fault(const char *kind, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same, and the thread and its launch end. */
void emu_thread_die(const char *kind, const char *format, ...) __attribute__((format(printf, 2, 3)))
__attribute__((noreturn));

void emu_access_image(void *function); /* where shared variables of a twin lie */
void emu_touched_add(emu_alloc *alloc);

#endif
