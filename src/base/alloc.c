#include "base/alloc.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALIGN_SMALL_BYTES ((size_t)64)
#define HUGE_PAGE_BYTES ((size_t)2 << 20)
#define HUGE_FROM_BYTES ((size_t)4 << 20)

_Noreturn static void die_out_of_memory(size_t size)
{
    fprintf(stderr, "out of memory (%zu bytes wanted)\n", size);
    abort();
}

void *reid_xmalloc(size_t size)
{
    void *memory = malloc(size ? size : 1);
    if (!memory)
        die_out_of_memory(size);
    return memory;
}

void *reid_xcalloc(size_t count, size_t size)
{
    void *memory = reid_alloc(count, size);
    if (!memory)
        die_out_of_memory(count > SIZE_MAX / (size ? size : 1) ? SIZE_MAX : count * size);
    return memory;
}

void *reid_xrealloc(void *memory, size_t size)
{
    void *grown = realloc(memory, size ? size : 1);
    if (!grown)
        die_out_of_memory(size);
    return grown;
}

char *reid_xstrdup(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(reid_xmalloc(size), text, size);
}

char *reid_xstrndup(const char *text, size_t length)
{
    size_t kept = strnlen(text, length);
    char *copy = reid_xmalloc(kept + 1);
    memcpy(copy, text, kept);
    copy[kept] = '\0';
    return copy;
}

char *reid_xasprintf(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0)
        die_out_of_memory(strlen(format));
    return text;
}

/* No object may be larger than PTRDIFF_MAX; libc and the sanitizers answer such a wish in different
 * ways. */
static bool byte_count(size_t count, size_t size, size_t *ret_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX)
        return false;
    *ret_bytes = bytes ? bytes : 1;
    return true;
}

void *reid_alloc(size_t count, size_t size)
{
    size_t bytes;
    return byte_count(count, size, &bytes) ? calloc(1, bytes) : NULL;
}

void *reid_alloc_grow(void *memory, size_t count, size_t size)
{
    size_t bytes;
    return byte_count(count, size, &bytes) ? realloc(memory, bytes) : NULL;
}

static size_t round_up(size_t size, size_t multiple)
{
    return (size + multiple - 1) / multiple * multiple;
}

/* Maps more than wanted and gives back what lies outside the aligned part. */
static void *map_huge(size_t size)
{
    size_t length = round_up(size, (size_t)sysconf(_SC_PAGESIZE));
    size_t mapped = length + HUGE_PAGE_BYTES;
    unsigned char *start =
        mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        return NULL;
    size_t head = round_up((uintptr_t)start, HUGE_PAGE_BYTES) - (uintptr_t)start;
    if (head > 0)
        munmap(start, head);
    size_t tail = mapped - head - length;
    if (tail > 0)
        munmap(start + head + length, tail);
    madvise(start + head, length,
            MADV_HUGEPAGE); /* advice only: a refusal costs speed, not results */
    return start + head;
}

void *reid_alloc_aligned(size_t size_bytes)
{
    if (size_bytes > (size_t)PTRDIFF_MAX - 2 * HUGE_PAGE_BYTES)
        return NULL;
    if (size_bytes >= HUGE_FROM_BYTES)
        return map_huge(size_bytes);
    void *memory = NULL;
    size_t length = round_up(size_bytes ? size_bytes : 1, ALIGN_SMALL_BYTES);
    if (posix_memalign(&memory, ALIGN_SMALL_BYTES, length) != 0)
        return NULL;
    return memset(memory, 0, length);
}

void reid_free_aligned(void *memory, size_t size_bytes)
{
    if (!memory)
        return;
    if (size_bytes >= HUGE_FROM_BYTES)
        munmap(memory, round_up(size_bytes, (size_t)sysconf(_SC_PAGESIZE)));
    else
        free(memory);
}

void reid_free_ptr(void *address_of_pointer)
{
    void *memory;
    memcpy(&memory, address_of_pointer, sizeof memory);
    free(memory);
}
