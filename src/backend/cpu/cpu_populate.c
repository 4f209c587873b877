#include "backend/cpu/cpu_populate.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/compiler.h"

#define WORTH_BYTES ((size_t)4 << 20)
#define CHUNK_BYTES ((size_t)2 << 20) /* a huge page */

void cpu_populate_init(cpu_populate *p)
{
    *p = (cpu_populate){.enabled = access("/sys/devices/system/node/node1", F_OK) != 0};
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->changed, NULL);
}

/* By writing what is there already, in one atomic step each. MADV_POPULATE_WRITE would hold the
 * lock of the whole address space meanwhile, and each mmap of the thread that starts the job wait
 * for it (1 rank of the demo job started 1.15 s beyond its step then, 0.67 s now). */
static void populate(unsigned char *at, size_t bytes, size_t page_bytes)
{
#if defined(__SANITIZE_THREAD__) /* it cannot know that no other thread's write is lost */
    return;
#endif
    for (size_t i = 0; i < bytes; i += page_bytes) {
        unsigned char value = __atomic_load_n(&at[i], __ATOMIC_RELAXED);
        __atomic_compare_exchange_n(&at[i], &value, value, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED);
    }
}

static void *run(void *user)
{
    cpu_populate *p = user;
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    pthread_mutex_lock(&p->mutex);
    while (p->ranges.count > 0) {
        cpu_populate_range *first = &p->ranges.items[0];
        p->busy =
            (cpu_populate_range){first->memory, first->at, REID_MIN(first->bytes, CHUNK_BYTES)};
        first->at += p->busy.bytes;
        first->bytes -= p->busy.bytes;
        if (first->bytes == 0)
            reid_vec_remove(&p->ranges, 0);
        pthread_mutex_unlock(&p->mutex);
        populate(p->busy.at, p->busy.bytes, page_bytes);
        pthread_mutex_lock(&p->mutex);
        p->busy.memory = NULL;
        pthread_cond_broadcast(&p->changed);
    }
    p->running = false;
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

void cpu_populate_add(cpu_populate *p, void *memory, size_t bytes)
{
    if (!p->enabled || !memory || bytes < WORTH_BYTES)
        return;
    pthread_mutex_lock(&p->mutex);
    cpu_populate_range range = {memory, memory, bytes};
    reid_vec_push(&p->ranges, range);
    if (!p->running) {
        if (p->made)
            pthread_join(p->thread, NULL);
        p->running = p->made = pthread_create(&p->thread, NULL, run, p) == 0;
    }
    pthread_mutex_unlock(&p->mutex);
}

void cpu_populate_forget(cpu_populate *p, const void *memory)
{
    pthread_mutex_lock(&p->mutex);
    for (size_t i = p->ranges.count; i-- > 0;)
        if (p->ranges.items[i].memory == memory)
            reid_vec_remove(&p->ranges, i);
    while (memory && p->busy.memory == memory)
        pthread_cond_wait(&p->changed, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
}

void cpu_populate_fini(cpu_populate *p)
{
    pthread_mutex_lock(&p->mutex);
    p->ranges.count = 0;
    pthread_mutex_unlock(&p->mutex);
    if (p->made)
        pthread_join(p->thread, NULL);
    reid_vec_fini(&p->ranges);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
}
