#include "evaluation/parallel.h"

#include <pthread.h>
#include <unistd.h>

#include "base/compiler.h"

#define MAX_THREADS 64

int reid_parallel_threads(int wanted, size_t pieces)
{
    long threads = wanted > 0 ? wanted : sysconf(_SC_NPROCESSORS_ONLN);
    threads = REID_MIN(threads, MAX_THREADS);
    threads = REID_MIN(threads, (long)REID_MIN(pieces, (size_t)MAX_THREADS));
    return (int)REID_MAX(threads, 1);
}

void reid_parallel_run(int threads, void *(*function)(void *), void *argument)
{
    pthread_t others[MAX_THREADS];
    int started = 0;
    while (started < REID_MIN(threads, MAX_THREADS) - 1 &&
           pthread_create(&others[started], NULL, function, argument) == 0)
        started++;
    function(argument);
    for (int i = 0; i < started; i++)
        pthread_join(others[i], NULL);
}
