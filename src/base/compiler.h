/* What differs between compilers and builds. */
#ifndef REID_BASE_COMPILER_H
#define REID_BASE_COMPILER_H

/* A hot loop compiled for several instruction sets and chosen at load time. The sets are levels of
 * the x86-64 ABI: "arch=haswell" and its like would match that very CPU model and none after it.
 * Off under sanitizers, whose runtime is not ready when the choice is made. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define REID_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define REID_CLONES
#endif

#define REID_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define REID_MIN(a, b) ((a) < (b) ? (a) : (b))
#define REID_MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
