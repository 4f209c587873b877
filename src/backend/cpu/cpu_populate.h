/* Memory made present ahead of its first use, by a thread of its own.
 *
 * A training's buffers are hundreds of megabytes that the kernel has yet to clear, and in a virtual
 * machine the host yet to find: 0.3 to 4 ms a megabyte. While a job starts up on one thread another
 * processor can do that. Ranges are taken in the order in which they were added; whoever is faster
 * than the thread touches the pages itself, as ever. Nothing is done on machines with several
 * memory nodes: there a page belongs to the node of the thread that touches it first, which must
 * be one that computes.
 *
 * Life: cpu_populate_init → _add, _forget in any order → _fini. All calls from one thread.
 */
#ifndef REID_BACKEND_CPU_POPULATE_H
#define REID_BACKEND_CPU_POPULATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/vec.h"

typedef struct cpu_populate_range {
    const void *memory; /* NULL: none */
    unsigned char *at;
    size_t bytes; /* left */
} cpu_populate_range;

typedef struct cpu_populate {
    bool enabled;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    REID_VEC(cpu_populate_range) ranges;
    cpu_populate_range busy;
    pthread_t thread;
    bool running; /* the thread looks for more */
    bool made;    /* it must be joined */
} cpu_populate;

void cpu_populate_init(cpu_populate *p);
/* Whole pages; small ranges are not worth it and left alone. */
void cpu_populate_add(cpu_populate *p, void *memory, size_t bytes);
/* Before the memory is given back: afterwards the thread does not know it any more. */
void cpu_populate_forget(cpu_populate *p, const void *memory);
void cpu_populate_fini(cpu_populate *p);

#endif
