/* Inside the evaluation module: the same function on several threads, which share out the work
 * among themselves. */
#ifndef REID_EVALUATION_PARALLEL_H
#define REID_EVALUATION_PARALLEL_H

#include <stddef.h>

/* Threads for `pieces` pieces of work: `wanted`, or one per CPU when it is ≤ 0; at least one. */
int reid_parallel_threads(int wanted, size_t pieces);

/* Calls `function` on the calling thread and on up to threads - 1 more; returns when all have
 * returned. Fewer threads than asked for may run. */
void reid_parallel_run(int threads, void *(*function)(void *), void *argument);

#endif
