/* Every access of a kernel, as the compiler instrumented it (-fsanitize=thread): is it inside an
 * allocation, aligned, initialised; does it race with another thread of the launch? */
#include "kernel.h"

#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* The last read or write of a 4-byte word. */
typedef struct access {
    uint32_t block, thread;
    uint32_t barrier : 16, warp : 11, atomic : 1, bytes : 4; /* bytes: of the word, a bit each */
} access;

typedef struct cell {
    access write, read;
} cell;

/* A twin's shared object; its writable part holds the shared variables. */
typedef struct image {
    uintptr_t lo, hi, data_lo, data_hi;
    cell *cells;
} image;

static image images[8];
static int image_count;
static cell *shared_cells;

static cell *cells_new(size_t bytes)
{
    return mmap(NULL, (bytes / 4 + 2) * sizeof(cell), PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static int on_image(struct dl_phdr_info *info, size_t size, void *function)
{
    (void)size;
    image im = {.lo = UINTPTR_MAX};
    bool own = false;
    for (int k = 0; k < info->dlpi_phnum; k++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[k];
        uintptr_t lo = info->dlpi_addr + p->p_vaddr, hi = lo + p->p_memsz;
        if (p->p_type != PT_LOAD)
            continue;
        own |= (uintptr_t)function >= lo && (uintptr_t)function < hi;
        im.lo = lo < im.lo ? lo : im.lo;
        im.hi = hi > im.hi ? hi : im.hi;
        if (p->p_flags & PF_W) {
            im.data_lo = lo;
            im.data_hi = hi;
        }
    }
    if (!own)
        return 0;
    for (int k = 0; k < image_count; k++)
        if (images[k].lo == im.lo)
            return 1;
    im.cells = cells_new(im.data_hi - im.data_lo + 8);
    if (image_count < 8)
        images[image_count++] = im;
    return 1;
}

void emu_access_image(void *function)
{
    dl_iterate_phdr(on_image, function);
}

static int check_level(void)
{
    static int level = -1;
    if (level < 0)
        level = (int)emu_option("REID_EMU_CHECK", 2);
    return level;
}

/* Instead of a thread's number: reads of several that nothing orders. Of one warp: the warp's
 * number is added. */
#define SEVERAL_OF_WARP 0xffff0000u
#define SEVERAL_OF_BLOCK 0xfffffff0u
#define SEVERAL_BLOCKS 0xfffffff1u

/* Is the past access ordered before one of the running thread, or no conflict of the same bytes?
 * first: blocks before that number are of earlier launches. */
static inline bool ordered(access past, unsigned bytes, bool atomic, uint32_t first)
{
    const emu_fiber *f = emu_fiber_now;
    if (past.block < first || !(past.bytes & bytes))
        return true;
    if (past.atomic && atomic)
        return true;
    if (past.block != emu_now.block_number || past.thread == SEVERAL_BLOCKS)
        return false;
    if (past.thread == f->linear || past.barrier != (emu_now.barrier_epoch & 0xffff))
        return true;
    uint32_t warp = past.thread >= SEVERAL_OF_BLOCK  ? UINT32_MAX
                    : past.thread >= SEVERAL_OF_WARP ? past.thread - SEVERAL_OF_WARP
                                                     : past.thread / 32;
    return warp == f->linear / 32 && past.warp != (f->warp_epoch & 0x7ff);
}

/* What stands for the last read of a word after one more: a later write must be ordered after all
 * reads, so those that are not ordered among themselves are kept together. */
static inline access with_read(access past, access now, uint32_t first)
{
    uint32_t warp = now.thread / 32;
    if (!(past.bytes & now.bytes) || ordered(past, now.bytes, false, first))
        return now;
    now.bytes |= past.bytes;
    if (past.block != now.block || past.thread == SEVERAL_BLOCKS)
        now.thread = SEVERAL_BLOCKS;
    else if (past.thread == SEVERAL_OF_WARP + warp || past.thread / 32 == warp)
        now.thread = SEVERAL_OF_WARP + warp;
    else
        now.thread = SEVERAL_OF_BLOCK;
    return now;
}

static void tell_race(access past, bool past_write, bool write, bool global, size_t at)
{
    char who[64];
    if (past.thread >= SEVERAL_OF_WARP)
        snprintf(who, sizeof who, "several threads");
    else
        snprintf(who, sizeof who, "thread %u of %s block", past.thread,
                 past.block == emu_now.block_number ? "the same" : "another");
    emu_thread_fault("KERNEL-RACE", "%s of %s byte %zu races with the %s by %s",
                     write ? "write" : "read", global ? "global" : "shared", at,
                     past_write ? "write" : "read", who);
}

static void check_cells(cell *cells, uintptr_t offset, unsigned count, bool write, bool atomic,
                        bool global)
{
    uint32_t first = global ? emu_now.first_number : emu_now.block_number;
    const emu_fiber *f = emu_fiber_now;
    for (unsigned i = 0; i < count;) {
        cell *c = &cells[(offset + i) / 4];
        unsigned lo = (unsigned)(offset + i) & 3, left = count - i,
                 n = 4 - lo < left ? 4 - lo : left;
        unsigned bytes = ((1u << n) - 1) << lo;
        if (!ordered(c->write, bytes, atomic, first))
            return tell_race(c->write, true, write, global, offset + i);
        if (write && !ordered(c->read, bytes, atomic, first))
            return tell_race(c->read, false, write, global, offset + i);
        if (!global && !write && c->write.block != emu_now.block_number)
            emu_thread_fault("UNINIT", "read of shared memory that nothing in the block wrote");
        access a = {emu_now.block_number,  f->linear, emu_now.barrier_epoch & 0xffff,
                    f->warp_epoch & 0x7ff, atomic,    bytes & 15};
        if (write)
            c->write = a;
        else
            c->read = with_read(c->read, a, first);
        i += n;
    }
}

static void check_shared(uintptr_t offset, unsigned count, bool write, bool atomic)
{
    if (offset + count > emu_now.shared_bytes)
        emu_thread_die("KERNEL-BOUNDS", "%s of %u bytes at offset %zu of %zu of shared memory",
                       write ? "write" : "read", count, (size_t)offset, emu_now.shared_bytes);
    if (!shared_cells)
        shared_cells = cells_new(2 * EMU_SHARED_BYTES);
    if (check_level() > 1)
        check_cells(shared_cells, offset, count, write, atomic, false);
}

static void tell_uninit(uint64_t offset, unsigned count, const emu_alloc *a)
{
    emu_thread_fault("UNINIT",
                     "read of %u bytes at offset %zu of a %zu-byte allocation, which nothing has "
                     "written",
                     count, (size_t)(offset - (uint64_t)(a->mem - emu_arena.data)), a->size);
    emu_bits_set(emu_arena.init, offset, offset + count); /* told once */
}

/* Initialised, and which bytes this launch touches. Aligned accesses of up to 8 bytes lie in one
 * byte of the maps. */
static inline void note_bits(uint64_t offset, unsigned count, bool write, const emu_alloc *a)
{
    uint64_t first = offset / 8, bytes = (offset % 8 + count + 7) / 8;
    for (uint64_t k = 0; k < bytes; k++) {
        unsigned lo = k ? 0 : (unsigned)(offset % 8);
        uint64_t end = offset % 8 + count - 8 * k;
        unsigned hi = end < 8 ? (unsigned)end : 8;
        uint8_t mask = (uint8_t)((1u << hi) - (1u << lo));
        uint8_t *init = &emu_arena.init[first + k];
        if (write) {
            *init |= mask;
            emu_arena.wrote[first + k] |= mask;
        } else {
            if ((*init & mask) != mask)
                tell_uninit(offset, count, a);
            emu_arena.read[first + k] |= mask;
        }
    }
}

static void check_global(uint64_t offset, unsigned count, bool write, bool atomic)
{
    emu_alloc *a = emu_find_offset(offset);
    uint64_t base = a ? (uint64_t)(a->mem - emu_arena.data) : 0;
    size_t at = (size_t)(offset - base);
    if (!a || offset < base)
        emu_thread_die("KERNEL-BOUNDS", "%s of %u bytes outside of all allocations",
                       write ? "write" : "read", count);
    if (a->freed)
        emu_thread_die("KERNEL-BOUNDS", "%s of freed memory", write ? "write" : "read");
    if (at + count > a->size)
        emu_thread_die("KERNEL-BOUNDS", "%s of %u bytes at offset %zu of a %zu-byte allocation",
                       write ? "write" : "read", count, at, a->size);
    if (count <= 16 && offset % count)
        emu_thread_die("KERNEL-BOUNDS", "misaligned %s of %u bytes at offset %zu",
                       write ? "write" : "read", count, at);
    if (!a->touched)
        emu_touched_add(a);
    a->lo = at < a->lo ? at : a->lo;
    a->hi = at + count > a->hi ? at + count : a->hi;
    note_bits(offset, count, write, a);
    if (check_level() > 1)
        check_cells((cell *)(void *)(emu_arena.cells + base * 6), at, count, write, atomic, true);
}

static void check_image(const image *im, uintptr_t p, unsigned count, bool write, bool atomic)
{
    uintptr_t base = im->data_lo & ~(uintptr_t)3;
    if (p >= im->data_lo && p < im->data_hi && check_level() > 1)
        check_cells(im->cells, p - base, count, write, atomic, false);
}

static const char *place_of(uintptr_t p)
{
    const emu_alloc *a = emu_find(p);
    if (!emu_is_device_address(p))
        return "which is neither device nor shared memory";
    if (!a)
        return "a device address in no allocation";
    return a->freed ? "memory that was freed" : "memory of another device";
}

static inline void note(const void *address, unsigned count, bool write, bool atomic)
{
    uintptr_t p = (uintptr_t)address;
    const emu_fiber *f = emu_fiber_now;
    if (!f || !check_level() || p - (uintptr_t)f->stack < EMU_STACK + EMU_PAGE)
        return;
    if (p - (uintptr_t)emu_arena.data < emu_arena_bytes)
        return check_global(p - (uintptr_t)emu_arena.data, count, write, atomic);
    if (p - (uintptr_t)emu_now.shared < 2 * EMU_SHARED_BYTES)
        return check_shared(p - (uintptr_t)emu_now.shared, count, write, atomic);
    for (int i = 0; i < image_count; i++)
        if (p >= images[i].lo && p < images[i].hi)
            return check_image(&images[i], p, count, write, atomic);
    emu_thread_die("KERNEL-BOUNDS", "%s of %p, %s", write ? "write" : "read", address, place_of(p));
}

void emu_atomic_note(const void *address, unsigned bytes)
{
    note(address, bytes, false, true);
    note(address, bytes, true, true);
}

/* ---- the names that the compiler calls ---- */

#define HOOKS(bytes)                                                                               \
    void __tsan_read##bytes(void *p);                                                              \
    void __tsan_write##bytes(void *p);                                                             \
    void __tsan_unaligned_read##bytes(void *p);                                                    \
    void __tsan_unaligned_write##bytes(void *p);                                                   \
    void __tsan_read##bytes(void *p)                                                               \
    {                                                                                              \
        note(p, bytes, false, false);                                                              \
    }                                                                                              \
    void __tsan_write##bytes(void *p)                                                              \
    {                                                                                              \
        note(p, bytes, true, false);                                                               \
    }                                                                                              \
    void __tsan_unaligned_read##bytes(void *p)                                                     \
    {                                                                                              \
        note(p, bytes, false, false);                                                              \
    }                                                                                              \
    void __tsan_unaligned_write##bytes(void *p)                                                    \
    {                                                                                              \
        note(p, bytes, true, false);                                                               \
    }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

void __tsan_read_range(void *p, size_t bytes);
void __tsan_write_range(void *p, size_t bytes);
void __tsan_init(void);
void __tsan_func_entry(void *p);
void __tsan_func_exit(void);
void __tsan_vptr_update(void **p, void *q);
void __tsan_vptr_read(void **p);

void __tsan_read_range(void *p, size_t bytes)
{
    note(p, (unsigned)bytes, false, false);
}

void __tsan_write_range(void *p, size_t bytes)
{
    note(p, (unsigned)bytes, true, false);
}

void __tsan_init(void)
{
}

void __tsan_func_entry(void *p)
{
    (void)p;
}

void __tsan_func_exit(void)
{
}

void __tsan_vptr_update(void **p, void *q)
{
    (void)p;
    (void)q;
}

void __tsan_vptr_read(void **p)
{
    (void)p;
}
