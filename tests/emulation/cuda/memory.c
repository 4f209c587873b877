/* The address space: what programs see is reserved and closed, the data lies elsewhere. */
#include "kernel.h"

#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Addresses of a device, never given out twice, so that use after free is known. The last span of
 * the arena holds pinned memory, whose program side is an ordinary mapping. */
#define SPAN (1ull << 34)
#define SKEW 512 /* allocations are aligned to 512 bytes and to no more */

emu_shadow emu_arena;
uint64_t emu_arena_bytes = (EMU_DEVICES + 1) * SPAN;
static uintptr_t device_base;
static emu_alloc **pages; /* by page of the arena */
static uint64_t next_offset[EMU_DEVICES + 1];
static emu_alloc *allocs, *pinned;
static size_t used[EMU_DEVICES];

bool emu_is_device_address(uintptr_t va)
{
    return va - device_base < EMU_DEVICES * SPAN;
}

emu_alloc *emu_find_offset(uint64_t offset)
{
    return offset < emu_arena_bytes ? pages[offset / EMU_PAGE] : NULL;
}

/* Allocations are never removed from the list, so it may be read without a lock. */
emu_alloc *emu_find(uintptr_t va)
{
    if (emu_is_device_address(va)) {
        emu_alloc *a = emu_find_offset(va - device_base);
        return a && va >= a->va && va - a->va < (a->size ? a->size : 1) ? a : NULL;
    }
    for (emu_alloc *a = __atomic_load_n(&pinned, __ATOMIC_ACQUIRE); a; a = a->next_touched)
        if (va - a->va < (a->size ? a->size : 1) && !a->freed)
            return a;
    return NULL;
}

void *emu_mem(const void *va)
{
    emu_alloc *a = emu_find((uintptr_t)va);
    return a ? a->mem + ((uintptr_t)va - a->va) : (void *)(uintptr_t)va;
}

emu_alloc *emu_allocs(void)
{
    return allocs;
}

size_t emu_memory_used(int device)
{
    return used[device];
}

size_t emu_memory_limit(void)
{
    static size_t limit;
    if (!limit)
        limit = (size_t)emu_option("REID_EMU_MEM_MB", 1024) << 20;
    return limit;
}

void emu_bits_set(uint8_t *bits, size_t lo, size_t hi)
{
    for (; lo < hi && lo % 8; lo++)
        bits[lo / 8] |= (uint8_t)(1u << lo % 8);
    if (hi > lo && hi - lo >= 8) {
        memset(bits + lo / 8, 255, (hi - lo) / 8);
        lo = hi & ~(size_t)7;
    }
    for (; lo < hi; lo++)
        bits[lo / 8] |= (uint8_t)(1u << lo % 8);
}

/* Pinned memory is mapped twice: the program's side can be closed while the other is in use. */
static bool map_pinned(emu_alloc *a, uint64_t offset)
{
    int fd = memfd_create("reid-emu-pinned", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)a->capacity))
        return false;
    char *own = mmap(emu_arena.data + offset, a->capacity, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_FIXED, fd, 0);
    void *program = mmap(NULL, a->capacity, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    a->mem = own;
    a->va = (uintptr_t)program;
    return own != MAP_FAILED && program != MAP_FAILED;
}

static bool map_device(emu_alloc *a, uint64_t offset)
{
    a->mem = emu_arena.data + offset + SKEW;
    a->va = device_base + offset + SKEW;
    return mprotect(emu_arena.data + offset, a->capacity, PROT_READ | PROT_WRITE) == 0;
}

emu_alloc *emu_alloc_new(size_t size, int device)
{
    int slot = device < 0 ? EMU_DEVICES : device;
    size_t capacity = (size + (device < 0 ? 0 : SKEW) + EMU_PAGE) & ~(size_t)(EMU_PAGE - 1);
    uint64_t offset = (uint64_t)slot * SPAN + next_offset[slot];
    if (size > SPAN || next_offset[slot] + capacity + EMU_PAGE > SPAN)
        return NULL;
    if (device >= 0 && used[device] + size > emu_memory_limit())
        return NULL;
    emu_alloc *a = calloc(1, sizeof *a);
    a->size = size;
    a->capacity = capacity;
    a->device = device;
    a->lo = SIZE_MAX;
    if (!(device < 0 ? map_pinned(a, offset) : map_device(a, offset))) {
        free(a);
        return NULL;
    }
    next_offset[slot] += capacity + EMU_PAGE;
    memset(a->mem, 0xff, size); /* NaN in every float format */
    for (size_t i = 0; i < capacity / EMU_PAGE; i++)
        pages[offset / EMU_PAGE + i] = a;
    if (device < 0) {
        emu_bits_set(emu_arena.init, offset, offset + size);
        a->next_touched = pinned;
        __atomic_store_n(&pinned, a, __ATOMIC_RELEASE);
    } else {
        used[device] += size;
    }
    a->next = allocs;
    allocs = a;
    return a;
}

/* The addresses stay taken: later use is use after free. */
void emu_alloc_drop(emu_alloc *a)
{
    uint64_t lo = (uint64_t)(a->mem - emu_arena.data) & ~(uint64_t)(EMU_PAGE - 1);
    a->freed = true;
    if (a->device >= 0)
        used[a->device] -= a->size;
    else
        munmap((void *)a->va, a->capacity);
    free(a->records);
    a->records = NULL;
    a->record_count = a->record_capacity = 0;
    mprotect(emu_arena.data + lo, a->capacity, PROT_NONE);
    madvise(emu_arena.data + lo, a->capacity, MADV_DONTNEED);
    uintptr_t cells = (uintptr_t)emu_arena.cells + lo * 6;
    madvise((void *)cells, a->capacity * 6, MADV_DONTNEED);
}

/* Pages that an operation not yet waited for writes are closed to the host; those that it reads are
 * read-only. */
void emu_pinned_protect(emu_alloc *a)
{
    const emu_clock *host = emu_host_clock();
    mprotect((void *)a->va, a->capacity, PROT_READ | PROT_WRITE);
    for (int i = 0; i < a->record_count; i++) {
        const emu_record *r = &a->records[i];
        if (r->actor == 0 || host->at[r->actor] >= r->epoch)
            continue;
        size_t lo = (r->lo + EMU_PAGE - 1) & ~(size_t)(EMU_PAGE - 1);
        size_t hi = r->hi == a->size ? a->capacity : r->hi & ~(size_t)(EMU_PAGE - 1);
        if (lo < hi)
            mprotect((void *)(a->va + lo), hi - lo, r->write ? PROT_NONE : PROT_READ);
    }
}

/* ---- faults of the host ---- */

static struct sigaction old_segv, old_ill;

static void tell_pinned(const emu_alloc *a, uintptr_t address)
{
    char users[300] = "";
    for (int i = 0; i < a->record_count; i++) {
        const emu_record *r = &a->records[i];
        size_t length = strlen(users);
        if (emu_host_clock()->at[r->actor] < r->epoch)
            snprintf(users + length, sizeof users - length, " '%s' on stream %u", r->op, r->actor);
    }
    emu_report("PINNED",
               "the host touched pinned memory %#lx (offset %zu of %zu) that is in use and not "
               "waited for:%s",
               address, (size_t)(address - a->va), a->size, users);
}

/* A fault of a kernel ends its thread; the host's ends the process. */
static void on_kernel_fault(int signal_number, uintptr_t address)
{
    if (signal_number == SIGILL)
        emu_thread_die("KERNEL-UB",
                       "undefined behaviour (index, shift, alignment or signed overflow)");
    if (emu_is_device_address(address))
        emu_thread_die("UNSUPPORTED", "use of %#lx, a pointer that was stored in device memory",
                       address);
    emu_thread_die("KERNEL-BOUNDS", "access of %#lx, or too much memory on the stack", address);
}

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    (void)context;
    uintptr_t address = (uintptr_t)info->si_addr;
    emu_alloc *a = emu_find(address);
    if (emu_in_engine() && emu_fiber_now)
        on_kernel_fault(signal_number, address);
    if (signal_number == SIGSEGV && (emu_is_device_address(address) || a)) {
        void *frames[12];
        if (emu_is_device_address(address))
            emu_report("HOST-DEREF", "the host touched device address %#lx (%s)", address,
                       !a         ? "no allocation"
                       : a->freed ? "a freed allocation"
                                  : "a live allocation");
        else
            tell_pinned(a, address);
        backtrace_symbols_fd(frames, backtrace(frames, 12), STDERR_FILENO);
    }
    sigaction(signal_number, signal_number == SIGSEGV ? &old_segv : &old_ill, NULL);
}

static void *reserve(uint64_t bytes, int protection)
{
    void *p = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        fprintf(stderr, "EMU: cannot reserve %llu GiB of addresses\n",
                (unsigned long long)(bytes >> 30));
        abort();
    }
    return p;
}

__attribute__((constructor(101))) static void memory_init(void)
{
    int open = PROT_READ | PROT_WRITE;
    device_base = (uintptr_t)reserve(EMU_DEVICES * SPAN, PROT_NONE);
    emu_arena.data = reserve(emu_arena_bytes, PROT_NONE);
    emu_arena.init = reserve(emu_arena_bytes / 8, open);
    emu_arena.read = reserve(emu_arena_bytes / 8, open);
    emu_arena.wrote = reserve(emu_arena_bytes / 8, open);
    emu_arena.cells = reserve(emu_arena_bytes * 6, open);
    pages = reserve(emu_arena_bytes / EMU_PAGE * sizeof *pages, open);
    void *frame;
    backtrace(&frame, 1); /* loads what a later call needs */
    struct sigaction action = {.sa_sigaction = on_fault,
                               .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    sigaction(SIGSEGV, &action, &old_segv);
    sigaction(SIGILL, &action, &old_ill);
}
