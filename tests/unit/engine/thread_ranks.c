#include "thread_ranks.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "comm/comm_impl.h"

typedef struct world {
    int size;
    pthread_barrier_t barrier;
    reid_comm_work **work; /* each rank's call */
    void (*body)(reid_comm *comm, void *user);
    void *user;
} world;

typedef struct thread_comm {
    reid_comm base;
    world *world;
} thread_comm;

static void gather(const world *w, reid_comm_work *mine)
{
    size_t total = 0;
    for (int r = 0; r < w->size; r++) {
        mine->offsets[r] = total;
        total += w->work[r]->bytes;
    }
    mine->offsets[w->size] = total;
    char *all = reid_xmalloc(total);
    for (int r = 0; r < w->size; r++) {
        if (w->work[r]->bytes > 0)
            memcpy(all + mine->offsets[r], w->work[r]->data, w->work[r]->bytes);
    }
    *(void **)mine->output = all;
}

static void copy(const thread_comm *comm, reid_comm_work *mine)
{
    const world *w = comm->world;
    if (mine->kind == REID_COMM_ALLGATHER) {
        for (int r = 0; r < w->size; r++)
            memcpy((char *)mine->output + (size_t)r * mine->bytes, w->work[r]->data, mine->bytes);
    } else if (mine->kind == REID_COMM_GATHER && comm->base.rank == mine->root) {
        gather(w, mine);
    } else if (mine->kind == REID_COMM_BROADCAST && comm->base.rank != mine->root) {
        memcpy(mine->data, w->work[mine->root]->data, mine->bytes);
    }
}

/* All calls are made by all ranks in the same order, and none is all-reduce here. */
static void thread_submit(reid_comm *base, reid_comm_work *work)
{
    thread_comm *comm = (thread_comm *)base;
    REID_ASSERT(work->kind != REID_COMM_ALLREDUCE);
    comm->world->work[base->rank] = work;
    pthread_barrier_wait(&comm->world->barrier);
    REID_ASSERT(comm->world->work[0]->kind == work->kind);
    copy(comm, work);
    pthread_barrier_wait(&comm->world->barrier);
    work->status = REID_OK;
    work->done = true;
}

static void thread_wait(reid_comm *comm, reid_comm_work *work)
{
}

static const char *thread_library(const reid_comm *comm)
{
    return "threads";
}

static void thread_abort(reid_comm *comm, int code)
{
    abort();
}

static void thread_free(reid_comm *comm)
{
    free(comm->call);
    free(comm);
}

static const reid_comm_impl THREADS = {
    .name = "threads",
    .submit = thread_submit,
    .wait = thread_wait,
    .library = thread_library,
    .abort = thread_abort,
    .free = thread_free,
};

static void *run_rank(void *user)
{
    thread_comm *comm = user;
    comm->world->body(&comm->base, comm->world->user);
    reid_comm_free(&comm->base);
    return NULL;
}

void test_run_ranks(int size, void (*body)(reid_comm *comm, void *user), void *user)
{
    world w = {.size = size, .body = body, .user = user};
    w.work = reid_xcalloc((size_t)size, sizeof *w.work);
    pthread_t *threads = reid_xcalloc((size_t)size, sizeof *threads);
    REID_ASSERT(pthread_barrier_init(&w.barrier, NULL, (unsigned)size) == 0);
    for (int r = 0; r < size; r++) {
        thread_comm *comm = reid_xcalloc(1, sizeof *comm);
        reid_comm_setup(&comm->base, &THREADS, NULL);
        comm->base.rank = comm->base.local_rank = r;
        comm->base.size = comm->base.local_size = size;
        comm->world = &w;
        REID_ASSERT(pthread_create(&threads[r], NULL, run_rank, comm) == 0);
    }
    for (int r = 0; r < size; r++)
        pthread_join(threads[r], NULL);
    pthread_barrier_destroy(&w.barrier);
    free(threads);
    free(w.work);
}
