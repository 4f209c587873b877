/* Runs a kernel's host twin, one fiber a thread, block after block. */
#include "kernel.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct emu_kernel {
    char *name;
    void *function;
    emu_thunk *thunk;
    int count;
    const unsigned *sizes;
    emu_kernel *next;
};

emu_running emu_now;
emu_fiber *emu_fiber_now;
static emu_kernel *kernels;
static emu_fiber fibers[EMU_BLOCK_THREADS];
static char *free_stacks[EMU_BLOCK_THREADS];
static int free_stack_count;
static void *scheduler_sp;

/* ---- twins ---- */

void emu_register_twin(void *function, emu_thunk *thunk, int count, const unsigned *sizes)
{
    Dl_info info;
    if (!dladdr(function, &info) || !info.dli_sname || info.dli_saddr != function) {
        fprintf(stderr, "EMU: a kernel's twin has no exported name (is the kernel static?)\n");
        return;
    }
    emu_kernel *k = calloc(1, sizeof *k);
    *k = (emu_kernel){strdup(info.dli_sname), function, thunk, count, sizes, kernels};
    kernels = k;
    emu_access_image(function);
}

emu_kernel *emu_kernel_find(const char *name)
{
    emu_kernel *k = kernels;
    while (k && strcmp(k->name, name) != 0)
        k = k->next;
    return k;
}

int emu_kernel_args(const emu_kernel *kernel, const unsigned **ret_sizes)
{
    *ret_sizes = kernel->sizes;
    return kernel->count;
}

/* ---- fibers ---- */

#if !defined(__x86_64__)
#error "write emu_switch for this processor"
#endif
void emu_switch(void **save, void *load);
__asm__(".text\n"
        ".globl emu_switch\n"
        ".hidden emu_switch\n"
        ".type emu_switch,@function\n"
        "emu_switch:\n"
        " push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
        " mov %rsp,(%rdi)\n"
        " mov %rsi,%rsp\n"
        " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
        " ret\n"
        ".size emu_switch,.-emu_switch\n");

static void to_scheduler(void)
{
    emu_switch(&emu_fiber_now->sp, scheduler_sp);
}

static void fiber_main(void)
{
    for (;;) {
        emu_now.kernel->thunk(emu_now.kernel->function, emu_now.args);
        emu_fiber_now->state = FIBER_DONE;
        to_scheduler();
    }
}

static void fiber_start(emu_fiber *f)
{
    if (!free_stack_count) {
        char *p = mmap(NULL, EMU_STACK + EMU_PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        mprotect(p, EMU_PAGE, PROT_NONE);
        free_stacks[free_stack_count++] = p;
    }
    f->stack = free_stacks[--free_stack_count];
    void **sp = (void **)(f->stack + EMU_PAGE + EMU_STACK - 72);
    *sp = NULL;
    *--sp = (void *)fiber_main;
    sp -= 6; /* the registers that emu_switch pops */
    memset(sp, 0, 6 * sizeof *sp);
    f->sp = sp;
    f->state = FIBER_RUN;
}

static void fiber_end(emu_fiber *f)
{
    free_stacks[free_stack_count++] = f->stack;
    f->stack = NULL;
}

/* ---- faults ---- */

static void tell(const char *kind, const char *format, va_list args)
{
    char text[300];
    const emu_fiber *f = emu_fiber_now;
    uint3 b = emu_now.block_index;
    vsnprintf(text, sizeof text, format, args);
    emu_now.faults++;
    if (!emu_now.told_kind || strcmp(emu_now.told_kind, kind) != 0)
        emu_now.told = 0;
    emu_now.told_kind = kind;
    if (emu_now.told++ < 2)
        emu_report(kind, "kernel %s, block (%u,%u,%u) thread (%u,%u,%u): %s", emu_now.name, b.x,
                   b.y, b.z, f->index.x, f->index.y, f->index.z, text);
}

void emu_thread_fault(const char *kind, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tell(kind, format, args);
    va_end(args);
}

void emu_thread_die(const char *kind, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tell(kind, format, args);
    va_end(args);
    emu_now.broken = true;
    emu_fiber_now->state = FIBER_DONE;
    for (;;)
        to_scheduler();
}

/* ---- what threads see ---- */

uint3 emu_threadIdx(void)
{
    return emu_fiber_now->index;
}

uint3 emu_blockIdx(void)
{
    return emu_now.block_index;
}

dim3 emu_blockDim(void)
{
    return emu_now.block;
}

dim3 emu_gridDim(void)
{
    return emu_now.grid;
}

void *emu_dynamic_shared(void)
{
    return emu_now.shared;
}

int emu_lane(void)
{
    return emu_fiber_now->lane;
}

int emu_syncthreads(int line, int predicate, int what)
{
    emu_fiber *f = emu_fiber_now;
    f->state = FIBER_BARRIER;
    f->line = line;
    f->predicate = predicate;
    f->what = what;
    to_scheduler();
    return (int)f->result;
}

uint64_t emu_warp(unsigned mask, uint64_t value, int source, int what)
{
    emu_fiber *f = emu_fiber_now;
    if (!(mask >> f->lane & 1)) {
        emu_thread_fault("SYNC", "warp intrinsic whose mask leaves out the calling lane");
        return value;
    }
    f->state = FIBER_WARP;
    f->mask = mask;
    f->value = value;
    f->source = source;
    f->what = what;
    to_scheduler();
    return f->result;
}

/* ---- warps ---- */

static emu_fiber *lane_of(uint32_t warp, int lane)
{
    return warp + (uint32_t)lane < emu_now.threads ? &fibers[warp + (uint32_t)lane] : NULL;
}

/* Have all lanes of f's mask come? Lanes beyond the block do not exist. */
static bool complete(uint32_t warp, emu_fiber *f)
{
    for (int l = 0; l < 32; l++) {
        emu_fiber *other = f->mask >> l & 1 ? lane_of(warp, l) : NULL;
        if (!other)
            continue;
        if (other->state == FIBER_DONE) {
            emu_fiber_now = f;
            emu_thread_fault("SYNC", "warp intrinsic waits for lane %d, which has exited", l);
        } else if (other->state != FIBER_WARP || other->mask != f->mask || other->what != f->what) {
            return false;
        }
    }
    return true;
}

static uint64_t shuffled(uint32_t warp, emu_fiber *f)
{
    emu_fiber *from = f->source >= 0 && f->source < 32 ? lane_of(warp, f->source) : NULL;
    bool takes_part = from && f->mask >> f->source & 1 && from->state != FIBER_DONE;
    if (takes_part)
        return from->value;
    if (f->source == f->lane)
        return f->value;
    emu_fiber_now = f;
    emu_thread_fault("SYNC", "shuffle from lane %d, which does not take part", f->source);
    return 0x7ff8dead7fc0deadull; /* NaN as a float and as a double */
}

static void release(uint32_t warp, unsigned mask, int what)
{
    uint64_t ballot = 0;
    emu_fiber *members[32] = {NULL};
    for (int l = 0; l < 32; l++) {
        emu_fiber *f = mask >> l & 1 ? lane_of(warp, l) : NULL;
        if (f && f->state == FIBER_WARP) {
            members[l] = f;
            ballot |= (uint64_t)(f->value != 0) << l;
        }
    }
    for (int l = 0; l < 32; l++)
        if (members[l])
            members[l]->result = what == EMU_WARP_SHUFFLE ? shuffled(warp, members[l]) : ballot;
    for (int l = 0; l < 32; l++) {
        if (!members[l])
            continue;
        members[l]->state = FIBER_RUN;
        members[l]->warp_epoch++;
    }
}

static bool release_warps(void)
{
    bool any = false;
    for (uint32_t t = 0; t < emu_now.threads; t++) {
        emu_fiber *f = &fibers[t];
        if (f->state != FIBER_WARP || !complete(t & ~31u, f))
            continue;
        release(t & ~31u, f->mask, f->what);
        any = true;
    }
    return any;
}

/* ---- blocks ---- */

static void check_barrier(emu_fiber *first, uint32_t live)
{
    for (uint32_t t = 0; t < emu_now.threads; t++) {
        if (fibers[t].state != FIBER_BARRIER || fibers[t].line == first->line)
            continue;
        emu_fiber_now = &fibers[t];
        emu_thread_fault("SYNC",
                         "threads of the block are at different __syncthreads(): lines %d "
                         "and %d",
                         first->line, fibers[t].line);
        break;
    }
    if (live != emu_now.threads) {
        emu_fiber_now = first;
        emu_thread_fault("SYNC", "__syncthreads() after some threads of the block have exited");
    }
}

static void release_barrier(uint32_t live)
{
    emu_fiber *first = NULL;
    uint32_t count = 0;
    for (uint32_t t = 0; t < emu_now.threads; t++) {
        if (fibers[t].state != FIBER_BARRIER)
            continue;
        first = first ? first : &fibers[t];
        count += fibers[t].predicate != 0;
    }
    check_barrier(first, live);
    uint64_t result[] = {0, count, count == live, count != 0};
    for (uint32_t t = 0; t < emu_now.threads; t++) {
        if (fibers[t].state != FIBER_BARRIER)
            continue;
        fibers[t].result = result[fibers[t].what];
        fibers[t].state = FIBER_RUN;
    }
    emu_now.barrier_epoch++;
}

static void deadlock(void)
{
    for (uint32_t t = 0; t < emu_now.threads; t++)
        if (fibers[t].state == FIBER_WARP || fibers[t].state == FIBER_BARRIER)
            emu_fiber_now = &fibers[t];
    emu_thread_fault("SYNC", "deadlock: a barrier or warp intrinsic that not all threads reach");
    emu_now.broken = true;
}

/* Runs every thread that can run up to its next wait; false when none could. */
static bool run_round(void)
{
    bool ran = false;
    uint32_t n = emu_now.threads;
    uint32_t start = (uint32_t)(emu_random() % ((n + 31) / 32)) * 32; /* warps in any order */
    for (uint32_t k = 0; k < n && !emu_now.broken; k++) {
        emu_fiber *f = &fibers[k + start < n ? k + start : k + start - n];
        if (f->state == FIBER_NEW)
            fiber_start(f);
        if (f->state != FIBER_RUN)
            continue;
        emu_fiber_now = f;
        ran = true;
        emu_switch(&scheduler_sp, f->sp);
        if (f->state == FIBER_DONE)
            fiber_end(f);
    }
    return ran;
}

static void prepare_block(uint64_t number)
{
    dim3 g = emu_now.grid, b = emu_now.block;
    emu_now.block_number++;
    emu_now.barrier_epoch = 0;
    emu_now.block_index.x = (unsigned)(number % g.x);
    emu_now.block_index.y = (unsigned)(number / g.x % g.y);
    emu_now.block_index.z = (unsigned)(number / g.x / g.y);
    memset(emu_now.shared, 0xff, emu_now.shared_bytes);
    for (uint32_t t = 0; t < emu_now.threads; t++) {
        emu_fiber *f = &fibers[t];
        f->state = FIBER_NEW;
        f->linear = t;
        f->lane = (int)(t % 32);
        f->index = (uint3){t % b.x, t / b.x % b.y, t / b.x / b.y};
        f->warp_epoch = 0;
    }
}

static void run_block(void)
{
    for (;;) {
        bool ran = run_round();
        uint32_t live = 0, at_barrier = 0;
        for (uint32_t t = 0; t < emu_now.threads; t++) {
            live += fibers[t].state != FIBER_DONE;
            at_barrier += fibers[t].state == FIBER_BARRIER;
        }
        if (!live || emu_now.broken)
            break;
        if (live != at_barrier && release_warps())
            continue;
        if (live == at_barrier)
            release_barrier(live);
        else if (!ran)
            deadlock();
    }
    for (uint32_t t = 0; t < emu_now.threads; t++)
        if (fibers[t].stack && fibers[t].state != FIBER_NEW)
            fiber_end(&fibers[t]);
}

bool emu_kernel_run(emu_kernel *kernel, const char *name, dim3 grid, dim3 block, size_t shared,
                    void **args)
{
    uint32_t number = emu_now.block_number;
    char *memory = emu_now.shared;
    if (!memory)
        memory = mmap(NULL, 2 * EMU_SHARED_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    emu_now = (emu_running){.kernel = kernel,
                            .name = name,
                            .args = args,
                            .grid = grid,
                            .block = block,
                            .threads = block.x * block.y * block.z,
                            .block_number = number,
                            .first_number = number + 1,
                            .shared_bytes = shared,
                            .shared = memory};
    uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z, start = emu_random() % blocks;
    for (uint64_t i = 0; i < blocks && !emu_now.broken; i++) {
        prepare_block((i + start) % blocks);
        run_block();
    }
    if (emu_now.faults > 2)
        fprintf(stderr, "EMU: kernel %s: %d faults in all\n", name, emu_now.faults);
    emu_fiber_now = NULL;
    return !emu_now.broken;
}
