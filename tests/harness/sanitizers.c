/* Part of every program of a build with sanitizers (REID_SANITIZE), so that it behaves the same
 * under ctest, under mpirun and by hand: what is known of libraries that were not built with a
 * sanitizer.
 *
 * Open MPI and PMIx keep memory for the life of the process, and unload the modules it belongs to
 * before leaks are looked for; a trace through an unloaded module has no names that a suppression
 * could match. So modules stay loaded here. */
#include <dlfcn.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>

const char *__lsan_default_options(void);
const char *__ubsan_default_options(void);
const char *__tsan_default_options(void);
const char *__tsan_default_suppressions(void);

int dlclose(void *handle)
{
    (void)handle;
    return 0;
}

/* Whole traces: without frame pointers in a library, the fast way of unwinding ends there. */
const char *__asan_default_options(void)
{
    return "fast_unwind_on_malloc=0";
}

/* As bad as any other: the program ends, so that its test fails. */
const char *__ubsan_default_options(void)
{
    return "halt_on_error=1:print_stacktrace=1";
}

const char *__lsan_default_options(void)
{
    return "print_suppressions=0";
}

const char *__lsan_default_suppressions(void)
{
    return "leak:libmpi.so\n"
           "leak:libopen-pal.so\n"
           "leak:libopen-rte.so\n"
           "leak:libpmix\n"
           "leak:/openmpi/\n"
           "leak:/pmix\n"
           "leak:libhwloc.so\n"
           "leak:libevent\n";
}

const char *__tsan_default_options(void)
{
    return "ignore_noninstrumented_modules=1";
}

/* Locks of these are not seen whole. Parallel loops meet in libgomp's futexes, so that every value
 * that one thread leaves to another looks like a race: loops are left out (names like f._omp_fn.0);
 * OMP_NUM_THREADS=1 spares the time of finding that out. All other threads are looked at. */
const char *__tsan_default_suppressions(void)
{
    return "race:._omp_fn.\n"
           "mutex:libevent\n"
           "mutex:mca_\n"
           "mutex:libpmix\n"
           "mutex:libopen-pal\n"
           "deadlock:libevent\n"
           "deadlock:mca_\n"
           "deadlock:libpmix\n"
           "race:libevent\n"
           "race:mca_\n"
           "race:libpmix\n"
           "race:libopen-pal\n"
           "race:libopen-rte\n"
           "race:libmpi.so\n";
}
